"""A diagnosis -> the part of a page that shows where the probability of each model gathers."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from simko.evaluate.files import read_json
from simko.report.diagnosis_charts import charts, colours
from simko.report.document import (
    NONE,
    Block,
    Cell,
    Claim,
    Claims,
    Code,
    Document,
    Figures,
    Heading,
    Prose,
    Table,
    as_markdown,
    write_document,
)
from simko.report.tokens import Candidate, Candidates, Column, Matrix, Reading, Token, TokenView, in_text, on_one_line
from simko.report.words import counted, direction

_CONCENTRATED = {"higher": "more concentrated", "lower": "less concentrated"}
_SETS = {"": "all", "gated": "gated", "correct": "correct", "incorrect": "incorrect"}
_TOKENS_OF_PAGE = 3000
_Summary = Mapping[str, Any]


def is_diagnosis(path: Path) -> bool:
    """Whether the folder is a records directory of simko diagnose."""
    return (path / "plan.json").is_file()


def digests(records: Path, models: Iterable[str]) -> dict[str, str]:
    """{file: SHA-256} of everything in a records directory that its summary is made of."""
    places = [records / "plan.json"]
    for name in models:
        places += [records / name / "model.json", records / name / "vocabulary.json"]
        places += sorted((records / name / "tokens").glob("batch-*.parquet"))
    found = {}
    for place in places:
        if place.is_file():
            with place.open("rb") as file:
                found[place.relative_to(records).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def read_diagnosis(path: Path) -> dict[str, Any]:
    """The summary that simko diagnose wrote into its records directory.

    ValueError if it has not got so far, and if the records are no longer those that the summary was made of.
    """
    if not (path / "diagnosis.json").is_file():
        raise ValueError(f"{path} holds records without a summary: run simko diagnose to its end")
    found = read_json(path / "diagnosis.json")
    again = f"simko diagnose --records {path} --out PAGE.html"
    if not {"command", "records", "models", "differences", "shown"} <= set(found):
        raise ValueError(f"{path / 'diagnosis.json'} is of another version: {again} makes it again")
    kept, there = found["records"], digests(path, [m["name"] for m in found["models"]])
    changed = [name for name in kept | there if kept.get(name) != there.get(name)]
    if changed:
        what = "is missing" if changed[0] not in there else "is not the one"
        more = f", as {counted(len(changed) - 1, 'other file')}" if len(changed) > 1 else ""
        raise ValueError(
            f"{path / changed[0]} {what} that diagnosis.json was made of{more}: {again} makes it again of the records that are "
            "there, or says what they lack"
        )
    return found


def write_diagnosis(summary: _Summary, path: Path) -> Path:
    """Write the page to path, whole or not at all."""
    hues = colours([m["name"] for m in summary["models"]])
    blocks = [*diagnosis_numbers(summary), *diagnosis_details(summary, hues)]
    return write_document(Document(diagnosis_title(summary), blocks, hues), path)


def diagnosis_text(summary: _Summary) -> str:
    """The words and the numbers, for a terminal."""
    return as_markdown(diagnosis_numbers(summary))


def diagnosis_title(summary: _Summary) -> str:
    """ "Where the probability gathers: base, simko", behind the name that the report was given for it."""
    start = f"{summary['name']}: where" if "name" in summary else "Where"
    return f"{start} the probability gathers: {', '.join(m['name'] for m in summary['models'])}"


def diagnosis_numbers(summary: _Summary) -> list[Block]:
    """A diagnosis in words and numbers."""
    return [*_words(summary), _numbers(summary), *_differences(summary)]


def diagnosis_details(summary: _Summary, hues: Mapping[str, str], key: str = "d") -> list[Block]:
    """Its charts, candidate matrices and token views.

    hues: {model: its colour}. key: a word that no other diagnosis of the page has.
    """
    models = summary["models"]
    blocks: list[Block] = []
    for heading, words, drawn in charts(models, hues):
        if drawn:
            named = [
                replace(chart, label=f"{chart.label} of {', '.join(m['name'] for m in models)}") for chart in drawn
            ]
            blocks += [Heading(heading), Prose(words, "caption"), Figures(named)]
    if summary["shown"]:
        each = max(20, _TOKENS_OF_PAGE // max(1, sum(len(one["views"]) for one in summary["shown"])))
        alone = len({one["source"] for one in summary["shown"]}) == 1
        blocks.append(Heading("Token by token"))
        for i, one in enumerate(summary["shown"]):
            blocks += _response(one, models, f"{key}{i}", each, alone)
    blocks.append(Heading("How this was measured"))
    return [*blocks, *_measured(summary)]


# Words and numbers.


def _words(summary: _Summary) -> list[Block]:
    models = summary["models"]
    gated, every = (", ".join(f"{m['name']} {_level(m['first'][over])}" for m in models) for over in ("gated", "all"))
    lead = (
        f"Mean probability of the first candidate at gated tokens, those of high entropy, where SimKO acts: {gated}. At all tokens: "
        f"{every}."
    )
    caption = (
        "In brackets: 95 % intervals over problems. A problem counts once, however many responses and tokens it has."
    )
    few = [m["name"] for m in models if m["first"]["gated"]["interval"] is None]
    if few:
        caption += f" There are too few problems for one for {', '.join(few)}."
    blocks: list[Block] = [
        Prose(lead, "lead"),
        Claims(_claims(summary)),
        Prose(caption, "caption"),
        Prose(_read(models)),
    ]
    without = [m["name"] for m in models if "correct" not in m["summary"]]
    if without:
        said = f"There are no verdicts for {', '.join(without)}, so correct and incorrect responses are not told apart: give --verifier."
        blocks.append(Prose(said, "missing"))
    return blocks


def _level(first: Mapping[str, Any]) -> str:
    """ "0.756 (0.731 to 0.780)"."""
    ends = first["interval"]
    return _number(first["mean"]) + (f" ({_number(ends[0])} to {_number(ends[1])})" if ends else "")


def _claims(summary: _Summary) -> list[Claim]:
    """Each pair at gated tokens."""
    found = []
    for d in summary["differences"]:
        if d["over"] == "gated" and (numbers := d["numbers"].get("probability of rank 1")):
            status = _CONCENTRATED.get(direction(*numbers[1:]), "no difference shown")
            apart = f"{_signed(numbers[0])}{_ends(numbers, ' (95 % interval {})')}"
            found.append(
                Claim(
                    f"{d['ours']} against {d['other']} at gated tokens",
                    status,
                    f"{apart} in the probability of the first candidate.",
                )
            )
    return found


def _read(models: Sequence[_Summary]) -> str:
    """Which of the stored responses were read, how many, and of how many problems."""

    def amount(m: _Summary) -> str:
        every = m["responses"] + sum(m["left_out"].values())
        part = "" if every == m["responses"] else f"{m['responses']:,} of "
        return f"{part}{counted(every, 'response')} of {m['source']}, to {counted(m['problems'], 'problem')}"

    if len({m["source"] for m in models}) > 1:
        each = "; ".join(f"{m['name']} {amount(m)}" for m in models)
        return f"Each model reads responses of its own: {each}."
    if len(models) == 1:
        return f"{models[0]['name']} reads {amount(models[0])}."
    return f"All models read the same responses, {amount(models[0])}. Those of one model are likelier under it than under the others."


def _numbers(summary: _Summary) -> Table:
    header = [
        "model",
        "over",
        "responses",
        "tokens",
        "Λ(1)",
        "Λ(2)",
        "Λ(3)",
        "Λ sampled",
        "entropy",
        "sampled at rank 1",
        "top-3 mass",
    ]
    rows = []
    for m in summary["models"]:
        for key, name in _SETS.items():
            numbers = m["summary"] if not key else m["summary"].get(key)
            if numbers is None:
                continue
            logs = [
                *numbers["concentration_log10"][:3],
                *[None] * (3 - len(numbers["concentration_log10"])),
                numbers["sampled_log10"],
            ]
            mass = numbers["top_mass"][min(3, len(numbers["top_mass"])) - 1]
            rows.append(
                (m["name"], name, str(numbers["responses"]), str(numbers["tokens"]), *(_number(x) for x in logs),
                 _number(numbers["entropy"]), _number(numbers["sampled_rank1"]), _number(mass))
            )  # fmt: skip
    caption = (
        "Λ(n) is the mean log-probability of the candidate of rank n, log10, a mean over responses of means over their tokens; Λ "
        "sampled, of the sampled token. The others are means over tokens: entropy in nats, the share sampled at rank 1, and the "
        "probability of the first three candidates together. Gated tokens are those of high entropy in their response, where SimKO acts."
    )
    return Table(header, rows, caption)


def _differences(summary: _Summary) -> list[Block]:
    """A table of the differences of all pairs; nothing for one model."""
    found = summary["differences"]
    if not found:
        return []
    names = list(dict.fromkeys(name for d in found for name in d["numbers"])) or ["means"]
    rows: list[list[Cell]] = []
    for d in found:
        numbers = [(_signed(x[0]), _ends(x, "{}")) for x in d["numbers"].values()]
        start = [f"{d['ours']} − {d['other']}", d["over"], str(d["problems"])]
        rows.append([*start, *numbers] if numbers else [*start, "too few", *[""] * (len(names) - 1)])
    caption = (
        "Differences on the same problems: means over problems of means over responses of means over tokens, with 95 % t "
        "intervals over problems. Gated tokens are those of each model’s own gate."
    )
    return [Table(["difference", "tokens", "problems", *names], rows, caption)]


def _signed(x: float) -> str:
    return f"{x:+.3f}".replace("-", "−")


def _ends(numbers: Sequence[float | None], form: str) -> str:
    """The interval in words; "" where all problems differ by the same, which says nothing about the next one."""
    _, low, high = numbers
    return "" if low is None or high is None else form.format(f"{_signed(low)} to {_signed(high)}")


def _number(x: float | None) -> str:
    return NONE if x is None else f"{x:.3f}".replace("-", "−")


# Tokens.


def _response(one: Mapping[str, Any], models: Sequence[_Summary], key: str, most: int, alone: bool) -> list[Block]:
    verdict = {True: "correct", False: "incorrect"}.get(one["correct"], "not judged")
    what = f"Response {one['sample']} to {one['problem_id']}, {verdict}"
    what += "" if alone else f", of {one['source']}"
    blocks: list[Block] = [Heading(what, 3)]
    if one["prompt"]:
        blocks.append(Code(one["prompt"]))
    ranks = {m["name"]: m["candidates"] for m in models}
    segment = one["segment"]
    matrices = [
        Candidates(
            name,
            [_column(text, column, name, ranks[name]) for text, column in zip(segment["path"], columns, strict=True)],
        )
        for name, columns in segment["models"].items()
    ]
    caption = (
        f"The most uncertain {len(segment['path'])} tokens, from token {segment['start'] + 1}: candidates by rank until they "
        "reach 95 %, at most eight. The sampled path is framed."
    )
    without = ", ".join(name for name in one["views"] if name not in segment["models"])
    caption += f" Without {without}: it splits the response into other tokens." if without else ""
    blocks.append(Matrix(f"{key}m", matrices, caption))
    readings = [Reading(name, [_token(t) for t in view[:most]], ranks[name]) for name, view in one["views"].items()]
    longest = max(len(r.tokens) for r in readings)
    caption = f"The first {longest} of {one['tokens']} tokens." if longest < one["tokens"] else ""
    return [*blocks, TokenView(f"{key}t", readings, caption)]


def _token(t: Mapping[str, Any]) -> Token:
    candidates = [(on_one_line(text), p) for text, p in t["candidates"]]
    shown = in_text(t["text"]), on_one_line(t["text"])
    return Token(*shown, t["p"], t["rank"], t["entropy"], t["gated"], t["acts"], candidates)


def _column(text: str, column: Mapping[str, Any], own: str, ranks: int) -> Column:
    elsewhere = {own: column["elsewhere"][own]} | column["elsewhere"]
    candidates = [
        Candidate(on_one_line(shown), p, n == column["sampled"], {name: at[n] for name, at in elsewhere.items()})
        for n, (shown, p) in enumerate(column["candidates"])
    ]
    said = f"{column['sampled_p']:.3f}"
    if column["sampled"] < 0:
        rank = column["sampled_rank"]
        said += f", rank {rank}" if rank <= ranks else f", rank > {ranks}"
    return Column(on_one_line(text), said, candidates, f"{column['rest']:.3f}")


# How it was measured.


def _measured(summary: _Summary) -> list[Block]:
    models = summary["models"]
    said = {
        "path": [m["path"] for m in models],
        "weights": [m["weights"] for m in models],
        "responses of": [m["source"] for m in models],
        "settings": ["; ".join(m["settings"]) for m in models],
        "verifier": [m["judge"] or NONE for m in models],
        "responses": [str(m["responses"]) for m in models],
        "left out": ["; ".join(f"{n} ({reason})" for reason, n in m["left_out"].items()) or "none" for m in models],
        "of another length": [str(m["other_lengths"]) for m in models],
        "without their end": [str(m["unknown_ends"]) for m in models],
    }
    first = models[0]
    caption = (
        f"Distributions at temperature {first['temperature']:g}; {first['candidates']} candidates a token; the gate at the "
        f"{first['gate_quantile']:g} quantile. A response is read as the tokens of its text, and its end token where it was "
        "sampled: those of another length than was sampled were split into other tokens then. Without their end are those that a "
        "stop string may have ended: that token is not known."
    )
    rows = [[name, *values] for name, values in said.items()]
    blocks: list[Block] = [Table(["", *(m["name"] for m in models)], rows, caption, style="texts")]
    return [*blocks, Code(summary["command"])] if summary["command"] else blocks
