"""The report as files of charts, as Markdown and in the terminal."""

import re

import pytest
from page_text import read, section_of, spread

from simko.cli.main import main
from simko.report.words import claims, levels, notes


@pytest.mark.parametrize(("suffix", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_every_chart_is_a_file_and_markdown_shows_it(make_study, suffix, start, capsys):
    root = make_study({"base": spread(1, 9), "simko": spread(3, 20)})
    words = ["report", str(root), "--format", "md", "--figures", suffix]
    assert main(words) == 0
    files = {path: path.read_bytes() for path in (root / "report-figures").iterdir()}
    text = (root / "report.md").read_text(encoding="utf-8")
    assert len(files) == len(re.findall(r"!\[[^]]*\]\(report-figures/([^)]*)\)", text)) > 10
    assert f"{len(files)} figures in {root}/report-figures" in capsys.readouterr().out
    for path, content in files.items():
        assert content.startswith(start)
        assert f"(report-figures/{path.name})" in text
    assert not (root / "report.html").exists()
    assert main(words) == 0
    assert files == {path: path.read_bytes() for path in (root / "report-figures").iterdir()}


def test_page_markdown_and_terminal_say_the_same(make_study, capsys):
    root = make_study({"base": spread(1, 9), "simko": spread(3, 20)})
    assert main(["report", str(root)]) == 0
    printed = capsys.readouterr().out
    assert main(["report", str(root), "--format", "md"]) == 0
    markdown = (root / "report.md").read_text(encoding="utf-8")
    section = section_of(root)
    _, tags = read(root / "report.html")
    page = " ".join("".join(tags.words).split())
    for sentence in (*levels(section), *notes(section), *(found.figures for found in claims(section))):
        for place in (printed, markdown, page):
            assert sentence in place
    for point in section.sides[1].curve.points:
        for place in (printed, markdown, page):
            assert f"{100 * point.estimate:.1f}" in place
