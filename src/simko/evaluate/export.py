"""A store's samples as a table for other tools, in JSON lines or Parquet."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from simko.evaluate.files import replacing
from simko.evaluate.store import SampleStore, Setting

_ROWS_AT_ONCE = 4096


def export(store: SampleStore, path: Path) -> int:
    """Write every sample of every setting to a .jsonl or .parquet file, and return the number of rows.

    The file is written whole or not at all, and `simko grade` reads it. Columns: task, setting, problem_id, sample, prompt, answer,
    metadata (what verifiers read beside the answer, as JSON text), response, thinking (what a server keeps apart from the response),
    failure (why no response came), outcome (null: not graded), extracted, rule (where the answer stood), verifier, tokens,
    prompt_tokens, finish_reason, seed, record (the setting's fingerprint as JSON text). ValueError for another suffix.
    """
    kinds = {".jsonl": _write_jsonl, ".parquet": _write_parquet}
    if path.suffix not in kinds:
        raise ValueError(f"{path}: name a file that ends in {' or '.join(kinds)}, or inspect for logs of inspect_ai")
    with replacing(path) as new:
        return kinds[path.suffix](_rows(store), new)


def _rows(store: SampleStore) -> Iterator[dict[str, Any]]:
    for setting in store.settings():
        yield from _setting_rows(store, setting)


def _setting_rows(store: SampleStore, setting: Setting) -> Iterator[dict[str, Any]]:
    problems = {p.id: p for p in store.problems(setting)}
    record = json.dumps(dict(setting.record))
    for sample, verdict in store.rows(setting):
        yield {
            "task": setting.task,
            "setting": setting.name,
            "problem_id": sample.problem_id,
            "sample": sample.index,
            "prompt": problems[sample.problem_id].prompt,
            "answer": problems[sample.problem_id].answer,
            "metadata": json.dumps(dict(problems[sample.problem_id].metadata)),
            "response": sample.response,
            "thinking": sample.thinking,
            "failure": sample.failure,
            "outcome": verdict and verdict.outcome,
            "extracted": verdict and verdict.extracted,
            "rule": verdict and verdict.rule,
            "verifier": setting.verifier,
            "tokens": sample.tokens,
            "prompt_tokens": sample.prompt_tokens,
            "finish_reason": sample.finish_reason,
            "seed": sample.seed,
            "record": record,
        }


def _write_jsonl(rows: Iterator[dict[str, Any]], path: Path) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")
            count += 1
    return count


def _write_parquet(rows: Iterator[dict[str, Any]], path: Path) -> int:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    numbers = ("sample", "tokens", "prompt_tokens", "seed")
    texts = (
        "task",
        "setting",
        "problem_id",
        "prompt",
        "answer",
        "metadata",
        "response",
        "thinking",
        "failure",
        "outcome",
        "extracted",
        "rule",
        "verifier",
    )
    schema = pa.schema(
        [(name, pa.string()) for name in (*texts, "finish_reason", "record")] + [(name, pa.int64()) for name in numbers]
    )
    count = 0
    with ParquetWriter(path, schema) as writer:
        while part := list(islice(rows, _ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(part, schema=schema))
            count += len(part)
    return count
