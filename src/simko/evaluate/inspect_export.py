"""A store's settings as logs of inspect_ai, which its viewer opens: .eval, a ZIP archive of JSON files.

The archive is written here, since inspect_ai asks for other versions of what simko stands on.
"""

import hashlib
import json
import re
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import Any

from simko import __version__
from simko.evaluate.files import replacing
from simko.evaluate.passk import Counts, pass_at_k_matrix
from simko.evaluate.store import SampleStore, Setting
from simko.generations import UNKNOWN
from simko.generations.inspect_log import ATTACHED
from simko.records import Problem, Sample, Verdict

_SAFE = re.compile(r"\w[\w.=+ -]{0,59}")
"""Names that no archive and no file system reads as anything but a file in its folder."""
_CONFIG = {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "seed": "seed"}
_CONFIG |= {"max_new_tokens": "max_tokens", "stop": "stop_seqs"}
"""{key of a record: inspect_ai's name for it}."""
_STOPPED = {"stop": "stop", "length": "max_tokens"}
_SHORT, _LONG = 1024, 5120
"""Characters that inspect_ai keeps of a score's texts, and of prompts and targets, in the list of samples."""

Json = dict[str, Any]


def export_inspect(store: SampleStore, folder: Path) -> dict[Path, int]:
    """Write a log of every setting into a folder, each whole or not at all, and return {log: its samples}.

    A problem is a sample, and each response one of its epochs. A failed sample is an error with the server's words. The score is
    pass@1 (`accuracy`) with its standard error over problems, and pass@K for every power of two K up to the smallest n. It is left out
    where a problem has no verdict; where any verdict is lacking, the log's status is "cancelled". `simko grade` reads the logs.

    An id that is no file name, such as one with a slash, is another one in the log; `problem_id` in the sample's metadata keeps it.

    ValueError for a store without samples, and for counts, which hold no responses.
    """
    settings = store.settings()
    if not settings or any(setting.holds_counts for setting in settings):
        what = "counts, which have no responses" if settings else "no samples"
        raise ValueError(f"{store.path} holds {what}: inspect's viewer would have nothing to show")
    names = _file_names([f"{s.task}_{s.name.replace(', ', '_')}" for s in settings])
    paths = [folder / f"{name}.eval" for name in names]
    return {path: _write_log(store, setting, path) for setting, path in zip(settings, paths, strict=True)}


def _write_log(store: SampleStore, setting: Setting, path: Path) -> int:
    """Write the log of a setting, and return the number of samples. In memory is a line of the archive's table for each."""
    problems = {p.id: p for p in store.problems(setting)}
    ids, model = dict(zip(problems, _file_names(list(problems)), strict=True)), _model(setting)
    counts, total, epochs = dict.fromkeys(problems, (0, 0)), Counter[str](), 0
    with replacing(path) as new, zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as archive:
        with TemporaryFile(dir=path.parent) as summaries:  # an archive takes one file at a time
            for sample, verdict in store.rows(setting):
                problem = problems[sample.problem_id]
                one = _sample(ids[problem.id], problem, sample, verdict, setting.verifier, model)
                archive.writestr(f"samples/{one['id']}_epoch_{one['epoch']}.json", _json(one))
                summaries.write((b",\n" if total["samples"] else b"[") + _json(_summary(one)))
                total.update(samples=1, failed=int(sample.failure is not None), **_usage(sample))
                epochs = max(epochs, sample.index + 1)
                if verdict is not None:
                    n, c = counts[problem.id]
                    counts[problem.id] = n + 1, c + (verdict.outcome == "correct")
            summaries.write(b"]" if total["samples"] else b"[]")
            summaries.seek(0)
            with archive.open("summaries.json", "w", force_zip64=True) as member:
                copyfileobj(summaries, member)
        changed = datetime.fromtimestamp(store.path.stat().st_mtime, UTC).isoformat(timespec="seconds")
        start, end = _start(setting, list(ids.values()), epochs, changed), _end(setting, counts, total, changed)
        start["eval"]["config"]["epochs_reducer"] = [score["reducer"] for score in end["results"]["scores"]]
        archive.writestr("_journal/start.json", _json(start))
        archive.writestr("header.json", _json(start | end))
    return total["samples"]


def _start(setting: Setting, ids: list[str], epochs: int, created: str) -> Json:
    """What is known before the first sample: the task, the model, and how it was sampled."""
    record, arguments = dict(setting.record), {"setting": setting.name}
    config = {theirs: record.get(ours) for ours, theirs in _CONFIG.items()}
    config["top_k"] = config["top_k"] or None  # 0 keeps every token
    digest = hashlib.sha256(_json([setting.task, setting.name, record, setting.verifier, created])).hexdigest()
    metrics = [{"name": f"inspect_ai/{name}", "options": {}} for name in ("accuracy", "stderr")]
    spec = {
        **dict.fromkeys(("eval_id", "run_id", "task_id"), digest[:22]),
        "created": created,
        "task": setting.task,
        "task_args": arguments,
        "task_args_passed": arguments,
        "dataset": {"name": setting.task, "samples": len(ids), "sample_ids": ids},
        "model": _model(setting),
        "config": {"epochs": epochs, "fail_on_error": False, "score_on_error": True},
        "packages": {"simko": __version__},
        "metadata": record | {"simko": __version__},
        "scorers": [{"name": setting.verifier, "options": {}, "metrics": metrics}],
    }
    known = {key: value for key, value in config.items() if value not in (None, UNKNOWN, [])}
    return {"version": 2, "eval": spec, "plan": {"name": "plan", "steps": [], "config": known}}


def _end(setting: Setting, counts: Counts, total: Mapping[str, int], changed: str) -> Json:
    """What is known after the last sample. No times are stored but that of the last change."""
    graded = [n for n, _ in counts.values()]
    whole = bool(graded) and min(graded) >= setting.n and sum(graded) == total["samples"]
    usage = {kind: tokens for kind, tokens in total.items() if kind.endswith("_tokens")}
    return {
        "status": "success" if whole else "cancelled",
        "results": {
            "total_samples": total["samples"],
            "completed_samples": total["samples"] - total["failed"],
            "scores": _scores(setting.verifier, counts),
        },
        "stats": {"started_at": changed, "completed_at": changed, "model_usage": {_model(setting): usage}},
    }


def _sample(id: str, problem: Problem, sample: Sample, verdict: Verdict | None, verifier: str, model: str) -> Json:
    text, usage = sample.response, _usage(sample)
    thinking = [] if sample.thinking is None else [{"type": "reasoning", "reasoning": sample.thinking}]
    content = [*thinking, {"type": "text", "text": text}] if thinking else text
    answer = {"role": "assistant", "content": content, "source": "generate", "model": model}
    answered = sample.failure is None
    choices = [{"message": answer, "stop_reason": _STOPPED.get(sample.finish_reason, "unknown")}] if answered else []
    one: Json = {
        "id": id,
        "epoch": sample.index + 1,
        "input": problem.prompt,
        "target": problem.answer,
        "messages": [{"role": "user", "content": problem.prompt, "source": "input"}, *([answer] if answered else [])],
        "output": {"model": model, "choices": choices, "completion": text} | ({"usage": usage} if usage else {}),
        "metadata": {"problem_id": problem.id, "problem_metadata": dict(problem.metadata)},
        "model_usage": {model: usage} if usage else {},
        # a text that looks like a reference to an attachment is one
        "attachments": {text.removeprefix(ATTACHED): text} if text.startswith(ATTACHED) else {},
    }
    if sample.seed is not None:
        one["metadata"]["seed"] = str(sample.seed)  # browsers round large numbers
    if verdict is not None:
        one["scores"] = {verifier: _score(verdict, verifier)}
    if not answered:
        one["error"] = {"message": sample.failure, "traceback": sample.failure, "traceback_ansi": sample.failure}
    return one


def _score(verdict: Verdict, verifier: str) -> Json:
    outcome = verdict.outcome
    said = {"correct": "correct", "wrong": "incorrect"}.get(outcome, f"{outcome}, which counts as incorrect")
    return {
        "value": "C" if outcome == "correct" else "I",
        "answer": verdict.extracted,
        "explanation": f"{verifier}: {said}" + (f" (answer found by the rule {verdict.rule})" if verdict.rule else ""),
        "metadata": {"outcome": outcome, "rule": verdict.rule},
    }


def _summary(one: Json) -> Json:
    """What the list of samples shows of one, texts cut as inspect_ai cuts them."""
    return {
        **{key: one[key] for key in ("id", "epoch", "model_usage")},
        **{key: one[key][:_LONG] for key in ("input", "target")},
        "metadata": {key: value[:_SHORT] for key, value in one["metadata"].items() if isinstance(value, str)},
        "scores": {
            name: s | {"answer": s["answer"] and s["answer"][:_SHORT]} for name, s in one.get("scores", {}).items()
        },
        "completed": True,
        "message_count": len(one["messages"]),
    } | ({"error": one["error"]["message"][:_SHORT]} if "error" in one else {})


def _scores(verifier: str, counts: Counts) -> list[Json]:
    """pass@1 and pass@K with standard errors over problems, by inspect_ai's names."""
    ns, cs = ([pair[i] for pair in counts.values()] for i in (0, 1))
    ks = [2**i for i in range(min(ns, default=0).bit_length())]
    scores = []
    for k, column in zip(ks, pass_at_k_matrix(ns, cs, ks).T if ks else (), strict=True):
        metrics = {"accuracy": float(column.mean())}
        if len(column) > 1:
            metrics["stderr"] = float(column.std(ddof=1) / len(column) ** 0.5)
        scores.append(
            {
                "name": verifier,
                "scorer": verifier,
                "reducer": "mean" if k == 1 else f"pass_at_{k}",
                "scored_samples": len(column),
                "metrics": {name: {"name": name, "value": value} for name, value in metrics.items()},
            }
        )
    return scores


def _usage(sample: Sample) -> dict[str, int]:
    """The tokens that are known."""
    found = {"input_tokens": sample.prompt_tokens, "output_tokens": sample.tokens}
    known = {kind: tokens for kind, tokens in found.items() if tokens}
    return known | ({"total_tokens": sum(known.values())} if len(known) == 2 else {})


def _model(setting: Setting) -> str:
    return str(setting.record.get("model") or UNKNOWN)


def _file_names(texts: Sequence[str]) -> list[str]:
    """A file name of its own for each text: the text where it is one."""
    names, taken, own = [], {text for text in texts if _SAFE.fullmatch(text)}, set()
    for i, text in enumerate(texts):
        if text not in taken or text in own:
            short = re.sub(r"([^\w.=+-]|\.\.)+", "-", text)[:40].strip(".-")
            text = next(name for j in count(i) if (name := f"{short or 'problem'}-{j}") not in taken)
        taken.add(text)
        own.add(text)
        names.append(text)
    return names


def _json(value: Mapping[str, Any] | list[Any]) -> bytes:
    """JSON without halves of surrogate pairs, which inspect_ai refuses."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
