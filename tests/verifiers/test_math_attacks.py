"""The maths verifier under attack: no answer that holds the gold, hedges or confuses is taken for it."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from attacks import ATTACKS, attacks, golds
from mutants import mutants
from variants import BOXES, HERE, Variant

from simko.records import Problem
from simko.verifiers import grade_many

WRITTEN = [
    Variant(row["kind"], row["gold"], row["response"], row.get("correct", False), row.get("missed"))
    for row in map(json.loads, (HERE.parent / "data" / "grader_attacks.jsonl").read_text("utf-8").splitlines())
]


EQUAL = {
    (row["gold"], row["mutant"])
    for row in map(json.loads, (HERE.parent / "data" / "equal_mutants.jsonl").read_text("utf-8").splitlines())
}


def outcomes(variants: list[Variant]) -> list[str]:
    problems = [(variant.response, Problem("p", "", variant.gold)) for variant in variants]
    return [verdict.outcome for verdict in grade_many("math", problems)]


def misjudged(variants: list[Variant]) -> list[Variant]:
    """What is judged against its label or not at all, printed with the number of each kind."""
    found = [
        variant
        for variant, outcome in zip(variants, outcomes(variants), strict=True)
        if outcome == "error" or (outcome == "correct") != variant.correct
    ]
    tried, failed = (Counter(variant.kind for variant in some) for some in (variants, found))
    print(*(f"{kind:48} {failed[kind]:5} of {tried[kind]:5}" for kind in tried), sep="\n")
    print(*found, sep="\n")
    return found


def test_no_attack_on_a_gold_is_accepted(bench_data: Path) -> None:
    each = 1 if "tests" in bench_data.parts else 25
    answers = golds(bench_data)
    tried = list(attacks(answers, random.Random(2025), each))
    assert len({variant.kind for variant in tried}) >= 15
    assert len(tried) > 0.8 * each * len(ATTACKS)
    assert [variant for variant in misjudged(tried) if not variant.missed] == []


def test_no_written_attack_is_accepted() -> None:
    assert [variant for variant in misjudged(WRITTEN) if not variant.missed] == []


@pytest.mark.parametrize("number", [800, pytest.param(30_000, marks=pytest.mark.slow)])
def test_no_medley_of_symbols_fails_the_verifier(number: int) -> None:
    pieces_of_answers, some_golds = (row.split() for row in (HERE / "medleys.txt").read_text("utf-8").splitlines())
    source = random.Random(3)
    medleys = []
    for _ in range(number):
        gold, pieces = source.choice(some_golds), source.choices(pieces_of_answers, k=source.randint(1, 8))
        place = source.randrange(len(gold))
        answer = "".join(pieces) if source.random() < 0.5 else gold[:place] + pieces[0] + gold[place:]
        medleys.append(Variant("medley", gold, f"\\boxed{{{answer}}}", False, None))
    failed = zip(medleys, outcomes(medleys), strict=True)
    assert [(one.gold, one.response) for one, outcome in failed if outcome == "error"] == []


@pytest.mark.slow
def test_good_answers_among_hostile_ones_are_right() -> None:
    rows = json.loads((HERE / "hostile_answers.json").read_text("utf-8"))
    texts = ["".join(part * times for part, times in row) for row in rows]
    hostile = [Variant("hostile", "42", f"\\boxed{{{texts[n % len(texts)]}+{n}}}", False, None) for n in range(200)]
    good = [Variant("good", f"(x+{n})(x+3)", f"\\boxed{{x^2+{n + 3}x+{3 * n}}}", True, None) for n in range(1000, 1200)]
    mixed = [*good, *hostile]
    random.Random(7).shuffle(mixed)
    assert misjudged(mixed) == []


def mutated(answers: list[str]) -> list[Variant]:
    """Every mutant of the golds that is not listed as equal to its gold."""
    made = [(gold, mutant) for gold in answers for mutant in mutants(gold) if (gold, mutant.text) not in EQUAL]
    return [
        Variant(mutant.mutation, gold, BOXES[number % len(BOXES)] % mutant.text, False, None)
        for number, (gold, mutant) in enumerate(made)
    ]


def test_no_mutant_of_a_gold_is_accepted(bench_data: Path) -> None:
    tried = mutated(golds(bench_data))
    if "tests" in bench_data.parts:
        tried = random.Random(4).sample(tried, 400)
    assert len({variant.kind for variant in tried}) >= 12
    assert misjudged(tried) == []
