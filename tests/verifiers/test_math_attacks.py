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


@pytest.mark.parametrize("each", [2])
def test_no_attack_on_a_gold_is_accepted(each: int, bench_data: Path) -> None:
    every = each if "tests" in bench_data.parts else 25 * each
    answers = golds(bench_data)
    tried = list(attacks(answers, random.Random(2025), every))
    assert len({variant.kind for variant in tried}) >= 15
    assert len(tried) > 0.8 * every * len(ATTACKS)
    assert [variant for variant in misjudged(tried) if not variant.missed] == []


def test_no_written_attack_is_accepted() -> None:
    assert [variant for variant in misjudged(WRITTEN) if not variant.missed] == []


PIECES = r"""\frac \dfrac \sqrt { } ( ) [ ] \{ \} \text{ and or \pm \mp , ; = < > \le \in \cup \infty inf nan x n e i 1 2 3 7 12 0 0.5 . .5 / - + * ^
    _ ! ' % \% $ \$ ^\circ ° \text{C} \text{F} \text{K} \degree \deg \mod \text{m} \text{ft} \mathrm{dB} \mathrm{pH} \approx \times10^{ e5 e-3 \pi
    \sin \cos^{-1} \log_ \ln \binom \sum_{k=1}^{3} \int_0^1 dx \lim_{x\to0} \left( \right) \\ \boxed{ & \begin{pmatrix} \end{pmatrix} \begin{cases}
    \end{cases} | \lfloor \rfloor \lceil : \cdot \div \overline{ \bar{3} \dot{3} \text{dozen} \emptyset \mathbb{R} \setminus \mid \not \ne \to \ldots
    \underline{ \color{red} \phantom{ ½ ² √ ≤ A B (B) \text{True} f(x) f'(x) _8 3:30 p.m. 1,234 \pmod{ \gcd( \max( \exp lcm \angle \alpha \hbar \nabla
    \partial \mathbf{i} \hat \prime ^T ^{-1} 9^{9^9} 1e999 1/0 0^0 \tan90^\circ""".split()
GOLDS = r"""42 1.5 0 x+1 f(x)=x+1 (1,2) [1,2] x=3 \{1,2\} \begin{pmatrix}1\\2\end{pmatrix} 5\text{cm} 20^\circ\text{C} 10\% \$5 \text{east} B 3:30 \pm3
    n\pi,n\in\mathbb{Z} x>2 \infty \sqrt{2} 2^{100}-1 1+2i 6.02\times10^{23} x^2+y^2=1 \emptyset 12_8 1,2,3 \lfloor{x}\rfloor 5\text{hours} 3:2
    \frac{dv}{dt} \mathbb{R} 2\mathbf{i}+3\mathbf{j} \begin{cases}1&x>0\\0&x\le0\end{cases}""".split()


@pytest.mark.parametrize("number", [800, pytest.param(30_000, marks=pytest.mark.slow)])
def test_no_medley_of_symbols_fails_the_verifier(number: int) -> None:
    source = random.Random(3)
    medleys = []
    for _ in range(number):
        gold, pieces = source.choice(GOLDS), source.choices(PIECES, k=source.randint(1, 8))
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
