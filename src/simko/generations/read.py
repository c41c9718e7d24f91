"""Files of generations -> sets of problems with their samples, read twice: once to check, once to store."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from simko.generations.flat import ROLES, counts_row, flat_row, is_counts
from simko.generations.harnesses import (
    export_rows,
    is_export,
    is_lighteval,
    is_lm_eval,
    is_verl,
    lighteval_rows,
    lm_eval_rows,
    verl_rows,
)
from simko.generations.inspect_log import inspect_rows
from simko.generations.rows import UNKNOWN, Row, draws, reading
from simko.records import Problem, Sample, Verdict
from simko.tasks.columns import Columns
from simko.tasks.file_rows import check_characters
from simko.tasks.golds import eaten_latex, read_gold
from simko.tasks.table_files import as_json, file_rows, suffix_of
from simko.verifiers import VERIFIERS

DEFAULT_TASK = "generations"
LOGS = {
    "lighteval": (is_lighteval, lighteval_rows),
    "lm-evaluation-harness": (is_lm_eval, lm_eval_rows),
    "verl": (is_verl, verl_rows),
    "simko": (is_export, export_rows),
}
"""{format: (whether a file's first row is of it, what reads such rows)}, beside inspect_ai's, which its suffix tells."""

_LIST = re.compile(r"""\s*\[\s*(?:['"].*['"]|\{\s*(['"])role\1.*\})\s*\]\s*""", re.DOTALL)
"""A list of texts or messages as Python or JSON write it."""

Key = tuple[str, float | str, int | None]
"""(task, temperature, step): responses that differ in one are never counted together."""


@dataclass
class GeneratedSet:
    """The problems of one task at one temperature and training step, and where their responses are."""

    task: str
    """The name of the set of problems."""
    temperature: float | str
    """The temperature, or "unknown"."""
    step: int | None
    """The training step; None if there is none."""
    problems: dict[str, Problem] = field(default_factory=dict)
    """{id: problem}, in the task's order or else by id, so that files in another order give the same set."""
    ids: dict[str, str] = field(default_factory=dict)
    """{prompt: the id of the first problem with it}."""
    sizes: dict[str, int] = field(default_factory=dict)
    """{id: the number of responses}."""
    said: dict[str, Any] = field(default_factory=dict)
    """What the rows say of the draws."""
    said_at: dict[str, str] = field(default_factory=dict)
    """{key of `said`: the place of the first row that says it}."""
    files: dict[Path, str] = field(default_factory=dict)
    """{file: its SHA-256}."""
    counts: bool = False
    """Whether the files hold counts instead of responses."""

    @property
    def key(self) -> Key:
        """What tells it from others."""
        return self.task, self.temperature, self.step

    @property
    def name(self) -> str:
        """The setting's name within its task, such as "T=0.6" or "step=40, T=unknown"."""
        temperature = self.temperature if isinstance(self.temperature, str) else f"{self.temperature:g}"
        return f"{'' if self.step is None else f'step={self.step}, '}T={temperature}"


class Generations:
    """The responses in some files.

    Args:
        files: the files.
        columns: {a key of ROLES: its column} in rows that are no package's log. The others are recognised by their names.
        task: the name of the set of problems; None for that of the rows, or "generations".
        problems: the problems that the rows answer, found by id or else by prompt; None for the problems in the rows.
        verifier: the verifier's name, which decides how gold answers are read (see `tasks.file_task`).
        stated: what the caller knows of the draws, as keys of a setting's record. It must not contradict the rows.

    ValueError, naming the file and row, for a row that cannot be read or contradicts another.
    """

    def __init__(
        self,
        files: Sequence[Path],
        *,
        columns: Mapping[str, str] | None = None,
        task: str | None = None,
        problems: Sequence[Problem] | None = None,
        verifier: str | None = None,
        stated: Mapping[str, Any] | None = None,
    ) -> None:
        self._columns, self._task, self._stated = Columns(columns or {}, ROLES), task, draws(**(stated or {}))
        self._verifier = verifier
        self._by_id = None if problems is None else {p.id: p for p in problems}
        self._by_prompt: dict[str, Problem | None] = {}
        for problem in problems or ():
            prompt = problem.prompt.strip()
            self._by_prompt[prompt] = None if prompt in self._by_prompt else problem
        self._model: tuple[str, str] | None = None
        found: dict[Key, GeneratedSet] = {}
        digests: dict[str, Path] = {}
        for path in files:
            digest = _digest(path)
            if digest in digests:
                raise ValueError(f"{path} and {digests[digest]} are the same: give each file once")
            digests[digest] = path
            for row in read_rows(path, self._columns):
                with reading(row.place):
                    self._count(found, row, path, digest)
        self.sets = list(found.values())
        for one in self.sets:
            self._check_whole(one)
            order = sorted(one.problems) if self._by_id is None else self._by_id
            one.problems = {id: one.problems[id] for id in order}

    def pairs(self, one: GeneratedSet) -> Iterator[tuple[Sample, Verdict | None]]:
        """The samples of a set, numbered in the order of the files, with verdicts for counts."""
        drawn = dict.fromkeys(one.problems, 0)
        for row in chain.from_iterable(read_rows(path, self._columns) for path in one.files):
            if self._key(row) != one.key:
                continue
            id = self._problem(row).id
            for r in row.responses:
                drawing = r.tokens, r.finish_reason, r.prompt_tokens, r.seed, r.thinking, r.failure
                sample = Sample(id, drawn[id], r.text, *drawing)
                yield sample, r.outcome and Verdict(r.outcome)
                drawn[id] += 1

    def _count(self, found: dict[Key, GeneratedSet], row: Row, path: Path, digest: str) -> None:
        """Count a row's responses in its set. ValueError if it contradicts another row."""
        key = self._key(row)
        one = found.setdefault(key, GeneratedSet(*key))
        counts = row.responses[0].outcome is not None
        if one.sizes and counts != one.counts:
            raise ValueError("some rows hold counts and some hold responses: grade them apart")
        one.counts = counts
        problem = self._problem(row)
        if any("\ud800" <= c <= "\udfff" for c in key[0] + problem.id):
            raise ValueError(
                f"the task {key[0]!a} or the id {problem.id!a} holds half of a surrogate pair, which is no character"
            )
        if self._verifier in VERIFIERS and not counts and problem.id not in one.problems:
            VERIFIERS[self._verifier].check(problem)
        earlier = one.problems.setdefault(problem.id, problem)
        for part in ("prompt", "answer", "metadata"):
            if getattr(earlier, part) != getattr(problem, part):
                raise ValueError(
                    f"the problem {problem.id!r} has another {part} here than above ({getattr(problem, part)!r:.80}, not "
                    f"{getattr(earlier, part)!r:.80}): name the columns of problem, answer and id, --columns"
                )
        other = one.ids.setdefault(problem.prompt, problem.id)
        if self._by_id is None and not row.sure and other != problem.id:
            raise ValueError(
                f"the problems {other!r} and {problem.id!r} have the same text: if the ids number responses, say --columns id=NAME "
                "with the column of the problem's text; if they number problems, with their own column"
            )
        one.sizes[problem.id] = one.sizes.get(problem.id, 0) + len(row.responses)
        one.files[path] = digest
        self._say(one, row)

    def _say(self, one: GeneratedSet, row: Row) -> None:
        """Note what a row says of its draw. ValueError if it contradicts the command or another row."""
        if (model := row.said.get("model")) is not None:
            self._model = self._model or (model, row.place)
            if model != self._model[0]:
                raise ValueError(
                    f"the model is {model!r} here and {self._model[0]!r} in {self._model[1]}: grade one at a time"
                )
        for key, value in row.said.items():
            if self._stated.get(key, value) != value:
                raise ValueError(
                    f"{key} is {value!r} here, not {self._stated[key]!r}: leave --{key.replace('_', '-')} out"
                )
            if one.said.setdefault(key, value) != value:
                raise ValueError(
                    f"{key} is {value!r} here and {one.said[key]!r} in {one.said_at[key]}: grade what was drawn alike in one run"
                )
            one.said_at.setdefault(key, row.place)
        one.said |= self._stated

    def _key(self, row: Row) -> Key:
        temperature = row.said.get("temperature", self._stated.get("temperature", UNKNOWN))
        return self._task or row.task or DEFAULT_TASK, temperature, row.said.get("step")

    def _problem(self, row: Row) -> Problem:
        if self._by_id is not None:
            return self._of_task(row, self._by_id)
        if row.responses[0].outcome is not None and row.id is not None:
            return Problem(row.id, row.prompt or "", row.answer or "")
        if row.prompt is None or row.answer is None:
            what = "prompt" if row.prompt is None else "answer"
            raise ValueError(
                f"there is no {what}: give the problems with --task, or, if the file is no package's log, name the column, "
                f"--columns {what}=NAME"
            )
        id = hashlib.sha256(row.prompt.encode("utf-8", "replace")).hexdigest()[:12] if row.id is None else row.id
        if (reason := eaten_latex(row.prompt)) is not None:
            raise ValueError(f"the problem {reason}")
        gold = read_gold(row.answer, self._verifier)
        raw = {} if gold == row.answer else {"answer_raw": row.answer}
        problem = Problem(id, row.prompt, gold, as_json(raw | dict(row.metadata)))
        check_characters(problem)
        return problem

    def _of_task(self, row: Row, by_id: Mapping[str, Problem]) -> Problem:
        """The task's problem with a row's text, or else with its id. ValueError for none, and for an id that numbers others."""
        found = self._by_prompt.get((row.prompt or "").strip())
        if (
            found is None
            and row.id is not None
            and (found := by_id.get(row.id)) is not None
            and not self._agrees(row, found)
        ):
            raise ValueError(
                f"the task's problem with the id {row.id!r} is {found.prompt!r:.60} with the answer {found.answer!r:.30}, not this "
                "one: name another column of ids, --columns id=NAME, or leave --task out to take the problems from the files"
            )
        if found is None:
            raise ValueError(
                f"neither the id {row.id!r} nor the problem's text {row.prompt or ''!r:.80} is one of the task's: name their "
                "columns (--columns id=NAME,prompt=NAME), or leave --task out to take the problems from the files"
            )
        return found

    def _agrees(self, row: Row, problem: Problem) -> bool:
        """Whether a row may answer the problem of its id: one text holds the other, or the gold is the same. Another harness may
        number the problems from 0."""
        if row.prompt is None and row.answer is None:
            return True
        texts = [] if row.prompt is None else [row.prompt.strip(), problem.prompt.strip()]
        inside = bool(texts) and all(texts) and (texts[0] in texts[1] or texts[1] in texts[0])
        return inside or (row.answer is not None and read_gold(row.answer, self._verifier) == problem.answer)

    def _check_whole(self, one: GeneratedSet) -> None:
        """ValueError for a problem of the task without a response."""
        missing = [] if self._by_id is None else [id for id in self._by_id if id not in one.problems]
        if missing:
            raise ValueError(
                f"{one.task} at {one.name}: {len(missing)} of its problems, {missing[0]!r} first, have no response in the files: "
                "give them too, or give --task a file of those that were answered, since pass@K would leave the others out"
            )


def read_rows(path: Path, columns: Columns) -> Iterator[Row]:
    """The rows of a file, read as its first row and its suffix tell. ValueError, naming the row, if one cannot be read."""
    if suffix_of(path) in (".eval", ".json"):
        _check_there(path)
        yield from inspect_rows(path)
        return
    rows = ((place, cells) for place, _, cells in file_rows(path))
    first = next(rows, None)
    if first is None:
        raise ValueError(f"{path}: the file holds no rows")
    every = chain([first], rows)
    for writer, (fits, read) in LOGS.items():
        if fits(first[1]):
            if columns.names:
                raise ValueError(
                    f"{path} is a file of {writer}, whose columns are known: leave --columns out, and give what it lacks by --task"
                )
            yield from read(every, path)
            return
    with reading(first[0]):
        read_row = counts_row if is_counts(first[1], columns) else flat_row
    lists_alone = True
    for place, cells in every:
        with reading(place):
            row = read_row(cells, place, columns)
        lists_alone = lists_alone and _LIST.fullmatch(row.responses[0].text) is not None
        yield row
    if lists_alone:
        raise ValueError(
            f"{path}: every response is a list written as a text ({row.responses[0].text!r:.60}): write several responses as a JSON "
            "list, in .csv in a column 'responses', and a chat as the text of its last message"
        )


def _check_there(path: Path) -> None:
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give the files in it")
    if not path.is_file():
        raise ValueError(f"{path}: no such file")


def _digest(path: Path) -> str:
    _check_there(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
