"""The findings as a page, and their tables as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from simko.report.document import Block, Bullets, Code, Document, Heading, Prose
from simko.report.plots import colour
from simko.studies.head_to_head import sections
from simko.studies.head_to_head.findings import differences, mean_differences
from simko.studies.head_to_head.rows import BASE, Results, Row
from simko.studies.head_to_head.words import summary


def document(rows: Sequence[Row], protocol: Mapping[str, Any], failed: Mapping[str, str] | None = None) -> Document:
    """The page. A section without rows is one line that says so. failed: {cell that has no rows: why}."""
    if not rows:
        raise ValueError("there are no rows yet: run a cell first")
    for row in rows:
        if row.task not in protocol["tasks"] or row.method not in (BASE, *protocol["methods"]):
            raise ValueError(
                f"a row is of {row.method} on {row.task}, which the protocol lacks: give the rows’ own protocol"
            )
    rows = sorted(rows, key=lambda row: (row.setting, row.seed, row.step))  # as cells finish, and as a file keeps them
    methods = protocol["methods"]
    results = Results(rows, list(methods), [name for name, method in methods.items() if method.get("stopped")])
    tasks = [task for task in protocol["tasks"] if any(row.task == task for row in rows)]
    names = list(dict.fromkeys(name for task in tasks for name in results.methods(task)))
    compared = {task: differences(results, task, at_best=False) for task in tasks if results.methods(task)}
    blocks: list[Block] = []
    for task in tasks:
        if task in compared:
            blocks += sections.task_blocks(results, task, names, compared[task])
        else:
            blocks += [Heading(task), Prose("No model was evaluated on test problems yet.", "missing")]
    means = {task: mean_differences(results, task) for task in compared}
    head: list[Block] = [*summary(compared, means, names), *_absent(results, protocol, failed or {})]
    colours = {name: colour(name, names) for name in names}
    return Document(protocol["title"], [*head, *blocks, *_protocol(protocol)], colours)


def _absent(results: Results, protocol: Mapping[str, Any], failed: Mapping[str, str]) -> list[Block]:
    """The tasks and runs of the protocol that the rows lack, and those that failed."""
    tasks = [task for task in protocol["tasks"] if not any(row.task == task for row in results.rows)]
    said = [f"No rows yet of {', '.join(tasks)}."] if tasks else []
    said += [
        f"Left out, because it is unfinished: {method}, seed {seed}, on {task}."
        for task, method, seed in sorted(results.unfinished)
    ]
    said += [f"Failed, and in no table: {name}: {why}" for name, why in sorted(failed.items())]
    return [Bullets(said)] if said else []


def _protocol(protocol: Mapping[str, Any]) -> list[Block]:
    import yaml

    text = yaml.safe_dump(dict(protocol), sort_keys=False, allow_unicode=True, width=110)
    commands = "simko study run FILE --out DIR\nsimko study report FILE --out DIR --rows ROWS.parquet"
    return [
        Heading("Protocol"),
        Prose("Fixed in a commit before the first compared run; later changes are commits that say why."),
        Code(text, "yaml"),
        Heading("Commands"),
        Prose("The first makes the rows. The second makes every table and every figure here from them."),
        Code(commands),
    ]
