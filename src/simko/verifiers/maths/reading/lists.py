r"""Several values in a row: a list, a solution by names, one region, or one quantity in two units."""

from simko.verifiers.maths.reading.quantity import added
from simko.verifiers.maths.regions import intersection, union
from simko.verifiers.maths.values import Interval, Listing, Named, Quantity, Region, Value


def listing(items: list[Value], joint: str) -> Value:
    """The value of items in a row, joined by "and", "or" or a comma.

    Flat where an item is itself a plain list: 1, 2 or 3. Not where it is a solution: x=1, y=2 or x=2, y=1. Under one name
    where the first has one and the others have the same or none: x=1, x=2 and n=1, 2, 3.
    """
    flat: list[Value] = []
    for item in items:
        plain = isinstance(item, Listing) and not item.braces and not is_solution(item)
        flat += item.items if isinstance(item, Listing) and plain else [item]
    regions = [item if isinstance(item, Region) else _point(item) for item in flat]
    if all(regions) and any(isinstance(item, Region) for item in flat):
        known = [item for item in regions if item is not None]
        both = None if joint == "or" else intersection(known)
        if both is not None or joint == "and":
            return both or Listing((), True)
        return union(known) or Listing(tuple(flat))
    if joint == "and" and len(flat) == 2 and isinstance(flat[0], Quantity) and isinstance(flat[1], Quantity):
        total = added(flat[0], flat[1])
        if total is not None:
            return total
    first = flat[0]
    names = {item.name for item in flat if isinstance(item, Named)}
    if isinstance(first, Named) and len(names) == 1:
        values: list[Value] = []
        for item in flat:
            value = item.value if isinstance(item, Named) else item
            values += value.items if isinstance(value, Listing) and not value.braces else [value]
        return Named(first.name, Listing(tuple(values)), first.left)
    return Listing(tuple(flat))


def _point(value: Value) -> Region | None:
    """x=1 as a part of the line, beside x<0."""
    if (
        not isinstance(value, Named)
        or not isinstance(value.value, Quantity)
        or value.value.node.names
        or value.value.unit
    ):
        return None
    return Region((Interval(value.value.node, value.value.node, True, True),), value.name)


def is_solution(value: Listing) -> bool:
    """Whether the list gives values of different names."""
    return len({item.name for item in value.items if isinstance(item, Named)}) > 1
