"""The page and the Markdown of the head-to-head."""

import html
import math
import re
from dataclasses import replace

import pytest
from head_to_head_rows import OTHERS, PROTOCOL, finals, sensitivity, tuning

from simko.report.document import NONE, Figures, as_markdown, write_document
from simko.studies.head_to_head.findings import Difference
from simko.studies.head_to_head.page import document
from simko.studies.head_to_head.words import summary

HOSTILE = "<script>alert(1)</script>|\u202e"
FEW = {"methods": ("grpo", "simko"), "seeds": (1, 2), "steps": (20, 80), "problems": 24}


@pytest.fixture(scope="module")
def landed(tmp_path_factory) -> str:
    """The page of the first landing: one of two tasks, nothing tuned."""
    path = tmp_path_factory.mktemp("out") / "report.html"
    return write_document(document(finals(**FEW), PROTOCOL), path).read_text(encoding="utf-8")


def test_a_page_of_finals_alone_says_in_one_line_what_is_missing(landed):
    text = html.unescape(landed)
    assert "No rows yet of chains." in text
    assert "No option was tried at two values with all others alike yet." in text
    assert "No tuning run is among the rows." in text
    assert "Fewer than five final runs were followed over training" in text
    assert text.count("<svg") == 1 + 1 + 1 + 2 + 12  # differences, curves, trade-off, pass@1 and pass@64, measures
    assert "alpha 0.1" not in text


def test_the_page_is_self_contained_and_states_its_protocol_and_commands(landed):
    assert not re.search(r"<script|https?://(?!www\.w3\.org)|<link|src=", landed)
    assert "title: SimKO head to head" in landed
    assert "simko study report FILE --out DIR --rows ROWS.parquet" in landed
    assert landed.count("<main>") == landed.count("</main>") == 1


def test_all_sections_are_there_once_their_rows_are():
    rows = finals(**FEW | {"seeds": (1, 2, 3)}) + tuning(problems=24) + sensitivity(problems=24)
    text = as_markdown(document(rows, PROTOCOL).blocks)
    assert "No tuning run" not in text
    assert "at step | 20" in text
    chosen = [line for line in text.splitlines() if "| chosen |" in line]
    assert len(chosen) == 2
    assert all("learning_rate 0.0002" in line for line in chosen)
    for name in ("alpha = 0.03", "lambda = 2", "N = 6", "q = 0.9"):
        assert name in text
    assert "grpo_early" in text
    summary = text.partition("## Findings")[2].partition("\n## ")[0]
    assert "| − grpo (points) | mean (sums) | pass@1 (sums) | pass@64 (sums) |" in summary


def test_what_was_not_measured_is_a_dash():
    rows = finals(**FEW | {"methods": ("grpo", "simko", *OTHERS)}) + tuning(problems=24)
    bare = [
        replace(row, concentration=(), seconds=math.nan, rank1_gated=math.nan)
        for row in rows + sensitivity(problems=24)
    ]
    text = as_markdown(document(bare, PROTOCOL).blocks)
    assert "nan" not in text
    assert f"| Λ(1) | {NONE} |" in text


def test_the_findings_say_which_differences_are_shown_and_which_tasks_a_method_lacks():
    at = {("simko", "grpo"): {1: Difference(0.1, None, None, 0.01), 64: Difference(-0.02, None, None, 0.2)}}
    also = {("pkpo", "grpo"): {1: Difference(0.0, None, None, 1.0), 64: Difference(0.3, None, None, 0.05)}}
    mean = {pair: ks[64] for pair, ks in at.items()}
    *_, drawn, table = summary({"a": at, "b": at | also}, {"a": mean, "b": mean}, ["grpo", "simko", "pkpo"])
    assert [chart.series["difference"] for chart in drawn.drawn] == [{"simko": -2.0}, {"simko": -2.0}]
    assert table.header[1:] == [
        *(("mean", "a"), ("mean", "b"), ("pass@1", "a"), ("pass@1", "b"), ("pass@64", "a"), ("pass@64", "b"))
    ]
    shown = ("+10.0", "shown")
    assert table.rows == [
        ["simko", "−2.0", "−2.0", shown, shown, "−2.0", "−2.0"],
        ["pkpo", NONE, NONE, NONE, "+0.0", NONE, "+30.0"],
    ]


def test_no_two_charts_have_one_label():
    rows = [r for task in ("sums", "chains") for r in finals(**FEW | {"task": task}) + sensitivity(task, problems=24)]
    labels = [
        chart.label for block in document(rows, PROTOCOL).blocks if isinstance(block, Figures) for chart in block.drawn
    ]
    assert len(set(labels)) == len(labels) > 20


def test_the_page_does_not_depend_on_the_order_in_which_cells_finished():
    rows = finals(**FEW) + tuning(problems=24)
    first, second = (as_markdown(document(order, PROTOCOL).blocks) for order in (rows, rows[::-1]))
    assert first == second


def test_every_row_of_a_markdown_table_has_the_cells_of_its_header():
    text = as_markdown(document(finals(**FEW) + tuning(problems=24), PROTOCOL).blocks)
    tables = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    assert len(tables) >= 5
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_names_from_rows_and_protocol_are_text(tmp_path):
    protocol = PROTOCOL | {"title": HOSTILE, "methods": {"grpo": {}, HOSTILE: {}}, "tasks": {HOSTILE: {}}}
    rows = finals(task=HOSTILE, **FEW | {"methods": ("grpo", HOSTILE), "seeds": (1,)})
    page = write_document(document(rows, protocol), tmp_path / "report.html").read_text(encoding="utf-8")
    text = as_markdown(document(rows, protocol).blocks)
    assert "<script" not in page
    assert "\u202e" not in page + text
    assert "&lt;script>alert(1)&lt;/script>\\|⟨U+202E⟩" in text.split("## Protocol")[0]
    assert "<script" not in text.split("## Protocol")[0]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "no rows yet"),
        (finals(task="else", **FEW), "base on else, which the protocol lacks"),
        (finals(**FEW | {"methods": ("grpo", "other")}), "other on sums, which the protocol lacks"),
    ],
)
def test_rows_that_the_protocol_does_not_know_are_refused(rows, words):
    with pytest.raises(ValueError, match=words):
        document(rows, PROTOCOL)
