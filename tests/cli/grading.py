"""What the tests of `simko grade` share."""

import gzip
from pathlib import Path

import pytest

from simko.cli.main import main
from simko.evaluate import SampleStore, Setting
from simko.records import Problem, Sample, Verdict

LOGS = Path(__file__).parents[1] / "data" / "generations"
SUMS = [("1+0=", "1"), ("1+1=", "2"), ("0+2=", "2")]
FLAT = [{"problem": p, "answer": a, "response": rf"\boxed{{{i}}}"} for p, a in SUMS for i in (1, 2, 2, 3)]
NESTED = [{"problem": p, "answer": a, "responses": [rf"\boxed{{{i}}}" for i in (1, 2, 2, 3)]} for p, a in SUMS]
C_OF_FLAT = {"1+0=": (4, 1), "1+1=": (4, 2), "0+2=": (4, 2)}

Rows = list[tuple[Sample, Verdict | None]]


def grade(*words: object, verifier: str | None = "math") -> int:
    return main(["grade", *map(str, words), "--quiet", *([] if verifier is None else ["--verifier", verifier])])


def kept(run: Path) -> list[tuple[Setting, dict[str, Problem], Rows]]:
    with SampleStore(run / "samples.db", read_only=True) as store:
        return [(s, {p.id: p for p in store.problems(s)}, list(store.rows(s))) for s in store.settings()]


def counts(run: Path) -> dict[str, tuple[int, int]]:
    """{prompt: (n, c)} of a run with one setting."""
    with SampleStore(run / "samples.db", read_only=True) as store:
        (setting,) = store.settings()
        prompts = {p.id: p.prompt for p in store.problems(setting)}
        return {prompts[id]: pair for id, pair in store.counts(setting).items()}


def responses(rows: Rows, problems: dict[str, Problem]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for sample, _ in rows:
        found.setdefault(problems[sample.problem_id].prompt, []).append(sample.response)
    return found


def refusal(run: Path, capsys: pytest.CaptureFixture[str], *words: object, verifier: str | None = "math") -> str:
    """The one line on stderr with which the command ends that takes no such input; nothing is written."""
    capsys.readouterr()
    assert grade(*words, "--out", run, verifier=verifier) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("simko: error: ")
    assert not run.exists()
    return line


def inspect_log(folder: Path) -> Path:
    """The log of inspect_ai that JSON holds, which is large."""
    path = folder / "inspect_sums.json"
    path.write_bytes(gzip.decompress((LOGS / "inspect_sums.json.gz").read_bytes()))
    return path
