r"""Bound names: the counters of families of solutions, and the conditions that are said of names."""

import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

from simko.verifiers.maths.comparing.judges import Judge, Verdict3, all_of, any_of, pair_up
from simko.verifiers.maths.nodes import Node, name, number, product
from simko.verifiers.maths.reading.read import read
from simko.verifiers.maths.values import Given, Listing, Named, Value

_ALL_INTEGERS = re.compile(r"\\mathbb ?\{?Z\}?$|^(?!.*(?:positive|negative|natural|[<>])).*integer")
"""A condition that lets a counter be any integer: then a family may count from another place."""

_COUNTERS = frozenset("jklmn")


def given(gold: Value, answer: Value, judge: Judge) -> Verdict3:
    """Two answers of which one or both are under conditions; families of solutions may count from another place."""
    stated = [side.conditions if isinstance(side, Given) else frozenset() for side in (gold, answer)]
    plain = [side.value if isinstance(side, Given) else side for side in (gold, answer)]
    said = [side.integers if isinstance(side, Given) else frozenset() for side in (gold, answer)]
    mapping = _counter(plain[0], plain[1], said[0] | said[1])
    if all(stated) and not _conditions_agree(stated[0], stated[1], mapping, judge):
        return False
    if not stated[0] and not all(map(_says_little, stated[1])):
        return False
    one, other = plain[0], renamed(plain[1], mapping)
    # only the gold lets its names be integers
    counters = said[0] | (_family(plain[0]) & frozenset(mapping.get(name, name) for name in said[1]))
    judge = replace(judge, integers=judge.integers | counters)
    if isinstance(one, Named) and isinstance(other, Named) and one.name == other.name:
        one, other = one.value, other.value
    if not all(_ALL_INTEGERS.search(text) for text in stated[0] | stated[1]):
        return judge.same(one, other)
    if isinstance(one, Listing) and isinstance(other, Listing):
        return len(one.items) == len(other.items) and pair_up(
            one.items, other.items, lambda a, b: _shifted(a, b, judge)
        )
    return _shifted(one, other, judge)


def _family(gold: Value) -> frozenset[str]:
    r"""The counters of a gold that is a family of angles, though it does not say so: \frac{\pi}{6}+2k\pi."""
    names = names_in(gold)
    return names & _COUNTERS if "pi" in _constants(gold) and len(names) <= 2 else frozenset()


def _says_little(condition: str) -> bool:
    r"""Whether a condition that only the answer has leaves the answer as it is: x \in \mathbb{R}, n \ge 1, c a constant."""
    bound = re.search(r"[<>!]=?", condition)
    return bound is None or bool(re.fullmatch(r"(?:all |every |any )?[i-nN](?:>=|>)[-]?[0-2]", condition))


def _shifted(gold: Value, answer: Value, judge: Judge) -> Verdict3:
    r"""Whether the answers are equal where one counts from another place, or backwards: k\pi-\pi/6, 5\pi/6+k\pi."""
    verdict = judge.same(gold, answer)
    counters = judge.integers & names_in(gold) & names_in(answer) if verdict is False else ()
    shifts = [(counter, sign, shift) for counter in counters for sign in (1, -1) for shift in range(-2, 3)]
    return any_of([verdict, *(judge.same(gold, _substituted(answer, *shift)) for shift in shifts)])


def _conditions_agree(gold: frozenset[str], answer: frozenset[str], names: dict[str, str], judge: Judge) -> bool:
    """Whether conditions on both sides are the same, where both speak of sets of numbers, or both of bounds."""
    for sign in (r"\mathbb", "<|>|!"):
        pair = []
        for texts, renames in ((gold, {}), (answer, names)):
            found = sorted(text for text in texts if any(part in text for part in sign.split("|")))
            for old, new in renames.items():
                found = [text.replace(old, new) for text in found]
            pair.append([text.removeprefix("all ").removeprefix("every ") for text in found])
        if bool(pair[1]) > bool(pair[0]):  # a bound that the gold does not have
            return False
        if (
            all(pair)
            and pair[0] != pair[1]
            and all_of(judge.same(read(one), read(other)) for one, other in zip(*pair, strict=False)) is not True
        ):
            return False
    return True


def _counter(gold: Value, answer: Value, integers: frozenset[str]) -> dict[str, str]:
    """The answer's counter under the gold's name: k for n in a family of solutions."""
    one, other = names_in(gold), names_in(answer)
    extra, missing = other - one, one - other
    if len(extra) != 1 or len(missing) != 1:
        return {}
    (new,), (old,) = extra, missing
    declared = {new, old} & integers and (old in integers or old in _COUNTERS)
    return {new: old} if declared or ({new, old} <= _family(gold) | _COUNTERS and old in _family(gold)) else {}


def with_counter_of(gold: Value, answer: Value) -> Value:
    """The answer with its counter under the gold's name, where neither side declares one."""
    return renamed(answer, _counter(gold, answer, frozenset()))


def _constants(value: object) -> frozenset[str]:
    if isinstance(value, Node):
        return frozenset(str(part.value) for part in value.walk() if part.head == "constant")
    if isinstance(value, tuple):
        return frozenset[str]().union(*map(_constants, value))
    if is_dataclass(value):
        return frozenset[str]().union(*(_constants(getattr(value, field.name)) for field in fields(value)))
    return frozenset()


def _mapped(value: Any, change: Callable[[Node], Node]) -> Any:
    """The value with every expression in it changed."""
    if isinstance(value, Node):
        return change(value)
    if isinstance(value, tuple):
        return tuple(_mapped(part, change) for part in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: _mapped(getattr(value, field.name), change) for field in fields(value)})
    return value


def renamed(value: Any, names: dict[str, str]) -> Any:
    """The value with other names in its expressions."""
    return _mapped(value, lambda node: node.renamed(names)) if names else value


def _substituted(value: Any, counter: str, sign: int, shift: int) -> Any:
    moved = Node("add", args=(product(number(sign), name(counter)), number(shift)))

    def change(node: Node) -> Node:
        if node.head == "name":
            return moved if node.value == counter else node
        return Node(node.head, node.value, tuple(change(part) for part in node.args))

    return _mapped(value, change)


def names_in(value: object) -> frozenset[str]:
    """The free names of every expression in a value."""
    if isinstance(value, Node):
        return value.names
    if isinstance(value, tuple):
        return frozenset[str]().union(*map(names_in, value))
    if is_dataclass(value):
        return frozenset[str]().union(*(names_in(getattr(value, field.name)) for field in fields(value)))
    return frozenset()
