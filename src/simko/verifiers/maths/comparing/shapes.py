r"""Answers of several parts: lists, tuples, parts of the line, matrices, cases."""

from collections.abc import Sequence

from simko.verifiers.maths.comparing.judges import Judge, Verdict3, all_of, pair_up
from simko.verifiers.maths.nodes import Node, exact, negative, product
from simko.verifiers.maths.regions import region
from simko.verifiers.maths.values import (
    Cases,
    Function,
    Listing,
    Matrix,
    Named,
    Quantity,
    Region,
    Relation,
    Tuple,
    Value,
)

_MAX_ITEMS = 64


def listings(gold: Listing, answer: Listing, judge: Judge) -> Verdict3:
    """Items by name where the golds have different ones, else in any order."""
    golds, answers = list(gold.items), list(answer.items)
    if gold.braces or answer.braces or len(set(golds)) == len(golds):  # what is said twice is said once
        golds, answers = list(dict.fromkeys(golds)), list(dict.fromkeys(answers))
    if len(golds) != len(answers) or len(golds) > _MAX_ITEMS:
        return regions(gold, answer, judge)
    ordered = _by_name(golds, answers)
    if ordered is not None:
        return all_of(judge.same(one, other) for one, other in zip(golds, ordered, strict=True)) if ordered else False
    return pair_up(golds, answers, judge.same)


def _heading(value: Value) -> str:
    return value.name if isinstance(value, Named | Function | Region) else ""


def _by_name(golds: Sequence[Value], answers: Sequence[Value]) -> list[Value] | None:
    """The answers in the order of the golds' names, where these are different; empty if theirs are others; None if no
    names count. Unnamed answers are taken in order."""
    names = [_heading(gold) for gold in golds]
    if len(set(names)) != len(names) or "" in names or len(names) < 2:
        return None
    given = [_heading(answer) for answer in answers]
    if not any(given):
        return list(answers)
    if sorted(given) != sorted(names):
        return []
    return [answers[given.index(one)] for one in names]


def _in_order(values: Sequence[Value]) -> list[Value]:
    """The values of x=2, y=3 in the order of the alphabet; empty where names are missing or the same."""
    named = [value for value in values if isinstance(value, Named)]
    if len(named) != len(values) or len({value.name for value in named}) != len(named):
        return []
    return [value.value for value in sorted(named, key=lambda value: value.name.lstrip("\\").casefold())]


def listing_tuple(gold: Listing, answer: Tuple, judge: Judge) -> Verdict3:
    """(2,3) for x=2, y=3; [1, 2, 3] for 1, 2, 3."""
    names = [_heading(item) for item in gold.items if isinstance(item, Named)]
    if (
        len(names) == len(gold.items)
        and all(names)
        and len(set(names)) == len(names) == len(answer.items) > 1
        and answer.opening == "("
    ):
        return all_of(
            judge.same(item.value, part)
            for item, part in zip(gold.items, answer.items, strict=True)
            if isinstance(item, Named)
        )
    nested = all(isinstance(item, Tuple) for item in answer.items)
    if answer.opening == "[" and answer.closing == "]" and (len(answer.items) > 2 or nested) and not gold.braces:
        return listings(gold, Listing(answer.items), judge)
    if len(gold.items) == 1:
        return judge.same(gold.items[0], answer)
    return regions(gold, answer, judge)


def tuple_listing(gold: Tuple, answer: Listing, judge: Judge) -> Verdict3:
    """x=2, y=3 for (2,3): the names in the order of the alphabet."""
    if len(answer.items) == 1:
        return judge.same(gold, answer.items[0])
    values = _in_order(answer.items)
    if len(values) == len(gold.items) and gold.opening == "(" and gold.closing == ")":
        return all_of(judge.same(one, other) for one, other in zip(gold.items, values, strict=True))
    return regions(gold, answer, judge)


def tuples(gold: Tuple, answer: Tuple, judge: Judge) -> Verdict3:
    """The same entries in order; the same brackets, for they may be an interval's."""
    brackets = (gold.opening, gold.closing) == (answer.opening, answer.closing)
    if (
        len(gold.items) != len(answer.items)
        or (not brackets and len(gold.items) == 2)
        or ({gold.opening + gold.closing, answer.opening + answer.closing} & {"(]", "[)"} and not brackets)
    ):
        return False
    return all_of(judge.same(one, other) for one, other in zip(gold.items, answer.items, strict=True))


def regions(gold: Value, answer: Value, judge: Judge) -> Verdict3:
    """The same part of the line, of one unknown where both name it; lists of points are none."""
    one, other = region(gold), region(answer)
    if one is None or other is None or (one.name and other.name and one.name != other.name):
        return False
    if isinstance(gold, Listing) and isinstance(answer, Listing) and not (one.name or other.name):
        return False
    if len(one.intervals) != len(other.intervals):
        return False
    return all_of(
        [
            (left.low_closed, left.high_closed) == (right.low_closed, right.high_closed)
            and all_of([judge.equal(left.low, right.low), judge.equal(left.high, right.high)])
            for left, right in zip(one.intervals, other.intervals, strict=True)
        ]
    )


def relations(gold: Relation, answer: Relation, judge: Judge) -> Verdict3:
    r"""Inequalities with several names, congruences: side by side, or as a positive multiple of the difference."""
    if gold.signs == answer.signs and len(gold.sides) == len(answer.sides):
        verdict = all_of(judge.equal(*pair) for pair in zip(gold.sides, answer.sides, strict=True))
        if verdict is not False or len(gold.signs) > 1:
            return verdict
    if gold.signs == answer.signs == (r"\equiv",):
        return congruent(gold.sides[1], answer.sides[1]) and judge.equal(gold.sides[0], answer.sides[0])
    if len(gold.signs) != 1 or len(answer.signs) != 1 or gold.signs[0] not in _FLIPPED:
        return False
    if answer.signs != gold.signs:
        if _FLIPPED[answer.signs[0]] != gold.signs[0]:
            return False
        answer = Relation(answer.sides[::-1], gold.signs)
    one, other = [Node("add", args=(sides[0], negative(sides[1]))) for sides in (gold.sides, answer.sides)]
    return judge.proportional(one, other, positive=gold.signs[0] != "!=")


def congruent(gold: Node, answer: Node) -> bool:
    """Whether a \\pmod m and b \\pmod m are remainders that differ by a multiple of m."""
    if gold.value != "?pmod" or answer.value not in ("?pmod", "mod"):
        return False
    one, modulus = (exact(part) for part in gold.args)
    other, same = (exact(part) for part in answer.args)
    return (
        one is not None
        and other is not None
        and bool(modulus)
        and modulus == same
        and (one - other) % (modulus or 1) == 0
    )


_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!="}


def matrices(gold: Matrix, answer: Matrix, judge: Judge) -> Verdict3:
    """The same shape and entries; a determinant is no matrix."""
    if gold.bars != answer.bars or [len(row) for row in gold.rows] != [len(row) for row in answer.rows]:
        return False
    return all_of(
        judge.same(*pair) for rows in zip(gold.rows, answer.rows, strict=True) for pair in zip(*rows, strict=True)
    )


def vector(gold: Matrix, answer: Tuple, judge: Judge) -> Verdict3:
    """A column or row as a tuple of its entries, rows as tuples within one."""
    entries = [row[0] for row in gold.rows] if all(len(row) == 1 for row in gold.rows) else []
    if len(gold.rows) == 1:
        entries = list(gold.rows[0])
    if not gold.bars and len(entries) == len(answer.items):
        return all_of(judge.same(*pair) for pair in zip(entries, answer.items, strict=True))
    rows = tuple(item.items for item in answer.items if isinstance(item, Tuple) and item.opening == "[")
    return len(rows) == len(answer.items) and matrices(gold, Matrix(rows), judge)


def basis_vector(gold: Tuple, answer: Quantity, judge: Judge) -> Verdict3:
    r"""A vector in its unit vectors: 2\hat{i}-\hat{j}, 2i-j, for (2,-1)."""
    if region(gold) is not None and region(answer) is not None:
        return regions(gold, answer, judge)
    if not answer.node.names:  # 3i alone is a complex number
        return False
    hats = any(name.startswith(r"\hat") for name in answer.node.names)
    basis = [
        Node("name", rf"\hat{{{letter}}}") if hats else Node("constant" if letter == "i" else "name", letter)
        for letter in "ijk"
    ]
    items = [item.node for item in gold.items if isinstance(item, Quantity)]
    if (
        len(items) != len(gold.items)
        or len(items) > 3
        or not answer.node.names <= {str(part.value) for part in basis} | _names(items)
    ):
        return False
    return judge.equal(Node("add", args=tuple(product(*pair) for pair in zip(items, basis, strict=False))), answer.node)


def _names(nodes: Sequence[Node]) -> frozenset[str]:
    return frozenset[str]().union(*(node.names for node in nodes))


def unit_vectors(gold: Quantity, answer: Tuple, judge: Judge) -> Verdict3:
    """(2,-1) for 2i-j."""
    return basis_vector(answer, gold, judge)


def one_value(gold: Quantity, answer: Listing, judge: Judge) -> Verdict3:
    """A list that says one value in several forms: 1/8 or 0.125."""
    return bool(answer.items) and all_of(judge.same(gold, item) for item in answer.items)


def residue(gold: Relation, answer: Quantity, judge: Judge) -> Verdict3:
    r"""3 \pmod 7 for n \equiv 3 \pmod 7."""
    return gold.signs == (r"\equiv",) and congruent(gold.sides[1], answer.node)


def basis_matrix(gold: Matrix, answer: Quantity, judge: Judge) -> Verdict3:
    """A column in its unit vectors."""
    return all(len(row) == 1 for row in gold.rows) and basis_vector(
        Tuple(tuple(row[0] for row in gold.rows)), answer, judge
    )


def point(gold: Tuple, answer: Matrix, judge: Judge) -> Verdict3:
    """A column or row for a tuple."""
    return vector(answer, gold, judge) if gold.opening == "(" and gold.closing == ")" else False


def cases(gold: Cases, answer: Cases, judge: Judge) -> Verdict3:
    """The same values under the same conditions, in any order."""
    if len(gold.rows) != len(answer.rows):
        return False
    return pair_up(
        gold.rows, answer.rows, lambda one, other: all_of(judge.same(*pair) for pair in zip(one, other, strict=True))
    )
