"""The logs of lighteval (Parquet details), lm-evaluation-harness (--log_samples) and verl (validation dumps), and simko's exports."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from simko.generations.flat import gold_text, message_text, prompt_text
from simko.generations.rows import Response, Row, draws, finish_reason, reading, whole_number
from simko.tasks.table_files import Row as Cells

Cell = tuple[str, Cells]
"""(place, the cells of a row)."""


def is_lighteval(cells: Cells) -> bool:
    """Whether a file's first row is one of lighteval's details."""
    return isinstance(cells.get("doc"), dict) and isinstance(cells.get("model_response"), dict)


def lighteval_rows(rows: Iterable[Cell], path: Path) -> Iterator[Row]:
    """The rows of a file of lighteval's details (0.10 and later): one per problem, with all of its responses."""
    for place, cells in rows:
        with reading(place, "lighteval"):
            doc, texts = cells["doc"], cells["model_response"]["text"]
            if not texts:
                raise ValueError("the row holds no generated text, as those of multiple-choice tasks")
            golds = doc["gold_index"] if isinstance(doc["gold_index"], list) else [doc["gold_index"]]
            yield Row(
                place,
                [Response(message_text(text)) for text in texts],
                id=str(doc["id"]),
                prompt=prompt_text(doc["query"]),
                answer=gold_text([doc["choices"][i] for i in golds]),
                task=doc["task_name"],
            )


def is_lm_eval(cells: Cells) -> bool:
    """Whether a file's first row is one of lm-evaluation-harness's samples."""
    return {"doc_id", "target", "arguments", "resps"} <= cells.keys()


def lm_eval_rows(rows: Iterable[Cell], path: Path) -> Iterator[Row]:
    """The rows of a file of --log_samples: one per problem. The harness repeats them for every filter; the first one's count."""
    named = re.fullmatch(r"samples_(.+)_\d{4}-\d\d-\d\dT[\d.-]+", path.stem.removesuffix(".jsonl"))
    first: Any = None
    for place, cells in rows:
        with reading(place, "lm-evaluation-harness"):
            name = cells.get("filter")
            first = name if first is None else first
            if name != first:
                continue
            resps = cells["resps"]
            if len(resps) != 1 or not all(isinstance(text, str) for text in resps[0]) or not resps[0]:
                raise ValueError("the row holds likelihoods of choices, not generated text")
            prompt, draw = _lm_eval_arguments(cells["arguments"])
            yield Row(
                place,
                [Response(text) for text in resps[0]],
                id=str(cells["doc_id"]),
                prompt=prompt_text(prompt),
                answer=gold_text(cells["target"]),
                task=named[1] if named else None,
                said=_lm_eval_draw(draw),
            )


def _lm_eval_arguments(arguments: Any) -> tuple[Any, dict[str, Any]]:
    """The prompt and the arguments of the generation: a dict of dicts, in old versions a list of lists."""
    first = (list(arguments.values()) if isinstance(arguments, dict) else arguments)[0]
    return (first["arg_0"], first["arg_1"]) if isinstance(first, dict) else (first[0], first[1])


def _lm_eval_draw(draw: dict[str, Any]) -> dict[str, Any]:
    greedy = draw.get("do_sample") is False or draw.get("temperature") == 0
    return draws(
        temperature=0.0 if greedy else draw.get("temperature"),
        top_p=draw.get("top_p"),
        top_k=draw.get("top_k"),
        max_new_tokens=draw.get("max_gen_toks"),
        stop=draw.get("until"),
    )


def is_verl(cells: Cells) -> bool:
    """Whether a file's first row is one of verl's dumps."""
    return {"input", "output", "gts", "score", "step"} <= cells.keys()


def verl_rows(rows: Iterable[Cell], path: Path) -> Iterator[Row]:
    """The rows of a dump of trainer.validation_data_dir or rollout_data_dir, one file per step, one row per response.

    uid is another at every step, so the prompt tells the problem. It also names the session and turn of an agent, whose last turn
    is the response.
    """
    for _, turns in groupby(rows, key=lambda row: _session(*row)):
        *_, (place, cells) = turns
        with reading(place, "verl"):
            if (step := whole_number(cells["step"], "step")) is None:
                raise KeyError("step")
            yield Row(
                place,
                [Response(message_text(cells["output"]))],
                prompt=prompt_text(cells["input"]),
                answer=None if cells["gts"] is None else gold_text(cells["gts"]),
                said={"step": step},
            )


def _session(place: str, cells: Cells) -> str:
    uid = cells.get("uid")
    return uid.rpartition("_")[0] if isinstance(uid, str) and uid.count("_") >= 2 else place


def is_export(cells: Cells) -> bool:
    """Whether a file's first row is one of simko export."""
    return {"problem_id", "sample", "setting", "outcome", "record"} <= cells.keys()


def export_rows(rows: Iterable[Cell], path: Path) -> Iterator[Row]:
    """The rows of a file of simko export, one per sample. Verdicts are left out, but for counts, which cannot be judged again."""
    for place, cells in rows:
        with reading(place, "simko export"):
            record = json.loads(cells["record"])
            yield Row(
                place,
                [_exported(cells, counts=record.get("backend") == "counts")],
                id=str(cells["problem_id"]),
                prompt=cells["prompt"] or None,
                answer=cells["answer"],
                metadata=json.loads(cells.get("metadata") or "{}"),  # earlier versions wrote none
                task=cells["task"],
                said=exported_draw(cells["setting"], record),
            )


_EXPORTED = ("model", "temperature", "top_p", "top_k", "max_new_tokens", "stop", "seed")


def exported_draw(setting: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """What the name and the record of an exported setting say of the draw."""
    step = re.match(r"step=(\d+)", setting)
    return draws(step=step and step[1], **{key: record.get(key) for key in _EXPORTED})


def _exported(cells: Cells, *, counts: bool) -> Response:
    failure = cells.get("failure")
    return Response(
        message_text(cells["response"]),
        "failed" if failure else finish_reason(cells["finish_reason"]),
        whole_number(cells["tokens"], "tokens") or 0,
        whole_number(cells["seed"], "seed"),
        outcome=cells["outcome"] if counts else None,
        failure=failure,
        thinking=cells.get("thinking"),
        prompt_tokens=whole_number(cells.get("prompt_tokens"), "prompt_tokens") or 0,
    )
