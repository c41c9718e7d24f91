"""A task's problems as the rows of a training file for verl."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from simko.records import Problem
from simko.tasks.task import Task

_ROWS_AT_ONCE = 64
"""Problems with large tests are megabytes each, and a Parquet column holds 2 GB in one piece."""


def verl_rows(task: Task, problems: Iterable[Problem]) -> Iterator[dict[str, Any]]:
    """Rows of data_source, prompt (one user message), ability, reward_model and extra_info.

    extra_info's `problem` is the whole problem as JSON text, from which a reward function rebuilds what `verifier` reads.
    ValueError, naming the problem, for metadata that JSON cannot hold.
    """
    for index, problem in enumerate(problems):
        try:
            whole = json.dumps(asdict(problem), ensure_ascii=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"problem {problem.id!r} cannot be written as JSON ({error})") from error
        yield {
            "data_source": task.name,
            "prompt": [{"role": "user", "content": problem.prompt}],
            "ability": task.verifier,
            "reward_model": {"style": "rule", "ground_truth": problem.answer},
            "extra_info": {"index": index, "verifier": task.verifier, "problem": whole},
        }


def write_verl_rows(task: Task, problems: Iterable[Problem], path: Path) -> int:
    """Write `verl_rows` to a Parquet file, a few at a time, and return their number."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    text = pa.string()
    schema = pa.schema(
        {
            "data_source": text,
            "prompt": pa.list_(pa.struct({"role": text, "content": text})),
            "ability": text,
            "reward_model": pa.struct({"style": text, "ground_truth": text}),
            "extra_info": pa.struct({"index": pa.int64(), "verifier": text, "problem": pa.large_string()}),
        }
    )
    written = 0
    with ParquetWriter(path, schema) as writer:
        rows = verl_rows(task, problems)
        while part := list(islice(rows, _ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(part, schema=schema))
            written += len(part)
    return written
