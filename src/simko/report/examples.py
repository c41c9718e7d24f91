"""A few problems with the answers of each method, selected by a rule and not by hand."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from simko.report.study import BASE, Study, display

_MAX_ANSWERS, _MAX_CHARACTERS = 6, 4000


@dataclass(frozen=True)
class ExampleAnswer:
    """A distinct answer."""

    text: str
    """The answer."""
    outcome: str
    """Its verdict."""
    count: int
    """How many samples gave it."""


@dataclass(frozen=True)
class MethodAnswers:
    """What one method answered."""

    method: str
    """The method."""
    samples: int
    """The number of samples."""
    correct: int
    """How many of them are correct."""
    answers: tuple[ExampleAnswer, ...]
    """The most frequent answers."""
    more: int
    """The number of distinct answers that are not listed."""
    response: str
    """One sample in full, a correct one if there is one."""
    response_outcome: str
    """Its verdict."""


@dataclass(frozen=True)
class Example:
    """The first problem of its kind."""

    kind: str
    """What such problems have in common."""
    others: int
    """How many more there are."""
    problem_id: str
    """Its id."""
    prompt: str
    """Its prompt."""
    gold: str
    """Its gold answer."""
    methods: tuple[MethodAnswers, ...]
    """The answers of each method."""


def examples(study: Study) -> list[Example]:
    """For each kind that occurs, its first problem by id, with the first seed of each method."""
    first = {m: study.headline(m)[0] for m in study.methods}
    ids = sorted(next(iter(first.values())).counts)
    solved = {i: {m: e.counts[i][1] > 0 for m, e in first.items()} for i in ids}
    shown: set[str] = set()
    found = []
    for kind, fits in _kinds(study.methods):
        matching = [i for i in ids if fits(solved[i])]
        fresh = [i for i in matching if i not in shown]
        if not fresh:
            continue
        shown.add(fresh[0])
        problem = next((e.problems[fresh[0]] for e in first.values() if fresh[0] in e.problems), None)
        found.append(
            Example(
                kind,
                len(matching) - 1,
                fresh[0],
                _cut(problem.prompt) if problem else "(the prompt was not kept)",
                problem.answer if problem else "",
                tuple(_answers(study, m, fresh[0]) for m in study.methods),
            )
        )
    return found


def _kinds(methods: tuple[str, ...]) -> list[tuple[str, Callable[[Mapping[str, bool]], bool]]]:
    kinds: list[tuple[str, Callable[[Mapping[str, bool]], bool]]] = []
    if "grpo" in methods and "simko" in methods:
        kinds.append(("Solved by SimKO, not by GRPO", lambda s: s["simko"] and not s["grpo"]))
        kinds.append(("Solved by GRPO, not by SimKO", lambda s: s["grpo"] and not s["simko"]))
    for method in [m for m in methods if m != BASE] if BASE in methods else []:
        kinds.append((f"Solved by the base model, lost by {display(method)}", lambda s, m=method: s[BASE] and not s[m]))
    kinds.append(("Solved by all", lambda s: all(s.values())))
    kinds.append(("Solved by none", lambda s: not any(s.values())))
    return kinds


def _answers(study: Study, method: str, problem_id: str) -> MethodAnswers:
    rows = study.headline(method)[0].answers(problem_id)
    counts = Counter((verdict.extracted, verdict.outcome) for _, verdict in rows)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0][1], item[0][0] or ""))
    listed = ordered[:_MAX_ANSWERS]
    listed += [item for item in ordered[_MAX_ANSWERS:] if item[0][1] == "correct"][:1]
    correct = [row for row in rows if row[1].outcome == "correct"]
    sample, verdict = (correct or rows)[0]
    answers = [
        ExampleAnswer("(none found)" if text is None else _cut(text, 200), outcome, n) for (text, outcome), n in listed
    ]
    return MethodAnswers(
        method,
        len(rows),
        len(correct),
        tuple(answers),
        len(ordered) - len(listed),
        _cut(sample.response),
        verdict.outcome,
    )


def _cut(text: str, limit: int = _MAX_CHARACTERS) -> str:
    return text if len(text) <= limit else f"{text[:limit]} … ({len(text) - limit:,} more characters)"
