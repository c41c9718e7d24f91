"""The files of a run.

config.json          every option that decides the run's numbers     versions.json   the versions of packages
metrics.jsonl        one line per logged step                        samples.jsonl   one line per graded response
diagnostics.jsonl    one line per probe                              checkpoint-N/   weights (safetensors), optimizer ..., manifest.json
held-out/samples.db  the responses to held-out problems, with passk_every
"""

import json
import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from simko.evaluate.checkpoint_files import checkpoints
from simko.evaluate.files import read_json, write_whole

logger = logging.getLogger("simko")

DATA = "train_problems_sha256"


def write_json(path: Path, value: object) -> None:
    """Write JSON, whole or not at all."""
    write_whole(path, json.dumps(value, indent=2, sort_keys=True, default=str) + "\n")


def check_config(directory: Path, config: Mapping[str, Any], free: Collection[str], why: Mapping[str, str]) -> None:
    """Write `config` to the directory. ValueError if the directory holds a run with another configuration.

    A configuration with which nothing was trained yet is replaced.

    Args:
        directory: the run's directory.
        config: the run's options.
        free: keys that may differ; their new values are written.
        why: {key: the message if it differs}.
    """
    path = directory / "config.json"
    config = json.loads(json.dumps(config, default=str))
    begun = (directory / "metrics.jsonl").exists() or bool(checkpoints(directory))
    if begun and not path.is_file():
        raise ValueError(f"{directory} holds files of a run but no config.json: choose another output directory")
    if begun:
        kept = read_json(path)
        if DATA not in kept:
            logger.warning(
                "%s was begun by a version of simko that did not record its problems: whether they are the same is "
                "unknown; they are recorded from now on",
                directory,
            )
            free = {*free, DATA} - {"train_file"}
        for key in sorted(kept.keys() | config.keys()):
            if kept.get(key) != config.get(key) and key not in free:
                default = f"with {key}={kept.get(key)!r}, this one has {config.get(key)!r}"
                raise ValueError(
                    f"{directory} holds a run {why.get(key, default)}: choose another output directory, or remove that one"
                )
        if kept == config:
            return
    write_json(path, config)


def rewind_logs(directory: Path, step: int) -> None:
    """Drop the lines that an interrupted run logged after `step`, the checkpoint from which it continues.

    ValueError, with nothing dropped, names a broken line other than a truncated last one.
    """
    kept = {}
    for name, last in (("metrics.jsonl", step), ("samples.jsonl", step - 1), ("diagnostics.jsonl", step - 1)):
        path = directory / name
        if path.is_file():
            lines = path.read_bytes().splitlines(keepends=True)
            whole = [line for line in lines if line.endswith(b"\n")]
            kept[path] = [line for i, line in enumerate(whole, start=1) if _logged_step(path, i, line) <= last]
    for path, lines in kept.items():
        write_whole(path, b"".join(lines).decode())


def _logged_step(path: Path, number: int, line: bytes) -> int:
    try:
        return int(json.loads(line).get("step", 0))
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{path}, line {number} is no JSON row with a step ({error}): mend or remove that line"
        ) from error
