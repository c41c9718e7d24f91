"""The findings in short: what was shown on each task, in one table a reference."""

from collections.abc import Mapping, Sequence

from simko.report.document import NONE, Block, Cell, Figures, Heading, Prose, Table
from simko.report.words import points_apart
from simko.studies.head_to_head.figures import against_figure
from simko.studies.head_to_head.findings import LEVEL, REFERENCES, Difference, Differences


def summary(
    compared: Mapping[str, Differences],
    means: Mapping[str, Mapping[tuple[str, str], Difference]],
    names: Sequence[str],
) -> list[Block]:
    """Every method against each reference: the mean of the primary ks on each task, then the first and the last of them.

    Args:
        compared: {task: the differences at temperature 1}.
        means: {task: those of the mean}.
        names: all methods, for their colours.
    """
    columns = {("mean", task): found for task, found in means.items()}
    for end in (min, max):
        for task, pairs in compared.items():
            for k in {end(at) for at in pairs.values()}:  # one, or none if nothing is compared
                columns[f"pass@{k}", task] = {pair: at[k] for pair, at in pairs.items()}
    tables: list[Block] = []
    for other in REFERENCES:
        methods = dict.fromkeys(ours for found in columns.values() for ours, reference in found if reference == other)
        rows: list[list[Cell]] = [
            [ours, *(_cell(found.get((ours, other))) for found in columns.values())] for ours in methods
        ]
        if rows:
            tables.append(Table([(f"− {other}", "points"), *columns], rows))
    if not tables:
        return [Prose("No two methods have been trained on one task yet, so there is nothing to compare.", "missing")]
    lead = (
        "Differences of pass@K on held-out problems at temperature 1, and of its mean over the primary K, which tuning maximises, in "
        f"percentage points. Shown: p < {LEVEL:g}, simultaneous over K and by Holm over the methods of a task. p covers another draw "
        "of problems and of training seeds."
    )
    drawn = Figures([against_figure(task, found, names) for task, found in means.items() if found])
    return [Heading("Findings"), Prose(lead), drawn, *tables]


def _cell(d: Difference | None) -> Cell:
    if d is None:
        return NONE
    return (points_apart(d.difference), "shown") if d.p < LEVEL else points_apart(d.difference)
