"""A document as a page and as Markdown."""

import random
import re

import pytest

from simko.cli.tables import print_blocks
from simko.report.document import (
    Bullets,
    Chart,
    Claims,
    Code,
    Document,
    Figures,
    Heading,
    Problems,
    Prose,
    Samples,
    Table,
    as_html,
    as_markdown,
    write_document,
)

TABLE = Table(
    ["method", ("pass@1", "T = 1")], [["grpo", ("15.7", "12.5 – 19.4", "[15.0 – 16.0]")], ["a|b<c>", "—"]], "In %."
)


def test_markdown_has_every_block_but_figures():
    blocks = [
        Heading("One", 3),
        Prose("Some\nwords."),
        Bullets(["a", "b"]),
        TABLE,
        Figures([Chart("none", lambda figure: None, {})]),
    ]
    assert as_markdown([*blocks, Code("run ``` it\n", "sh")]) == (
        "### One\n\nSome words.\n\n- a\n- b\n\n"
        "| method | pass@1 (T = 1) |\n| --- | --- |\n| grpo | 15.7 (12.5 – 19.4; [15.0 – 16.0]) |\n| a\\|b&lt;c> | — |\n\n"
        "In %.\n\n````sh\nrun ``` it\n````\n"
    )


def test_the_page_has_every_block_with_small_lines_dots_and_escaped_text(tmp_path):
    blocks = [
        Heading("One"),
        Prose("No <i>rows</i>.", "missing"),
        TABLE,
        Figures(
            [
                Chart(
                    "a & line",
                    lambda figure: figure.add_subplot().plot([0, 1]),
                    {"one": {1: 0.5, 2: 0.25}},
                    "K",
                    "A & b",
                )
            ]
        ),
        Code("a < b"),
    ]
    page = write_document(Document("T<", blocks, {"grpo": "#d55e00"}), tmp_path / "page.html").read_text(
        encoding="utf-8"
    )
    assert "<h1>T&lt;</h1>" in page
    assert '<h2 id="h1">One</h2>' in page
    assert '<p class="missing">No &lt;i&gt;rows&lt;/i&gt;.</p>' in page
    assert "<td>15.7<small>12.5 – 19.4</small><small>[15.0 – 16.0]</small></td>" in page
    assert page.count('class="dot" style="background:var(--') == 1
    assert '<svg role="img" aria-label="a &amp; line: one from 0.5 to 0.25" viewBox' in page
    assert "<figcaption>A &amp; b</figcaption>" in page
    assert '<th scope="row">2</th><td>0.25</td>' in page
    assert "<pre>a &lt; b</pre>" in page
    assert "a|b&lt;c&gt;" in page


EMPTY = [
    Prose(""),
    Prose(" \n"),
    Bullets([]),
    Claims([]),
    Table(["a"], []),
    Figures([]),
    Code(""),
    Problems(["a"], []),
    Samples([]),
]
CHART = Figures([Chart("a line", lambda figure: figure.add_subplot().plot([0, 1]), {"one": {1: 0.5}})])
FOLDED = Table(["a"], [["b"]], folded="more")
SEEN = {"page": {0, 1, 2, 3}, "markdown": {0, 1, 3}, "terminal": {0, 1}}
FULL = [Prose("words"), Bullets(["words"]), CHART, FOLDED]


def headings(kind: str, blocks, capsys) -> list[str]:
    if kind == "page":
        return re.findall("<h[23] id[^>]*>(.*?)<", as_html(Document("T", blocks)))
    if kind == "markdown":
        return re.findall("^#+ (.*)", as_markdown(blocks), re.MULTILINE)
    print_blocks(blocks)
    return re.findall("^H.*", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ["page", "markdown", "terminal"])
def test_no_heading_stands_above_nothing(kind, seed, capsys):
    """Whatever is empty, or is not shown in this form."""
    draw = random.Random(seed)
    blocks, expected = [], []
    for i in range(6):
        parts = [Heading(f"H{i}")]
        filled = []
        for j in range(draw.randint(0, 2)):
            chosen = draw.choice([None, *range(len(FULL))])
            parts += [Heading(f"H{i}.{j}", 3), *draw.choices(EMPTY, k=draw.randint(0, 2))]
            parts += [] if chosen is None else [FULL[chosen]]
            filled += [f"H{i}.{j}"] if chosen in SEEN[kind] else []
        blocks += parts
        expected += [f"H{i}", *filled] if filled else []
    assert headings(kind, blocks, capsys) == expected
