"""The part of a page that says what was run: commands, objectives, options, versions, sampling."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simko.report.comparison import Section
from simko.report.content import Content
from simko.report.document import NONE, Block, Bullets, Code, Heading, Prose, Table
from simko.report.text import cut

_MAX_CHARACTERS = 400  # of a value


@dataclass(frozen=True)
class OptionRow:
    """One option over the runs."""

    key: str
    """Its name."""
    values: tuple[str, ...]
    """Its value in each run."""
    differs: bool
    """Whether the values differ."""


def setup(content: Content) -> list[Block]:
    """What was run."""
    blocks: list[Block] = [Heading("What was run")]
    if content.commands:
        blocks += [Heading("Command", 3), Code("\n".join(content.commands), "sh")]
    runs = content.runs
    names = [run.name for run in runs]
    if runs:
        said = [f"{run.name}: {run.objective or 'not stated'}" for run in runs]
        blocks += [Heading("Objective in effect", 3), Bullets(said), Heading("Configuration", 3)]
        blocks += _settings(names, [run.config for run in runs], "settings", "No run has kept its configuration.")
        blocks.append(Heading("Versions", 3))
        blocks += _settings(names, [run.versions for run in runs], "packages", "No run has kept its versions.")
    elif not content.sections:
        blocks.append(Prose("No training run is part of this page.", "missing"))
    for section in content.sections:
        blocks += _sampling(section)
    return blocks


def _sampling(section: Section) -> list[Block]:
    """The fingerprints of the evaluations side by side."""
    every = [e for side in section.sides for e in side.evaluations]
    records: list[Mapping[str, Any]] = [
        {**e.setting.record, "verifier": e.setting.verifier, "samples a problem": e.setting.n} for e in every
    ]
    kept = [{k: v for k, v in record.items() if v is not None} for record in records]
    heading = Heading(f"Samples of {section.task} at {section.setting}", 3)
    return [heading, *_settings([str(e.run) for e in every], kept, "settings", "Nothing is known of them.")]


def _settings(names: Sequence[str], options: Sequence[Mapping[str, Any]], what: str, lacking: str) -> list[Block]:
    """What differs between the runs, and folded what does not."""
    rows = option_rows(options)
    if not rows:
        return [Prose(lacking, "missing")]
    differing = [[row.key, *row.values] for row in rows if row.differs]
    alike = [[row.key, row.values[0]] for row in rows if not row.differs]
    blocks: list[Block] = []
    if differing:
        blocks.append(Table([what, *names], differing, "What differs between the runs.", style="texts"))
    if alike:
        same = f"{len(alike)} {what}{' that are the same in all runs' if len(names) > 1 else ''}"
        blocks.append(Table([what, "value"], alike, folded=same, style="texts"))
    return blocks


def option_rows(runs: Sequence[Mapping[str, Any]]) -> list[OptionRow]:
    """The options of runs side by side, differing ones first. A run without an option has an em dash."""
    keys = sorted({key for options in runs for key in options})
    rows = []
    for key in keys:
        values = tuple(_format_option(options[key]) if key in options else NONE for options in runs)
        rows.append(OptionRow(key, values, len(set(values)) > 1))
    return sorted(rows, key=lambda row: not row.differs)


def _format_option(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return cut(text, _MAX_CHARACTERS)
