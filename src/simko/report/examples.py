"""A few problems with what each method answered, chosen by rule so that nobody picked them."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from simko.report.study import BASE, Study, display

_ANSWERS, _CHARACTERS = 6, 4000


@dataclass(frozen=True)
class Answer:
    """A distinct answer with its verdict and how many samples gave it."""

    text: str
    outcome: str
    count: int


@dataclass(frozen=True)
class Answers:
    """What one method answered. more: distinct answers not listed; response: one sample in full, the right one if any."""

    method: str
    samples: int
    correct: int
    answers: tuple[Answer, ...]
    more: int
    response: str
    response_outcome: str


@dataclass(frozen=True)
class Example:
    """The first problem of its kind; others: how many more there are of it."""

    kind: str
    others: int
    problem_id: str
    prompt: str
    gold: str
    methods: tuple[Answers, ...]


def examples(study: Study) -> list[Example]:
    """For each kind that occurs, its first problem by id; first seed of each method."""
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


def _answers(study: Study, method: str, problem_id: str) -> Answers:
    rows = study.headline(method)[0].answers(problem_id)
    counts = Counter((verdict.extracted, verdict.outcome) for _, verdict in rows)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0][1], item[0][0] or ""))
    kept = ordered[:_ANSWERS]
    kept += [item for item in ordered[_ANSWERS:] if item[0][1] == "correct"][:1]
    right = [row for row in rows if row[1].outcome == "correct"]
    sample, verdict = (right or rows)[0]
    return Answers(
        method,
        len(rows),
        len(right),
        tuple(Answer("(none found)" if text is None else _cut(text, 200), outcome, n) for (text, outcome), n in kept),
        len(ordered) - len(kept),
        _cut(sample.response),
        verdict.outcome,
    )


def _cut(text: str, limit: int = _CHARACTERS) -> str:
    return text if len(text) <= limit else f"{text[:limit]} … ({len(text) - limit:,} more characters)"
