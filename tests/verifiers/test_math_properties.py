"""The maths verifier on random expressions, whose values at rational points decide what is equal."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from simko.records import Problem
from simko.verifiers import grade_many

Tree: TypeAlias = Any
"""An integer, a variable's name, or (operator, tree, tree)."""

POINTS = [
    {"x": Fraction(7, 3), "y": Fraction(-5, 7)},
    {"x": Fraction(-11, 13), "y": Fraction(9, 4)},
    {"x": Fraction(31), "y": Fraction(1, 6)},
]
OPERATIONS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left / right,
}
TREES = st.recursive(
    st.one_of(st.integers(2, 99), st.sampled_from("xy")),
    lambda trees: st.tuples(st.sampled_from("+-*/"), trees, trees),
    max_leaves=6,
)


def value(tree: Tree, point: dict[str, Fraction]) -> Fraction:
    """The tree's value at a point; ZeroDivisionError where it has none."""
    if isinstance(tree, tuple):
        return OPERATIONS[tree[0]](value(tree[1], point), value(tree[2], point))
    return point[tree] if isinstance(tree, str) else Fraction(tree)


def values(tree: Tree) -> list[Fraction] | None:
    try:
        return [value(tree, point) for point in POINTS]
    except ZeroDivisionError:
        return None


def latex(tree: Tree) -> str:
    """The tree in LaTeX, with brackets around every sum in a product or after a minus."""
    if not isinstance(tree, tuple):
        return str(tree)
    left, right = (latex(side) for side in tree[1:])
    if tree[0] == "/":
        return f"\\frac{{{left}}}{{{right}}}"
    if tree[0] == "*":
        left, right = (
            f"({text})" if is_sum(side) else text for text, side in zip((left, right), tree[1:], strict=True)
        )
        return f"{left} \\cdot {right}"
    return f"{left} {tree[0]} {f'({right})' if is_sum(tree[2]) else right}"


def is_sum(tree: Tree) -> bool:
    return isinstance(tree, tuple) and tree[0] in "+-"


def rewritten(tree: Tree) -> Tree:
    """The same value: sums and products turned round, a - b as a + (-1) b, a / b as 2a / 2b."""
    if not isinstance(tree, tuple):
        return tree
    operator, left, right = tree[0], rewritten(tree[1]), rewritten(tree[2])
    if operator in "+*":
        return (operator, right, left)
    return ("+", ("*", ("-", 2, 3), right), left) if operator == "-" else ("/", ("*", 2, left), ("*", right, 2))


def nudged(tree: Tree) -> Tree:
    """The tree with its last leaf changed."""
    if isinstance(tree, tuple):
        return (*tree[:2], nudged(tree[2]))
    return {"x": "y", "y": "x"}[tree] if isinstance(tree, str) else tree + 1


@settings(max_examples=4, deadline=None, derandomize=True)
@given(st.lists(TREES.filter(lambda tree: values(tree) is not None), min_size=20, max_size=20))
def test_expressions_are_equal_where_their_values_are(trees: list[Tree]) -> None:
    pairs = [(latex(tree), latex(other), True) for tree in trees if (other := rewritten(tree))]
    for tree in trees:
        other = nudged(tree)
        if values(other) not in (None, values(tree)):
            pairs.append((latex(tree), latex(other), False))
    verdicts = grade_many("math", [(f"\\boxed{{{answer}}}", Problem("p", "", gold)) for gold, answer, _ in pairs])
    assert [
        (verdict.outcome, *pair)
        for pair, verdict in zip(pairs, verdicts, strict=True)
        if (verdict.outcome == "correct") != pair[2]
    ] == []


@settings(max_examples=4, deadline=None, derandomize=True)
@given(st.lists(st.integers(10, 10**40), min_size=25, max_size=25), st.integers(1, 9))
def test_integers_are_compared_digit_by_digit(golds: list[int], step: int) -> None:
    writings = [
        str,
        "{:,}".format,
        lambda n: f"{n:,}".replace(",", "{,}"),
        lambda n: f"{n - 1} + 1",
        lambda n: f"\\frac{{{3 * n}}}{{3}}",
    ]
    pairs = [(gold, write(gold + shift), not shift) for gold in golds for shift in (0, step) for write in writings]
    verdicts = grade_many("math", [(f"\\boxed{{{answer}}}", Problem("p", "", str(gold))) for gold, answer, _ in pairs])
    assert [
        (verdict.outcome, *pair)
        for pair, verdict in zip(pairs, verdicts, strict=True)
        if (verdict.outcome == "correct") != pair[2]
    ] == []
