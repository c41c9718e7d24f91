"""A document as a page and as Markdown."""

from simko.report.document import (
    Bullets,
    Chart,
    Code,
    Document,
    Figures,
    Heading,
    Prose,
    Table,
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
