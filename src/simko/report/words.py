"""Sentences about the numbers: levels, which claims hold, how reliable the numbers are, what they do not show."""

from collections.abc import Sequence
from typing import Any, Literal

from simko.evaluate import Difference, Point
from simko.generations import UNKNOWN
from simko.report.comparison import BASE, Pair, Section, Side, Sweep
from simko.report.document import Claim

Direction = Literal["above", "below"]
_EXPECTED: dict[tuple[str, str, bool], Direction] = {
    ("grpo", BASE, True): "above",
    ("simko", BASE, True): "above",
    ("grpo", BASE, False): "below",
    ("simko", "grpo", False): "above",
}
"""{(ours, other, at K = 1): what the paper finds}."""
_SHARES = {
    "truncated": "were cut off at the length limit",
    "unparsed": "hold no answer",
    "timeout": "exhausted the grader’s limits and count as incorrect",
    "ungraded": "are not graded yet",
}
_DRAWS = {
    "model": "model",
    "temperature": "temperature",
    "top_p": "top-p",
    "max_new_tokens": "token limit",
    "seed": "seed",
}
VERDICTS = (
    "Holds, does not hold here: the paper finds a difference of this pair, which lies on the same side here, or on the other. Higher, "
    "lower: where the first stands, as the paper says nothing of this pair. No difference shown: the 95 % interval contains zero."
)
LIMITS = (
    "pass@K is the unbiased estimate from n samples a problem: the chance that any of K samples is correct. It needs n well "
    "above K, and does not say that a user could find the correct one.",
    "The numbers are those of these problems at these temperatures. Other models, tasks and temperatures were not measured.",
    "The intervals cover the choice of problems. They do not cover the choice of training seeds; where several seeds are given, "
    "their own interval stands beside, and the bands over all K cover both.",
    "The verifier alone decides which answers are correct. A correct answer after wrong reasoning, or a lucky guess, counts. On "
    "tasks with few possible answers a guesser’s pass@K is high as well.",
    "A crossing of two curves is claimed only if a band over all K lies on both sides of zero; drawn curves of equal models often "
    "cross.",
    "A lower temperature raises pass@1 and lowers pass@K without any training. Where models were evaluated at one temperature, "
    "part of a gain at pass@1 may be sharper sampling and nothing more.",
)


def percent(value: float) -> str:
    """0.1234 -> "12.3 %"."""
    return f"{100 * value:.1f} %"


def points_apart(value: float) -> str:
    """A difference in percentage points, with its sign: 0.1234 -> "+12.3"."""
    rounded = round(100 * value, 1) + 0.0
    return f"{rounded:+.1f}".replace("-", "−")


def p_value(p: float) -> str:
    """ "0.012", or "< 0.001"."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def p_words(p: float) -> str:
    """ "p = 0.012", or "p < 0.001"."""
    return f"p {'' if p < 0.001 else '= '}{p_value(p)}"


def difference_words(d: Difference) -> str:
    """ "+12.3 points (95 % interval +10.1 to +14.5)"."""
    return f"{points_apart(d.difference)} points (95 % interval {points_apart(d.low)} to {points_apart(d.high)})"


def counted(count: int, noun: str) -> str:
    """ "1 problem", "1,000 problems"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def at(points: Sequence[Any], k: int) -> Any:
    """The point (or difference) at k."""
    return next(point for point in points if point.k == k)


def judge(d: Difference, expected: Direction | None = None) -> str:
    """Whether the interval supports the expected direction, or else its `direction`."""
    found = direction(d.low, d.high)
    if expected is None or found == "no difference shown":
        return found
    return "holds" if (found == "higher") == (expected == "above") else "does not hold here"


def direction(low: float | None, high: float | None) -> str:
    """What the ends of a difference's interval show: "higher", "lower", or "no difference shown" if it contains zero or there is
    none.
    """
    if low is None or high is None or low <= 0 <= high:
        return "no difference shown"
    return "higher" if low > 0 else "lower"


def size(section: Section) -> str:
    """ "40 problems, 8-16 samples each"."""
    most = section.most_samples
    n = str(section.samples) if section.samples == most else f"{section.samples}-{most}"
    return (
        f"{counted(section.problems, 'problem')}, {n} sample{'' if most == 1 else 's'} each, which all count in pass@K."
    )


def levels(section: Section) -> list[str]:
    """A sentence on each side: pass@1 and pass@K at the headline K, and how they stand to those before training."""
    others = {pair.other for pair in section.pairs}
    start = BASE if BASE in others else next(iter(others)) if len(others) == 1 else None
    to_start = {pair.ours: pair for pair in section.pairs if pair.other == start}
    return [f"{side.name}: {_level(section, side, to_start.get(side.name))}." for side in section.sides]


def _level(section: Section, side: Side, pair: Pair | None) -> str:
    words = {"higher": "higher than", "lower": "lower than", "no difference shown": "not shown to differ from"}
    said = []
    for k in dict.fromkeys((1, section.headline_k)):
        apart = f" ({words[judge(at(pair.comparison.points, k))]} {pair.other}’s)" if pair else ""
        said.append(f"pass@{k} {percent(at(side.curve.points, k).estimate)}{apart}")
    return ", ".join(said)


def claims(section: Section) -> list[Claim]:
    """Each pair at K = 1 and at the headline K, with the claim of the paper if it makes one."""
    return [
        _claim(pair, k, section.headline_k) for k in dict.fromkeys((1, section.headline_k)) for pair in section.pairs
    ]


def _claim(pair: Pair, k: int, headline_k: int) -> Claim:
    d = at(pair.comparison.points, k)
    expected = _EXPECTED.get((pair.ours, pair.other, k == 1))
    status, against = judge(d, expected), "against"
    figures = f"{difference_words(d)}."
    if status == "holds":
        against = f"is {expected}"
    elif status == "does not hold here":
        against = f"is {expected}"
        figures = f"It is {'below' if expected == 'above' else 'above'}: {figures}"
    if k == headline_k:
        crossing = f" {_crossing_words(pair)}" if pair.crossing else ""
        figures = f"{figures[:-1]}; {p_words(pair.p_holm)} after Holm over all tasks and pairs shown.{crossing}"
    return Claim(f"{pair.ours}’s pass@{k} {against} {pair.other}’s", status, figures)


def _crossing_words(pair: Pair) -> str:
    assert pair.crossing is not None
    said = [pair.crossing.describe(pair.ours, pair.other)]
    if pair.crossing.first_loss[1] is not None:
        said.append(pair.crossing.describe_first_loss(pair.ours, pair.other))
    return " ".join(said)


def best_temperature(sweep: Sweep) -> list[Claim]:
    """pass@1 of each method against that of the base at the base's best temperature."""
    if sweep.best_base is None:
        return []
    setting, point = sweep.best_base
    best = f"base’s at its best temperature ({setting}, where it has {percent(point.estimate)})"
    found = {name: (judge(d, "above"), f"{difference_words(d)}.") for name, d in sweep.against_best.items()}
    return [
        Claim(f"{name}’s pass@1 {'is above' if status == 'holds' else 'against'} {best}", status, figures)
        for name, (status, figures) in found.items()
    ]


def notes(section: Section) -> list[str]:
    """The reservations about the numbers of a section."""
    said = _seed_words(section)
    if section.problems < 100 and section.pairs:
        said.append("With fewer than 100 problems the intervals are wide. Close models cannot be told apart.")
    if section.most_samples > section.samples:
        said.append(
            f"n is not the same for all: {section.samples} to {section.most_samples} samples a problem. More samples solve "
            "more problems by that alone, so newly solved and newly lost ones are not counted."
        )
    if section.headline_k < section.ks[-1]:
        said.append(
            f"† n = {section.samples} samples a problem: for K above {section.samples // 2} one lucky sample can decide a "
            f"problem. The headline is K = {section.headline_k}."
        )
    if section.guessing is not None:
        line = section.guessing
        unknown = f" ({line.unknown} problems have no known number of possible answers and count as 0)"
        said.append(
            f"Guessing alone solves {percent(line.values[0])} at K = 1 and {percent(line.values[-1])} at "
            f"K = {line.ks[-1]}{unknown if line.unknown else ''}."
        )
    return said + [sentence for side in section.sides for sentence in _side_notes(section, side)]


def _seed_words(section: Section) -> list[str]:
    seeds = {side.name: len(side.evaluations) for side in section.sides if side.name != BASE}
    if not section.pairs or not seeds:
        return []
    if max(seeds.values()) == 1:
        return ["One run a model: the intervals cover the choice of problems, not of training seeds."]
    same = len(set(seeds.values())) == 1
    number = counted(max(seeds.values()), "training seed")
    each = f"{number} a method" if same else ", ".join(f"{x} {counted(n, 'training seed')}" for x, n in seeds.items())
    return [f"{each}. Each problem’s value is the mean over seeds; thin lines show each seed."]


def _side_notes(section: Section, side: Side) -> list[str]:
    said = []
    if side.lacking:
        wanted = max(e.setting.n for e in side.evaluations)
        said.append(f"{side.name} is unfinished: {side.lacking} problems lack samples of the {wanted} asked for.")
    shares = [f"{percent(s)} {words}" for o, words in _SHARES.items() if (s := side.shares[o]) and s >= 0.005]
    if side.errors_as_correct is not None:
        best = at(side.errors_as_correct.points, section.headline_k)
        shares.append(
            f"{side.shares['error'] or 0:.2%} could not be graded, by our own fault, and count as not correct (as correct, "
            f"pass@{section.headline_k} would be {percent(best.estimate)})"
        )
    failures = {i: f for e in side.evaluations for i, f in e.failures.items()}
    if failures:
        problem, first = next(iter(failures.items()))
        shares.append(
            f"{side.shares['failed'] or 0:.2%} never came and count as incorrect (problems: {len(failures)}, {problem} first: "
            f"{first.words})"
        )
    if shares:
        said.append(f"{side.name}: of its responses {', '.join(shares)}.")
    records = [e.setting.record for e in side.evaluations]
    if unsaid := [words for key, words in _DRAWS.items() if any(record.get(key) == UNKNOWN for record in records)]:
        said.append(f"{side.name} was graded from files that do not say its {', '.join(unsaid)}.")
    if side.model is not None and not side.model.fits:
        said.append(
            f"{side.name}: one Beta distribution over the problems leaves the band (at K = {side.model.worst_k} it is "
            f"{points_apart(side.model.worst_gap)} points off), so no model is drawn beyond n."
        )
    return said


def with_interval(point: Point) -> str:
    """ "12.3 % (10.1 to 14.5)"."""
    return f"{percent(point.estimate)} ({100 * point.low:.1f} to {100 * point.high:.1f})"
