"""The main numbers of a study as Markdown."""

from simko.report import findings
from simko.report.measures import measure
from simko.report.study import Study, display
from simko.report.text import visible


def summarise(study: Study) -> str:
    """pass@K with intervals for each method and training seed, the findings of the page, and what is missing."""
    lines = [*_measured(study), *study.notes] if study.evaluations else list(study.notes)
    return visible("\n".join(lines))


def _measured(study: Study) -> list[str]:
    m = measure(study)
    lines = [
        f"{m.problems} problems, {m.samples} samples each, temperature {study.temperature:g}, step {study.headline_step}.",
        "",
        f"| pass@K, % (95 % interval over problems) | {' | '.join(map(str, m.ks))} |",
        f"|---|{'---|' * len(m.ks)}",
    ]
    for method in study.methods:
        curve = m.curves[method]
        cells = [f"{100 * p.estimate:.1f} ({100 * p.low:.1f}-{100 * p.high:.1f})" for p in curve.points]
        lines.append(f"| {display(method)} | {' | '.join(cells)} |")
        if len(curve.per_seed) > 1:
            for evaluation, values in zip(study.headline(method), curve.per_seed, strict=True):
                cells = [f"{100 * value:.1f}" for value in values]
                lines.append(f"| {display(method)}, seed {evaluation.seed} | {' | '.join(cells)} |")
    lines.append("")
    lines += [f"- {f.status.capitalize()}: {f.claim}: {f.figures}" for f in findings.find(study, m)]
    return [*lines, ""] if study.notes else lines
