"""The mathematics verifier on drawn answers of every kind that variants.txt describes."""

import random
from collections import defaultdict
from itertools import islice

import pytest
from variants import HERE, Line, Variant, distinct, read_lines

from simko.records import Problem
from simko.verifiers import grade_many

LINES = read_lines(HERE / "variants.txt")
TASTE = "(taste)"
MAX_REJECTED = 0.02
"""Of the right answers of a kind, the part that may be rejected without being a known miss."""


def by_kind(lines: list[Line]) -> dict[str, list[Line]]:
    kinds = defaultdict(list)
    for line in lines:
        kinds[line.kind].append(line)
    return kinds


def graded(variants: list[Variant]) -> list[tuple[Variant, str]]:
    verdicts = grade_many("math", [(variant.response, Problem("p", "", variant.gold)) for variant in variants])
    return [(variant, verdict.outcome) for variant, verdict in zip(variants, verdicts, strict=True)]


def table(rows: dict[str, list[tuple[Variant, str]]]) -> str:
    """Kind, false rejects of the right, false accepts of the incorrect, known misses included."""
    text = [f"{'kind':42} {'false rejects':>16} {'false accepts':>16}"]
    for kind, judged in rows.items():
        rejected = [outcome != "correct" for variant, outcome in judged if variant.correct]
        accepted = [outcome == "correct" for variant, outcome in judged if not variant.correct]
        text.append(f"{kind:42} {sum(rejected):6} of {len(rejected):6} {sum(accepted):6} of {len(accepted):6}")
    return "\n".join(text)


def test_every_kind_has_enough_pairs() -> None:
    kinds = by_kind(LINES)
    assert len([kind for kind in kinds if TASTE not in kind]) >= 40
    for lines in kinds.values():
        assert len(list(islice(distinct(lines, random.Random(0), 20), 20))) == 20


@pytest.mark.parametrize("each", [1, pytest.param(25, marks=pytest.mark.slow)])
def test_drawn_answers_are_judged_as_labelled(each: int) -> None:
    judged = graded(list(distinct(LINES, random.Random(20251129), each)))
    rows: dict[str, list[tuple[Variant, str]]] = defaultdict(list)
    for variant, outcome in judged:
        rows[variant.kind].append((variant, outcome))
    print(table(rows))
    faults = []
    for kind, of_kind in rows.items():
        required = [] if TASTE in kind else [(variant, outcome) for variant, outcome in of_kind if not variant.missed]
        wrong = [(variant, outcome) for variant, outcome in required if (outcome == "correct") != variant.correct]
        right = sum(variant.correct for variant, _ in required)
        rejected = sum(variant.correct for variant, _ in wrong)
        if rejected > MAX_REJECTED * right or len(wrong) > rejected:
            faults += [
                ("rejected" if v.correct else "ACCEPTED", outcome, kind, v.gold, v.response) for v, outcome in wrong
            ]
    print(*faults, sep="\n")
    assert not faults


def test_known_misses_are_missed() -> None:
    """A miss that is mended leaves the list."""
    judged = graded(list(distinct([line for line in LINES if line.missed], random.Random(1), 5)))
    agreeing = defaultdict(set)
    for variant, outcome in judged:
        agreeing[(variant.kind, variant.missed)].add((outcome == "correct") == variant.correct)
    assert [miss for miss, agrees in agreeing.items() if agrees == {True}] == []
