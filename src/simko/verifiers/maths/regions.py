"""Parts of the line: intervals, their unions, what a value is as one."""

from collections.abc import Sequence

from simko.verifiers.maths.nodes import Node, negative
from simko.verifiers.maths.numeric import real_value
from simko.verifiers.maths.values import Interval, Listing, Named, Quantity, Region, Tuple, Value

INFINITY = Node("constant", "infinity")


def region(value: Value) -> Region | None:
    """The value as a part of the line; None if it is none."""
    if isinstance(value, Region):
        return value
    if isinstance(value, Tuple) and len(value.items) == 2:
        ends = [item.node if isinstance(item, Quantity) and not item.percent else None for item in value.items]
        if ends[0] is None or ends[1] is None or ends[0].names or ends[1].names:
            return None
        return Region((Interval(ends[0], ends[1], value.opening == "[", value.closing == "]"),))
    if isinstance(value, Quantity) and value.node.head == "name" and value.node.value == r"\mathbb{R}":
        return Region((Interval(negative(INFINITY), INFINITY, False, False),))
    if isinstance(value, Listing):
        points = [item.node for item in value.items if isinstance(item, Quantity) and not item.node.names]
        if len(points) == len(value.items) and value.braces:
            return union([Region((Interval(point, point, True, True),)) for point in points]) if points else None
    if isinstance(value, Listing) and not value.braces and value.items:
        parts = [region(item) for item in value.items if isinstance(item, Region | Tuple)]
        if len(parts) == len(value.items):
            return union([part for part in parts if part is not None]) if all(parts) else None
    if isinstance(value, Named) and (found := region(value.value)) is not None and not isinstance(value.value, Listing):
        return Region(found.intervals, value.name)
    return None


def union(parts: Sequence[Region]) -> Region | None:
    """The union, its intervals from left to right; None where the parts are of different names."""
    names = {part.name for part in parts if part.name}
    if len(names) > 1:
        return None
    intervals = [interval for part in parts for interval in part.intervals]
    lows = [real_value(interval.low) for interval in intervals]
    if any(low is None for low in lows):
        return Region(tuple(intervals), "".join(names))
    order = sorted(
        range(len(intervals)), key=lambda place: (lows[place], intervals[place].high != intervals[place].low)
    )
    return Region(tuple(intervals[place] for place in order), "".join(names))


def intersection(parts: Sequence[Region]) -> Region | None:
    """What parts of the line of one name have in common; None where that is nothing, or an end has no value."""
    if len({part.name for part in parts}) > 1:
        return None
    found = list(parts[0].intervals)
    for part in parts[1:]:
        found = [both for one in found for other in part.intervals if (both := _both(one, other)) is not None]
    return union([Region((interval,), parts[0].name) for interval in found]) if found else None


def _both(one: Interval, other: Interval) -> Interval | None:
    ends = [real_value(end) for end in (one.low, one.high, other.low, other.high)]
    if any(end is None for end in ends):
        return None
    low, high, other_low, other_high = [end or 0.0 for end in ends]
    lower = other if other_low > low or (other_low == low and not other.low_closed) else one
    upper = other if other_high < high or (other_high == high and not other.high_closed) else one
    found = Interval(lower.low, upper.high, lower.low_closed, upper.high_closed)
    start, end = max(low, other_low), min(high, other_high)
    return found if start < end or (start == end and found.low_closed and found.high_closed) else None


def without(whole: Region, parts: Sequence[Region]) -> Region | None:
    """An interval without single points; None where what is taken away is no point."""
    points = [interval.low for part in parts for interval in part.intervals]
    if any(interval.low != interval.high for part in parts for interval in part.intervals):
        return None
    values = sorted((real_value(point) or 0.0, place) for place, point in enumerate(points))
    intervals = list(whole.intervals)
    if len(intervals) != 1:
        return None
    last = intervals.pop()
    for _, place in values:
        intervals.append(Interval(last.low, points[place], last.low_closed, False))
        last = Interval(points[place], last.high, False, last.high_closed)
    return Region((*intervals, last), whole.name)


def except_for(name: str, point: Node) -> Region:
    r"""The line without a point: x \ne 2."""
    return Region((Interval(negative(INFINITY), point, False, False), Interval(point, INFINITY, False, False)), name)
