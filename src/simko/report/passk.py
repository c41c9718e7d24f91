"""The parts of a page that show evaluations: curves, differences, difficulty, training steps, answers, temperatures."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from simko.evaluate import Crossing, Curve, Difference, Point, Stratum
from simko.evaluate.bands import MIN_DIFFERING
from simko.report.comparison import Pair, Section, Side, StepPoint, Sweep
from simko.report.document import NONE, Block, Bullets, Cell, Chart, Claims, Figures, Heading, Prose, Table
from simko.report.plots import (
    brief,
    colour,
    draw_curves,
    draw_differences,
    draw_model,
    draw_steps,
    pair_colours,
)
from simko.report.words import (
    VERDICTS,
    best_temperature,
    claims,
    levels,
    notes,
    p_words,
    percent,
    points_apart,
    size,
    with_interval,
)

_COVER = "problems with {:g} % or more of samples correct"


def overview(section: Section) -> list[Block]:
    """The section in words."""
    blocks: list[Block] = [
        Heading(place(section)),
        Prose(size(section), "meta"),
        Prose(" ".join(levels(section)), "lead"),
    ]
    if section.pairs:
        blocks += [Claims(claims(section)), Prose(VERDICTS, "caption")]
    said = notes(section)
    return [*blocks, Bullets(said, "note")] if said else blocks


def place(section: Section) -> str:
    """ "sums at T=1"."""
    return f"{section.task} at {section.setting}"


def curves(section: Section, names: Sequence[str]) -> list[Block]:
    """pass@K and the paired differences, drawn and in tables."""
    return [Figures(_charts(section, names)), _curve_table(section), *(_pair_blocks(section) if section.pairs else ())]


def _charts(section: Section, names: Sequence[str]) -> list[Chart]:
    rows = [(side.name, colour(side.name, names), side.curve) for side in section.sides]
    guessing = section.guessing.values if section.guessing else None
    caption = "Shaded: 95 % intervals; lighter, up to half of the samples: the 95 % band that holds at all K at once."
    caption += " Dashed: K above half of the samples." if section.headline_k < section.ks[-1] else ""
    caption += " Dotted: guessing among the possible answers." if guessing else ""
    bands = {side.name: side.band for side in section.sides}
    draw = partial(draw_curves, rows=rows, reliable_k=section.headline_k, guessing=guessing, bands=bands)
    found = [Chart(f"{place(section)}: pass@K", draw, _percents((name, c.points) for name, _, c in rows), "K", caption)]
    if not section.pairs:
        return found
    hues = pair_colours([(p.ours, p.other) for p in section.pairs], names)
    shown: list[tuple[str, str, Sequence[Difference]]] = [
        (_label(p, brief), hue, p.comparison.points) for p, hue in zip(section.pairs, hues, strict=True)
    ]
    apart = {row[0]: ends(pair.crossing) for row, pair in zip(shown, section.pairs, strict=True) if pair.crossing}
    series = {_label(p): {d.k: 100 * d.difference for d in p.comparison.points} for p in section.pairs}
    caption = (
        "Differences on the same problems, in percentage points. Above zero: the first of the two solves more. Bars: 95 % "
        "intervals; shaded: the 95 % band that holds at all K at once."
    )
    draw = partial(draw_differences, rows=shown, bands=apart)
    return [*found, Chart(f"{place(section)}: differences", draw, series, "K", caption)]


def _percents(rows: Iterable[tuple[str, Sequence[Point]]]) -> dict[str, dict[int, float]]:
    return {name: {p.k: 100 * p.estimate for p in points} for name, points in rows}


def _label(pair: Pair, named: Callable[[str], str] = str) -> str:
    return f"{named(pair.ours)} − {named(pair.other)}"


def ends(found: Crossing) -> dict[int, tuple[float, float]]:
    """{K: the ends of the band}."""
    return {point.k: (point.low, point.high) for point in found.points}


def _ks(section: Section) -> list[str]:
    return [f"{k} †" if 2 * k > section.samples else str(k) for k in section.ks]


def _curve_table(section: Section) -> Table:
    rows: list[list[Cell]] = []
    for side in section.sides:
        rows.append([side.name, *map(_estimate, side.curve.points)])
        if side.band:
            bands: list[Cell] = [("", _range(*side.band[k])) if k in side.band else "" for k in section.ks]
            rows.append([_under("band, all K at once"), *bands])
        if len(side.curve.per_seed) > 1:
            rows += [
                [_under(e.run.name), *map(_tenth, values)]
                for e, values in zip(side.evaluations, side.curve.per_seed, strict=True)
            ]
        if side.errors_as_correct:
            rows.append([_under("ungradable as correct"), *(_tenth(p.estimate) for p in side.errors_as_correct.points)])
        if side.without_failed:
            name = _under(f"on the {side.without_failed.problems} problems without failed samples")
            rows.append([name, *(_tenth(p.estimate) for p in side.without_failed.points)])
    if section.guessing:
        rows.append(["guessing", *map(_tenth, section.guessing.values)])
    return Table(["pass@K, % (95 % interval)", *_ks(section)], rows)


def _under(name: str) -> str:
    """The name of a row that belongs to the one above."""
    return f"\N{NO-BREAK SPACE}\N{NO-BREAK SPACE}{name}"


def _tenth(value: float) -> str:
    return f"{100 * value:.1f}"


def _range(low: float, high: float) -> str:
    return f"{_tenth(low)} – {_tenth(high)}"


def _estimate(p: Point) -> Cell:
    seeds = ("seeds", _range(*p.over_seeds)) if p.over_seeds else ()
    return (_tenth(p.estimate), _range(p.low, p.high), *seeds)


def _apart(d: Difference, *more: str) -> Cell:
    seeds = ("seeds", _signed(*d.over_seeds)) if d.over_seeds else ()
    ends = "too few differ" if (d.low, d.high) == (-1, 1) else _signed(d.low, d.high)
    return (points_apart(d.difference), ends, *seeds, *more)


def _signed(low: float, high: float) -> str:
    return f"{points_apart(low)} to {points_apart(high)}"


def _pair_blocks(section: Section) -> list[Block]:
    rows: list[list[Cell]] = []
    for pair in section.pairs:
        p = p_words(pair.p_holm)
        cells = [_apart(d, *([p] if d.k == section.headline_k else [])) for d in pair.comparison.points]
        rows.append([_label(pair), *cells])
        if pair.crossing and (band := ends(pair.crossing)):
            rows.append(
                [_under("band, all K at once"), *(("", _signed(*band[k])) if k in band else "" for k in section.ks)]
            )
    caption = (
        f"Differences on the same problems. p is that of K = {section.headline_k}, adjusted by Holm over all tasks and all pairs "
        "shown."
    )
    blocks: list[Block] = [
        Heading("Paired differences", 3),
        Table(["Points (95 % interval)", *_ks(section)], rows, caption),
    ]
    if section.samples == section.most_samples:
        changed = [
            f"{p.ours} against {p.other}: {len(p.comparison.newly_solved)} newly solved, {len(p.comparison.newly_lost)} newly lost."
            for p in section.pairs
        ]
        more = " Over seeds: in more than half of them." if any(len(s.evaluations) > 1 for s in section.sides) else ""
        solved = "Newly solved: the first has a correct sample and the second has none; newly lost: the reverse."
        blocks += [Bullets(changed), Prose(solved + more, "caption")]
    return blocks


def difficulty(section: Section, names: Sequence[str]) -> list[Block]:
    """Each pair by difficulty for the other, if two strata or more have problems, and where an inversion comes from."""
    shown = [pair for pair in section.pairs if sum(bool(stratum.ours) for stratum in pair.strata) > 1]
    return [block for pair in shown for block in _strata(section, pair, names)]


def _strata(section: Section, pair: Pair, names: Sequence[str]) -> list[Block]:
    shown = [stratum for stratum in pair.strata if stratum.ours]
    charts = [_stratum_chart(section, pair, stratum, names) for stratum in shown]
    empty = ["too few", *[""] * (len(shown[0].ours) - 1)]
    rows: list[list[Cell]] = [
        [
            (stratum.name, f"{stratum.problems:.1f} problems"),
            *(map(_apart, stratum.differences) if stratum.ours else empty),
        ]
        for stratum in pair.strata
    ]
    caption = (
        f"Points (95 % interval), by the share of correct ones in half of the samples of {pair.other}. Its other half is compared, "
        "so that its luck does not count twice. Averaged over all halves, hence parts of problems. Too few: fewer than five problems. "
        f"Too few differ: fewer than {MIN_DIFFERING}, which is no ground for an interval."
    )
    return [
        Heading(f"{_label(pair)} by difficulty for {pair.other}", 3),
        Prose(_origin(pair, shown)),
        Figures(charts),
        Table([f"correct for {pair.other}", *(str(p.k) for p in shown[0].ours)], rows, caption),
    ]


def _origin(pair: Pair, shown: Sequence[Stratum]) -> str:
    """What each stratum adds to the difference at the largest K."""
    every = sum(stratum.problems for stratum in shown)
    rest = sum(stratum.problems for stratum in pair.strata) - every
    adds = [stratum.problems / every * stratum.differences[-1].difference for stratum in shown]
    k, total = shown[0].differences[-1].k, sum(adds)
    parts = ", ".join(
        f"{points_apart(value)} {_often(s.name)} ({s.problems:.1f} problems)"
        for value, s in zip(adds, shown, strict=True)
    )
    few = f", without {rest:.1f} problems in strata of too few" if rest >= 0.1 else ""
    return (
        f"At K = {k}, {pair.ours} stands {points_apart(total)} points against {pair.other}{few}. By how often {pair.other} solves a problem: "
        f"{parts}."
    )


def _often(stratum: str) -> str:
    shares = {"below 1/16": "less than 1/16", "below 1/2": "1/16 to 1/2"}
    return stratum if stratum == "never" else f"in {shares.get(stratum, stratum)} of its samples"


def _stratum_chart(section: Section, pair: Pair, stratum: Stratum, names: Sequence[str]) -> Chart:
    rows = [
        (name, colour(name, names), Curve(points, round(stratum.problems), section.samples, ()))
        for name, points in ((pair.other, stratum.reference), (pair.ours, stratum.ours))
    ]
    label = f"{place(section)}: {_label(pair)} where {pair.other} solves {stratum.name}"
    series = _percents((name, c.points) for name, _, c in rows)
    draw = partial(draw_curves, rows=rows, reliable_k=section.ks[-1])
    return Chart(label, draw, series, "K", title=f"Correct for {pair.other}: {stratum.name}")


def beyond(section: Section, names: Sequence[str]) -> list[Block]:
    """The model beyond n, of the sides that it fits."""
    rows = [
        _beyond(side, colour(side.name, names), section.ks) for side in section.sides if side.model and side.model.fits
    ]
    if not rows:
        return []
    series = {f"{name} (model)": {k: 100 * x for k, x in model.items()} for name, _, _, model in rows}
    caption = (
        "Solid: measured, up to n. Dashed: one Beta distribution of the problems’ chances, fitted to the counts. It lies within the "
        "measured curve’s band up to n / 2, which says little about K far beyond n."
    )
    draw = partial(draw_model, rows=rows, samples=section.samples)
    chart = Chart(f"{place(section)}: beyond n, a model", draw, series, "K", caption)
    return [Heading("Beyond n: a model, not a measurement", 3), Figures([chart])]


def _beyond(side: Side, hue: str, ks: Sequence[int]) -> tuple[str, str, dict[int, float], dict[int, float]]:
    """The name, colour, measured curve and model of a side, the model up to 16 times as many samples."""
    assert side.model is not None
    model = {k: side.model.pass_at_k(k) for k in [*ks, *(ks[-1] * 2**i for i in range(1, 5))]}
    return side.name, hue, {p.k: p.estimate for p in side.curve.points}, model


def course(section: Section, names: Sequence[str]) -> list[Block]:
    """pass@1 and pass@K at every evaluated training step."""
    if not section.course:
        return []
    points = {name: {p.step: p for p in course} for name, course in section.course.items()}
    steps = sorted({step for at in points.values() for step in at})
    k = max(p.largest.k for course in section.course.values() for p in course)
    kinds = (True, False) if k > 1 else (True,)
    header: list[Cell] = ["step"]
    for name in points:
        header += [(name, f"pass@{k if not first else 1}") for first in kinds]
    rows: list[list[Cell]] = [
        [str(step), *(_at_step(at.get(step), first) for at in points.values() for first in kinds)] for step in steps
    ]
    caption = f"Shaded, and in brackets: 95 % intervals over problems. All other numbers of this task are those of {section.setting}."
    drawn = [steps_chart(place(section), {n: section.course[n] for n in points}, first, names) for first in kinds]
    return [Heading("Over training", 3), Figures(drawn), Table(header, rows, caption)]


def _at_step(point: StepPoint | None, first: bool) -> Cell:
    return NONE if point is None else with_interval(point.first if first else point.largest)


def steps_chart(
    where: str, course: Mapping[str, Sequence[StepPoint]], first: bool, names: Sequence[str], caption: str = ""
) -> Chart:
    """pass@1 (first) or pass@k by training step, one line a name."""
    rows = [
        (name, colour(name, names), {p.step: p.first if first else p.largest for p in points})
        for name, points in course.items()
    ]
    k = next(iter(rows[0][2].values())).k
    series = {name: {step: 100 * p.estimate for step, p in points.items()} for name, _, points in rows}
    return Chart(f"{where}: pass@{k} over training", partial(draw_steps, rows=rows, k=k), series, "step", caption)


def answers(section: Section) -> list[Block]:
    """What the responses are like, and how the answers spread."""
    header: list[Cell] = ["", "tokens, mean", "cut off", "no answer", "timeout", "error"]
    header += [f"distinct answers among {section.distinct_among}", "entropy of answers, nats"]
    header += [f"maj@{k}" for k, _ in section.sides[0].majority]
    header += [(f"Cover@{tau:g}", _COVER.format(100 * tau)) for tau, _ in section.sides[0].cover or ()]
    rows: list[list[Cell]] = []
    for side in section.sides:
        shares = [side.shares[key] for key in ("truncated", "unparsed", "timeout", "error")]
        values = [_known(side.tokens, "{:.0f}"), *map(_share, shares), _known(side.distinct, "{:.1f}")]
        values += [_known(side.entropy, "{:.2f}"), *(_share(value) for _, value in side.majority)]
        rows.append([side.name, *values, *(_share(value) for _, value in side.cover or ())])
    caption = (
        "maj@k: the most frequent of k answers is correct, ties shared. Cover@τ and entropy compare at equal n only. — where the "
        "verifier returned no answers that could be counted, or a file does not say."
    )
    return [Heading(f"Answers: {place(section)}"), Table(header, rows, caption)]


def _known(value: float | None, form: str) -> str:
    return NONE if value is None else form.format(value)


def _share(value: float | None) -> str:
    return NONE if value is None else percent(value)


def by_temperature(sweep: Sweep) -> list[Block]:
    """pass@1 and pass@K at each temperature."""
    kinds = (0, 1) if sweep.k > 1 else (0,)
    rows: list[list[Cell]] = [
        [(name, f"pass@{(1, sweep.k)[i]}"), *(_estimate(x[i]) if x else NONE for x in found)]
        for name, found in sweep.rows.items()
        for i in kinds
    ]
    caption = (
        "In %, with 95 % intervals. Compare models at each one’s best temperature too: a lower temperature raises pass@1 and lowers "
        "pass@K without any training."
    )
    said = best_temperature(sweep)
    table = Table(["temperature", *sweep.settings], rows, caption)
    return [Heading(f"{sweep.task} by temperature"), table, *([Claims(said)] if said else [])]
