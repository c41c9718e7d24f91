"""The tables and figures of one task."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from simko.evaluate import Point
from simko.report.comparison import StepPoint
from simko.report.document import NONE, Block, Cell, Figures, Heading, Prose, Table
from simko.report.words import p_words, points_apart
from simko.studies.head_to_head import figures
from simko.studies.head_to_head import findings as found
from simko.studies.head_to_head import mechanism as seen
from simko.studies.head_to_head.rows import BASE, EARLY, OUTCOMES, Results, Seeds, Setting


def task_blocks(results: Results, task: str, names: Sequence[str], at_1: found.Differences) -> list[Block]:
    """Everything about one task. names: all methods, for their colours. at_1: the differences at temperature 1."""
    ends, courses = found.finals(results, task), seen.courses(results, task)
    return [
        Heading(task),
        *_base(results, task),
        *_finals(results, task, ends),
        *_pairs(results, task, at_1),
        Heading(f"{task}: curves", 3),
        Figures([*figures.curve_figures(task, ends, names), figures.trade_off(task, ends, courses, names)]),
        *_training(results, task, courses, names),
        *_mechanism(results, task, names),
        *_prediction(results, task),
        *_sensitivity(results, task),
        *_tuning(results, task),
    ]


def _base(results: Results, task: str) -> list[Block]:
    check = found.base_check(results, task)
    if check is None:
        return [Prose("The base was not evaluated on test problems yet.", "missing")]
    last = check.curve.points[-1].k
    header: list[Cell] = [f"pass@{p.k}" for p in check.curve.points]
    if last * 2 > check.curve.samples:
        header[-1] = f"pass@{last} †"
    gain = [NONE, NONE] if check.gain is None else [percent(check.grpo), f"{check.gain:.2f}"]
    verdict = {None: NONE, True: "yes", False: "no"}[check.passes]
    cells = [with_interval(p) for p in check.curve.points]
    caption = (
        f"%, with 95 % intervals over {check.curve.problems} test problems, {check.curve.samples} samples each. Room to tell "
        f"methods apart: pass@1 below {100 * found.LOW:g}, pass@{last} above {100 * found.HIGH:g}, and on validation problems "
        f"the best of GRPO’s tuning runs at least {found.GAIN:g} times the base’s pass@1."
    )
    if last * 2 > check.curve.samples:
        caption += " † K is more than half of the samples: an any-hit indicator."
    names = ["", *header, ("GRPO’s pass@1", "validation"), "over the base’s", "room"]
    return [Heading(f"{task}: the base", 3), Table(names, [[BASE, *cells, *gain, verdict]], caption)]


def _finals(results: Results, task: str, ends: Sequence[found.Final]) -> list[Block]:
    ks = found.outcomes(results, task)
    grpo = next((end.seconds for end in ends if end.method == found.GRPO), math.nan)
    rows: list[list[Cell]] = []
    for end in ends:
        at_1 = [_outcome(end.at_1[k]) for k in ks]
        at_best = [
            (*_outcome(end.at_best[k]), f"T = {end.at_best[k].temperature:g}") if k in end.at_best else NONE for k in ks
        ]
        untrained = end.method in (BASE, EARLY)
        cost = NONE if untrained else _duration([end.seconds], grpo)
        mean = f"{100 * np.mean([o.point.estimate for o in end.at_1.values()]):.1f}"
        rows.append([end.method, NONE if end.method == BASE else str(len(end.seeds)), *at_1, mean, *at_best, cost])
    header: list[Cell] = [
        "method",
        "seeds",
        *((f"pass@{k}", "T = 1") for k in ks),
        ("mean", "T = 1"),
        *((f"pass@{k}", "best T") for k in ks),
    ]
    caption = (
        "%, mean over training seeds at the end of training. Below it the 95 % interval over problems: it covers another draw "
        "of problems for these seeds, and not another draw of seeds. In square brackets the lowest and the highest seed. Best T: "
        "for each method and K the temperature with the best pass@K on validation problems, mean over seeds. "
        f"{EARLY}: GRPO, for each seed at the step of best validation pass@{OUTCOMES[-1]}. Seconds: training alone, mean over seeds."
    )
    if stopped := [end.method for end in ends if end.method in results.stopped]:
        caption += f" {', '.join(stopped)}: for each seed at the step of the best validation mean, by which the setting was tuned too."
    blocks: list[Block] = [Heading(f"{task}: finals", 3), Table([*header, "training, s"], rows, caption)]
    if not any(end.at_best for end in ends):
        blocks.append(
            Prose("No method was evaluated at several temperatures on validation and test problems yet.", "missing")
        )
    if not any(end.method == EARLY for end in ends):
        blocks.append(
            Prose(
                "GRPO was not evaluated at several steps on validation and test problems, so none is stopped early.",
                "missing",
            )
        )
    return blocks


def _duration(seconds: Sequence[float], of: float = math.nan) -> Cell:
    """The mean, and beside GRPO's if that is known."""
    mean = np.mean(seconds)
    if not np.isfinite(mean):
        return NONE
    return (f"{mean:,.0f}", *([f"{mean / of:.2f} × GRPO"] if of > 0 else []))


def _outcome(o: found.Outcome) -> tuple[str, ...]:
    seeds = (f"[{100 * min(o.by_seed):.1f} – {100 * max(o.by_seed):.1f}]",) if len(o.by_seed) > 1 else ()
    return (*with_interval(o.point), *seeds)


def _pairs(results: Results, task: str, at_1: found.Differences) -> list[Block]:
    ks = found.outcomes(results, task)
    at_best = found.differences(results, task, at_best=True)
    of_means = found.mean_differences(results, task)
    blocks: list[Block] = [Heading(f"{task}: paired differences", 3)]
    for other in found.REFERENCES:
        pairs = [pair for pair in at_1 if pair[1] == other]
        if not pairs:
            blocks.append(
                Prose(f"Nothing was trained with a seed of {other} yet, so nothing is compared with it.", "missing")
            )
            continue
        rows: list[list[Cell]] = [
            [pair[0], *(_difference(at_1[pair][k]) for k in ks), _difference(of_means[pair])]
            + [_difference(at_best[pair][k]) if pair in at_best else NONE for k in ks]
            for pair in pairs
        ]
        header: list[Cell] = [
            (f"− {other}", "points"),
            *((f"pass@{k}", "T = 1") for k in ks),
            ("mean", "T = 1"),
            *((f"pass@{k}", "each at its best T") for k in ks),
        ]
        blocks.append(Table(header, rows))
    blocks.append(
        Prose(
            "By problem and seed. Below each difference its 95 % band, which covers another draw of problems and of training seeds, "
            "for all K at once; sd: the standard deviation over seeds; p: of the band, adjusted by Holm over the methods of the "
            "table at that K. Without a band: one seed, or fewer than eight problems differ. Mean: of pass@K over the columns before it, "
            "which tuning maximises; methods that are tuned to different places of the trade of pass@1 for pass@K are compared by it.",
            "caption",
        )
    )
    return blocks


def _difference(d: found.Difference) -> tuple[str, ...]:
    band = (f"{points_apart(d.band.low)} to {points_apart(d.band.high)}",) if d.band else ()
    sd = (f"sd {100 * d.over_seeds:.1f}",) if d.over_seeds is not None else ()
    return (points_apart(d.difference), *band, *sd, p_words(d.p))


def _training(
    results: Results, task: str, courses: Mapping[str, Sequence[StepPoint]], names: Sequence[str]
) -> list[Block]:
    heading = Heading(f"{task}: over training", 3)
    if not courses:
        return [
            heading,
            Prose("Models were evaluated at the end of training alone, so there is no course to show.", "missing"),
        ]
    note = f"On {results.course_split(task)} problems. Step 0 is the base. Shaded: 95 % intervals over problems."
    return [heading, Figures(figures.course_figures(task, courses, names)), Prose(note, "caption")]


def _mechanism(results: Results, task: str, names: Sequence[str]) -> list[Block]:
    drawn = []
    for label, measure in seen.MEASURES.items():
        series = seen.followed(results, task, measure)
        if series:
            drawn.append(figures.line_figure(task, label, series, names))
    ends = {label: seen.at_the_end(results, task, measure) for label, measure in seen.MEASURES.items()}
    rows: list[list[Cell]] = [[m, *(_spread(ends[label][m]) for label in ends)] for m in results.methods(task)]
    caption = (
        "At the end of training, mean over seeds; in square brackets the lowest and the highest seed. Λ(n): the mean "
        "log-probability of the candidate of rank n. Newly solved: problems with a correct sample at the end and none from the "
        "base; lost: the reverse."
    )
    return [
        Heading(f"{task}: mechanism", 3),
        *([Figures(drawn)] if drawn else []),
        Table(["method", *ends], rows, caption),
    ]


def _spread(values: Sequence[float]) -> Cell:
    mean = float(np.mean(values))
    if not math.isfinite(mean):
        return NONE
    ends = (f"[{plain(min(values))} to {plain(max(values))}]",) if len(values) > 1 else ()
    return (plain(mean), *ends)


def _prediction(results: Results, task: str) -> list[Block]:
    k = found.outcomes(results, task)[-1]
    heading = Heading(f"{task}: what predicts pass@{k} at the end", 3)
    steps = seen.early_steps(results, task)
    rows: list[list[Cell]] = []
    runs = 0
    for label, predictor in seen.PREDICTORS.items():
        at = [seen.predicts(results, task, predictor, step) for step in steps]
        runs = max([runs, *(c.runs for c in at if c)])
        rows.append([label, *(_correlation(c) for c in at)])
    if not runs:
        return [
            heading,
            Prose("Fewer than five final runs were followed over training, too few for a correlation.", "missing"),
        ]
    caption = (
        f"Spearman’s rank correlation with pass@{k} at the end over {runs} final runs that were followed to the last rollout, with a "
        "95 % percentile interval that resamples methods, each with all its runs; it takes five. Methods differ in learning rate, too."
    )
    return [heading, Table(["at step", *map(str, steps)], rows, caption)]


def _correlation(c: seen.Correlation | None) -> Cell:
    if c is None or not math.isfinite(c.rho):
        return NONE
    return (signed(c.rho), *([f"{signed(c.low)} to {signed(c.high)}"] if math.isfinite(c.low) else []))


def _sensitivity(results: Results, task: str) -> list[Block]:
    effects = seen.effects(results, task)
    heading = Heading(f"{task}: sensitivity", 3)
    if not effects:
        return [heading, Prose("No option was tried at two values with all others alike yet.", "missing")]
    ks = found.outcomes(results, task)
    rows: list[list[Cell]] = []
    drawn = []
    for option in dict.fromkeys(effect.option for effect in effects):
        same = [effect for effect in effects if effect.option == option]
        ends = [{v: {k: found.outcome(rows_, k) for k in ks} for v, rows_ in effect.ends.items()} for effect in same]
        drawn.append(figures.effect_figure(task, same, ends))
        for effect, at in zip(same, ends, strict=True):
            for value, outcomes in at.items():
                name = f"{seen.TUNED[option]} = {value:g}"
                seeds = effect.ends[value].values()
                mean = f"{100 * np.mean([row.mean_pass(k) for row in seeds for k in ks]):.1f}"
                change = _difference(effect.changes[value]) if value in effect.changes else NONE
                cost = _duration([row.seconds for row in seeds])
                cells = [_outcome(outcomes[k]) for k in ks]
                rows.append([(name, figures.fixed(effect)), str(len(seeds)), *cells, mean, change, cost])
    caption = (
        "%, as in the finals. One option at a time, the others as below its name; q = 0 is no gate. The difference is from the value "
        "without one, that of the finals, by problem and seed, with p adjusted by Holm over the table. Seconds: training alone, mean "
        "over seeds."
    )
    header: list[Cell] = ["option", "seeds", *(f"pass@{k}" for k in ks), "mean", ("mean", "− finals’"), "training, s"]
    return [heading, Figures(drawn), Table(header, rows, caption)]


def _tuning(results: Results, task: str) -> list[Block]:
    runs = results.of_stage(task, "tuning", "validation")
    heading = Heading(f"{task}: tuning", 3)
    if not runs:
        return [heading, Prose("No tuning run is among the rows.", "missing")]
    ks = [k for k in OUTCOMES if k <= min(row.samples for seeds in runs.values() for row in seeds.values())]
    rows: list[list[Cell]] = []
    for (method, setting), seeds in runs.items():
        chosen = "chosen" if _is_chosen(results.end(task, method), setting) else ""
        values = [f"{100 * np.mean([row.mean_pass(k) for row in seeds.values()]):.1f}" for k in ks]
        cost = _duration([row.seconds for row in seeds.values()])
        rows.append([method, figures.worded(setting), chosen, str(len(seeds)), *values, cost])
    header: list[Cell] = ["method", "setting", "", "seeds", *(f"pass@{k}" for k in ks), "training, s"]
    caption = "%, on validation problems at temperature 1, mean over tuning seeds. Chosen: the setting of the finals."
    return [heading, Table(header, rows, caption, folded=f"All {len(rows)} tuning runs of {task}")]


def _is_chosen(finals: Seeds, setting: Setting) -> bool:
    return any(dict(setting).items() <= row.options.items() for row in finals.values())


def with_interval(p: Point) -> tuple[str, str]:
    """pass@K in %, and its interval."""
    return percent(p.estimate), f"{100 * p.low:.1f} – {100 * p.high:.1f}"


def percent(value: float | None) -> str:
    """0.1234 -> "12.3"."""
    return NONE if value is None else f"{100 * value:.1f}"


def signed(value: float) -> str:
    """ "+0.52"."""
    return f"{value:+.2f}".replace("-", "−")


def plain(value: float) -> str:
    """ "0.52"."""
    return f"{value:.2f}".replace("-", "−")
