"""Stored responses: those of an evaluation, or of files that `simko grade` reads, with their verdicts."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from simko.evaluate import SampleStore, Setting
from simko.generations import UNKNOWN, Generations
from simko.records import Problem, Sample, Verdict, VerifierLike
from simko.report.runs import RunSelection, parse_group, store_of
from simko.tasks.table_files import suffix_of
from simko.verifiers import grade_many, verifier_name

_FILES = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".parquet", ".json", ".eval")
_Row = tuple[Problem, Sample, Verdict | None, bool | None, tuple[str, ...]]
_Rows = Iterator[_Row]
_WRITE = "write RUN@0.6 for a temperature, RUN@step=40 for a step"


@dataclass(frozen=True)
class StoredResponse:
    """A response and what is known of it."""

    problem: Problem
    """What it answers."""
    sample: Sample
    """The response."""
    correct: bool | None
    """The verdict; None without one, or where the verifier failed."""
    chat: bool | None
    """Whether the prompt was a user's message in a chat template; None if the source does not say."""
    stop: tuple[str, ...] = ()
    """The strings that ended a response; they are not part of its text."""


@dataclass(frozen=True)
class Responses:
    """The responses of one source."""

    source: str
    """The run or file, as it was given."""
    settings: Sequence[str]
    """The tasks and settings, in words."""
    judge: str | None
    """The verifier's name; None if there are no verdicts."""
    responses: Sequence[StoredResponse]
    """In order of problem and index."""
    left_out: dict[str, int]
    """{reason: how many responses are not here}."""

    @property
    def digest(self) -> str:
        """Of all that the records depend on."""
        total = hashlib.sha256()
        for r in self.responses:
            row = [
                r.problem.id,
                r.problem.prompt,
                r.sample.index,
                r.sample.response,
                r.sample.finish_reason,
                r.correct,
                r.stop,
            ]
            total.update(json.dumps(row).encode() + b"\n")
        return total.hexdigest()[:16]


def read_responses(source: str, *, verifier: VerifierLike | None = None, per_problem: int | None = None) -> Responses:
    """The responses of a run, a store or a file.

    Args:
        source: a directory of `simko evaluate`, `grade` or `train` (with held-out problems), a store file, or a file that
            `simko grade` reads. A run with several temperatures or steps takes @0.6 or @step=40 behind it.
        verifier: judges the responses, in the place of stored verdicts; None keeps those.
        per_problem: only the first so many responses of each problem; None for all.

    Left out, and counted, are those beyond per_problem, responses that did not come ("failed"), that are empty, and whose
    thinking is kept apart, since the tokens before the response are then unknown. ValueError for a source of another kind, for
    one that mixes temperatures or steps, and for one without responses.
    """
    (selection,) = parse_group(source).runs
    is_file = suffix_of(selection.path) in _FILES and not selection.path.is_dir()
    read, settings, judge = (_of_files if is_file else _of_store)(selection)
    left_out: dict[str, int] = {}
    kept: list[_Row] = []
    for row in read:
        _, sample, *_ = row
        beyond = per_problem is not None and sample.index >= per_problem
        reason = f"beyond the first {per_problem} of the problem" if beyond else _unusable(sample)
        if reason is None:
            kept.append(row)
        else:
            left_out[reason] = left_out.get(reason, 0) + 1
    if not kept:
        raise ValueError(f"{source} holds no response that can be scored: {left_out or 'it is empty'}")
    verdicts: Sequence[Verdict | None] = [verdict for _, _, verdict, *_ in kept]
    if verifier is not None:
        judge = verifier_name(verifier)
        verdicts = grade_many(verifier, [(s.response, p) for p, s, *_ in kept])
    found = [
        StoredResponse(p, s, _correct(v), chat, stop) for (p, s, _, chat, stop), v in zip(kept, verdicts, strict=True)
    ]
    judged = any(r.correct is not None for r in found)
    return Responses(source, settings, judge if judged else None, found, left_out)


def _unusable(sample: Sample) -> str | None:
    if sample.failure is not None:
        return "no response came"
    if sample.thinking is not None:
        return "the thinking before the response is kept apart"
    return None if sample.response else "the response is empty"


def _correct(verdict: Verdict | None) -> bool | None:
    return None if verdict is None or verdict.outcome in ("error", "failed") else verdict.outcome == "correct"


def _of_store(selection: RunSelection) -> tuple[_Rows, list[str], str]:
    path = store_of(selection.path)
    with SampleStore(path, read_only=True) as store:
        settings = [s for s in store.settings() if all(_matches(s, mark) for mark in selection.marks)]
        held = ", ".join(f"{s.task} at {s.name}" for s in store.settings()) or "nothing"
        if not settings:
            raise ValueError(f"{path} has nothing at {'@'.join(selection.marks) or 'all'}: it holds {held}; {_WRITE}")
        if len({s.name for s in settings}) > 1:
            raise ValueError(f"{path} holds several settings ({held}): choose one; {_WRITE}")
        if any(s.holds_counts for s in settings):
            raise ValueError(f"{path} holds counts without responses: give the responses themselves")
        rows = []
        for setting in settings:
            problems, chat = {p.id: p for p in store.problems(setting)}, setting.record.get("chat")
            chat = chat if isinstance(chat, bool) else None
            stop = tuple(setting.record["stop"]) if isinstance(setting.record.get("stop"), list) else ()
            rows += [
                (setting.task, problems[s.problem_id], s, verdict, chat, stop) for s, verdict in store.rows(setting)
            ]
    names = [f"{s.task} at {s.name}" for s in settings]
    return _told_apart(iter(rows), len(settings)), names, settings[0].verifier


def _matches(setting: Setting, mark: str) -> bool:
    """Whether a setting has the temperature or the step of a mark."""
    name, _, value = mark.rpartition("=")
    try:
        if name == "step":
            return setting.record.get("step") == int(value)
        return setting.name.endswith(f"T={float(value):g}") or setting.name.endswith(f"T={value}")
    except ValueError:
        return value == UNKNOWN and setting.name.endswith(f"T={UNKNOWN}")


def _of_files(selection: RunSelection) -> tuple[_Rows, list[str], None]:
    if selection.marks:
        raise ValueError(f"{selection.path} is a file, from which no setting can be chosen: give a run of simko grade")
    found = Generations([Path(selection.path)])
    names = [f"{one.task} at {one.name}" for one in found.sets]
    if len({one.name for one in found.sets}) > 1:
        raise ValueError(
            f"{selection.path} holds several settings ({', '.join(names)}): simko grade it, and choose one"
        )
    if any(one.counts for one in found.sets):
        raise ValueError(f"{selection.path} holds counts without responses: give the responses themselves")
    rows = (
        (one.task, one.problems[s.problem_id], s, None, None, ()) for one in found.sets for s, _ in found.pairs(one)
    )
    return _told_apart(rows, len(found.sets)), names, None


def _told_apart(
    rows: Iterator[tuple[str, Problem, Sample, Verdict | None, bool | None, tuple[str, ...]]], tasks: int
) -> _Rows:
    """The rows, with the task in the problem's id where there are several tasks."""
    for task, problem, sample, verdict, chat, stop in rows:
        id = problem.id if tasks == 1 else f"{task}/{problem.id}"
        yield replace(problem, id=id), replace(sample, problem_id=id), verdict, chat, stop
