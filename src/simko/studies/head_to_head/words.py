"""The findings in sentences."""

from collections.abc import Mapping

from simko.report.document import Block, Bullets, Heading, Prose
from simko.report.words import points_apart
from simko.studies.head_to_head.findings import REFERENCES, Difference, Differences

LEVEL = 0.05


def summary(
    compared: Mapping[str, Differences], means: Mapping[str, Mapping[tuple[str, str], Difference]]
) -> list[Block]:
    """What was shown on each task, against each reference: the mean of the primary ks, then the first and the last of them.

    Args:
        compared: {task: the differences at temperature 1}.
        means: {task: those of the mean}.
    """
    blocks: list[Block] = []
    for task, pairs in compared.items():
        ks = sorted({k for at in pairs.values() for k in (min(at), max(at))})
        at = {"The mean": means[task]} | {f"pass@{k}": {pair: found[k] for pair, found in pairs.items()} for k in ks}
        said = [line for other in REFERENCES for what, found in at.items() if (line := _against(found, other, what))]
        if said:
            blocks += [Heading(task, 3), Bullets(said)]
    if not blocks:
        return [Prose("No two methods have been trained on one task yet, so there is nothing to compare.", "missing")]
    lead = (
        "pass@K on held-out problems at temperature 1, and the mean over the primary K, which tuning maximises, in percentage "
        "points. Higher and lower: p < 0.05, simultaneous over K "
        "and by Holm over the methods of a task. It covers another draw of problems and of training seeds."
    )
    return [Heading("Findings"), Prose(lead), *blocks]


def _against(compared: Mapping[tuple[str, str], Difference], other: str, what: str) -> str | None:
    """One sentence on every method against other; None if nothing was compared with it."""
    at = {ours: found for (ours, reference), found in compared.items() if reference == other}
    if not at:
        return None
    ordered = sorted(at.items(), key=lambda item: -item[1].difference)
    above = [named(ours, d) for ours, d in ordered if d.p < LEVEL and d.difference > 0]
    below = [named(ours, d) for ours, d in ordered if d.p < LEVEL and d.difference < 0]
    rest = [named(ours, d) for ours, d in ordered if d.p >= LEVEL]
    groups = (("Higher", above), ("Lower", below), ("No difference shown", rest))
    parts = [f"{word}: {', '.join(names)}." for word, names in groups if names]
    return f"{what} against {other}. {' '.join(parts)}"


def named(method: str, d: Difference) -> str:
    """ "simko (+15.4)"."""
    return f"{method} ({points_apart(d.difference)})"
