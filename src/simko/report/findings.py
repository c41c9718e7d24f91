"""Sentences about the numbers: which claims hold, how reliable the numbers are, what they do not show."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from simko.evaluate import Comparison, Difference, Point
from simko.report.measures import Measures
from simko.report.study import BASE, Study, display

Status = Literal["holds", "no difference shown", "does not hold here", "higher", "lower"]
_BASE_POSSESSIVE = "the base model’s"


@dataclass(frozen=True)
class Finding:
    """A claim and what the data say about it."""

    claim: str
    """The claim."""
    status: Status
    """Whether it holds."""
    figures: str
    """The difference with its interval."""


def percent(value: float) -> str:
    """0.1234 -> "12.3 %"."""
    return f"{100 * value:.1f} %"


def points_apart(value: float) -> str:
    """A difference in percentage points, with its sign: 0.1234 -> "+12.3"."""
    rounded = round(100 * value, 1) + 0.0
    return f"{rounded:+.1f}".replace("-", "−")


def with_interval(point: Point) -> str:
    """ "12.3 % (10.1 to 14.5)"."""
    return f"{percent(point.estimate)} ({100 * point.low:.1f} to {100 * point.high:.1f})"


def difference_words(d: Difference) -> str:
    """ "+12.3 points (95 % interval +10.1 to +14.5)"."""
    return f"{points_apart(d.difference)} points (95 % interval {points_apart(d.low)} to {points_apart(d.high)})"


def judge(d: Difference, expected: Literal["above", "below"]) -> Status:
    """Whether the interval supports the expected direction; "no difference shown" if it contains zero."""
    if d.low <= 0 <= d.high:
        return "no difference shown"
    return "holds" if (d.low > 0) == (expected == "above") else "does not hold here"


def find(study: Study, m: Measures) -> list[Finding]:
    """The findings in the order of the page: pass@1 first, then pass@K at the largest reliable K."""
    found = []
    trained = [x for x in study.methods if x != BASE]
    for method in trained:
        ours = f"{display(method)}’s pass@1"
        if (method, BASE) in m.pairs and m.ks[0] == 1:
            found.append(_directed(ours, _BASE_POSSESSIVE, _at(m.pairs[method, BASE], 1), "above"))
        if method in m.against_best and m.best_base is not None:
            temperature, point = m.best_base
            best = (
                f"{_BASE_POSSESSIVE} at its best temperature ({temperature:g}, where it has {percent(point.estimate)})"
            )
            found.append(_directed(ours, best, m.against_best[method].points[0], "above"))
    if ("simko", "grpo") in m.pairs and m.ks[0] == 1:
        found.append(_undirected("SimKO’s pass@1", "GRPO’s", _at(m.pairs["simko", "grpo"], 1)))
    k = m.reliable_k
    if k == 1:
        return found
    for method in trained:
        if (method, BASE) not in m.pairs or method == "simko":
            continue
        d = _at(m.pairs[method, BASE], k)
        if method == "grpo":
            found.append(_directed(f"GRPO’s pass@{k}", _BASE_POSSESSIVE, d, "below"))
        else:
            found.append(_undirected(f"{display(method)}’s pass@{k}", _BASE_POSSESSIVE, d))
    if ("simko", "grpo") in m.pairs:
        found.append(_directed(f"SimKO’s pass@{k}", "GRPO’s", _at(m.pairs["simko", "grpo"], k), "above"))
    if ("simko", BASE) in m.pairs:
        found.append(_undirected(f"SimKO’s pass@{k}", _BASE_POSSESSIVE, _at(m.pairs["simko", BASE], k)))
    return found


def summary(study: Study, m: Measures) -> list[str]:
    """The opening sentences."""
    words = []
    if BASE in m.curves:
        words.append(f"The base model {_levels(m, BASE)}.")
    for method in study.methods:
        if method == BASE:
            continue
        words.append(f"{display(method)} {_changes(m, method)}.")
    if ("simko", "grpo") in m.pairs and m.reliable_k > 1:
        at_ks = [_at(m.pairs["simko", "grpo"], k) for k in (m.ks[0], m.reliable_k)]
        words += [_simko_against_grpo(d) for d in at_ks]
    if not any(x != BASE for x in study.methods):
        words.append("No trained model has been evaluated yet, so there is nothing to compare.")
    elif BASE not in m.curves:
        words.append("The base model has not been evaluated, so nothing here says what training changed.")
    return words


def _simko_against_grpo(d: Difference) -> str:
    status = judge(d, "above")
    if status == "no difference shown":
        return f"Between SimKO and GRPO no difference is shown at pass@{d.k}: {difference_words(d)}."
    side = "above" if status == "holds" else "below"
    return f"SimKO’s pass@{d.k} lies {side} GRPO’s: {difference_words(d)}."


def _levels(m: Measures, method: str) -> str:
    """ "has pass@1 of 7.6 % and pass@64 of 92.5 %"."""
    return f"has {' and '.join(f'pass@{p.k} of {percent(p.estimate)}' for p in _first_and_last(m, method))}"


def _changes(m: Measures, method: str) -> str:
    """ "raises pass@1 to 27.8 % and lowers pass@64 to 76.9 %", if the intervals exclude zero."""
    if (method, BASE) not in m.pairs:
        return _levels(m, method)
    parts = []
    for p in _first_and_last(m, method):
        status = judge(_at(m.pairs[method, BASE], p.k), "above")
        if status == "no difference shown":
            parts.append(f"is not shown to change pass@{p.k} ({percent(p.estimate)})")
        else:
            verb = "raises" if status == "holds" else "lowers"
            parts.append(f"{verb} pass@{p.k} to {percent(p.estimate)}")
    return " and ".join(parts)


def _first_and_last(m: Measures, method: str) -> list[Point]:
    points = m.curves[method].points
    return [points[0], *(p for p in points[1:] if p.k == m.reliable_k)]


def reliability(study: Study, m: Measures) -> list[str]:
    """How reliable the numbers are."""
    size = f"{_number(m.problems, 'problem')}, at least {_number(m.samples, 'sample')} a problem"
    words = [f"{size} at temperature {study.temperature:g}."]
    trained = [x for x in study.methods if x != BASE]
    words += _seed_words(m, trained)
    above = [k for k in m.ks if 2 * k > m.samples]
    if above and m.samples > 1:
        names = ", ".join(f"pass@{k}" for k in above)
        words.append(
            f"Take {names} as an any-hit indicator: K is more than half of the {m.samples} samples a problem,"
            " so one lucky sample decides a problem."
        )
    if m.left_out_ks:
        names = ", ".join(f"pass@{k}" for k in m.left_out_ks)
        words.append(f"{names}: left out, because some problem has only {_number(m.samples, 'sample')}.")
    if m.problems < 100:
        words.append("With fewer than 100 problems the intervals are wide. Close methods cannot be told apart.")
    return words


def _seed_words(m: Measures, trained: Sequence[str]) -> list[str]:
    if not trained:
        return []
    seeds = {x: len(m.curves[x].per_seed) for x in trained}
    if max(seeds.values()) == 1:
        return ["One training seed a method: the intervals cover the choice of problems, not of training seeds."]
    counts = set(seeds.values())
    number = (
        f"{_number(counts.pop(), 'training seed')} a method"
        if len(counts) == 1
        else ", ".join(f"{display(x)} {_number(n, 'training seed')}" for x, n in seeds.items())
    )
    return [
        f"{number}. Each problem’s value is the mean over seeds; thin lines show each seed.",
        "The intervals cover the choice of problems, not of training seeds.",
    ]


def limits(study: Study, m: Measures) -> list[str]:
    """What the numbers do and do not show."""
    models = f"{study.base_model or 'the base model'} and the models trained from it"
    words = [
        f"They show how often {models} solve these {m.problems} problems at this temperature.",
        "Other models, tasks and temperatures were not measured.",
        "An interval says how much the mean could move with another draw of problems of the same kind.",
        "pass@K counts a problem as solved when any of K samples is correct. It does not say that a user could find that sample.",
    ]
    if m.seeds == 1:
        words.append(
            "A difference between two methods may be one between two training seeds. Three seeds or more would tell."
        )
    if (("grpo", BASE) in m.pairs or ("simko", BASE) in m.pairs) and m.best_base is None:
        words.append(
            "The base model was evaluated at one temperature. A lower one often lifts its pass@1, so part of the gain"
            " at pass@1 may be sharper sampling and nothing more."
        )
    words.append(
        "The verifier alone decides which answers are correct. A correct answer after wrong reasoning, or a lucky guess, counts."
    )
    words.append("The p values are adjusted for the several pairs at one K (Holm), not for the several K.")
    return words


def changed(c: Comparison) -> str:
    """ "12 newly solved, 3 newly lost"."""
    return f"{len(c.newly_solved)} newly solved, {len(c.newly_lost)} newly lost"


def _directed(ours: str, other: str, d: Difference, expected: Literal["above", "below"]) -> Finding:
    """The claim that ours is above (below) other. Without a shown difference, its words have no direction."""
    status = judge(d, expected)
    if status == "no difference shown":
        return Finding(f"{ours} against {other}", status, f"{difference_words(d)}.")
    claim = f"{ours} is {expected} {other}"
    if status == "holds":
        return Finding(claim, status, f"{difference_words(d)}.")
    return Finding(claim, status, f"It is {'below' if expected == 'above' else 'above'}: {difference_words(d)}.")


def _undirected(ours: str, other: str, d: Difference) -> Finding:
    words: dict[Status, Status] = {"holds": "higher", "does not hold here": "lower"}
    status = judge(d, "above")
    return Finding(f"{ours} against {other}", words.get(status, status), f"{difference_words(d)}.")


def _at(comparison: Comparison, k: int) -> Difference:
    return next(d for d in comparison.points if d.k == k)


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
