"""What every page keeps to: tables that say where they go on, colours told apart, safe text, versions and date."""

import html
import itertools
import json
import re
import subprocess
import sys
import unicodedata
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_runs import write_run

from simko.cli.main import main
from simko.report import read_sections, write_report, write_runs_page
from simko.report.document import Bullets, Chart, Code, Document, Figures, Heading, Prose, Table, write_document
from simko.report.plots import COLOURS, colour, pair_colours, save, style, svg
from simko.report.text import visible

HIDDEN = [c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c) in ("Cc", "Cf")]
ALLOWED = {"\n", "\t"}
PADDING = 11  # pixels at the end of a table that hold no text


@pytest.fixture(scope="module")
def pages(tmp_path_factory, trained, big_study) -> dict[str, Path]:
    """A page of each kind: a study, training runs, a callback's store, runs with long names and many samples, a document."""
    root = tmp_path_factory.mktemp("pages")
    made = {"study": write_report(big_study, root / "study.html")}
    assert main(["report", str(trained / "simko"), "--to", str(root / "training.html")]) == 0
    assert main(["report", str(trained / "simko" / "held-out"), "--to", str(root / "store.html")]) == 0
    models = [write_run(root / f"m{i}", 0.2 * (i + 1), n=64, record={"model": "org/" + "long-" * 30}) for i in range(3)]
    made["compared"] = write_runs_page(read_sections([str(model) for model in models]), root / "compared.html")
    rows = [[name, *[(f"{100 * x:.1f}", "1.0 to 2.0") for x in range(12)]] for name in ("grpo", f"<b>{'x' * 60}")]
    table = Table(["method", *map(str, range(12))], rows, caption="Numbers.")
    blocks = [
        Heading("One"),
        Prose("Words."),
        table,
        replace(table, folded="More"),
        Code("command " * 40),
        Bullets(["a"]),
    ]
    drawn = Figures([Chart("a line", lambda figure: figure.add_subplot().plot([0, 1]), {"one": {0: 0.0, 1: 1.0}})])
    made["document"] = write_document(Document("A document", [*blocks, drawn]), root / "document.html")
    return made | {kind: root / f"{kind}.html" for kind in ("training", "store")}


MEASURE = """<meta charset=utf-8><style>body, iframe {{ margin: 0; border: 0; display: block; }}</style><p id=out></p>
<script>
function look(name, d) {{
  d.querySelectorAll("details").forEach(x => x.open = {opened});
  const over = d.documentElement.scrollWidth - d.documentElement.clientWidth;
  const rows = [...d.querySelectorAll("table")].filter(t => t.checkVisibility({{contentVisibilityAuto: true}})).map(t => {{
    const box = t.closest(".scroll"), r = (box || t).getBoundingClientRect();
    return {{box: !!box, wide: t.scrollWidth - (box || t.parentElement).clientWidth, right: r.right, top: t.tBodies[0].getBoundingClientRect().top, bottom: r.bottom}};
  }});
  out.textContent += JSON.stringify({{name, over, rows}}) + "\\n";
}}
</script>
{frames}"""


def frame(name: str, page: Path, width: int, height: int) -> str:
    content = html.escape(page.read_text(encoding="utf-8"))
    size = f"width:{width}px;height:{height}px"
    return f'<iframe style="{size}" onload="look(\'{name}\', this.contentDocument)" srcdoc="{content}"></iframe>'


def browse(chromium: str, tmp_path: Path, file: Path, *words: str) -> str:
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
    command += ["--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}", *words, file.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def measured(dom: str) -> list[dict]:
    said = re.search("<p id=.out.>(.*?)</p>", dom, re.DOTALL)[1]
    return [json.loads(row) for row in html.unescape(said).splitlines()]


@pytest.mark.parametrize("width", [1280, 390])
def test_no_table_is_wider_than_a_box_that_scrolls(pages, chromium, tmp_path, width):
    file = tmp_path / "frames.html"
    frames = "".join(frame(kind, page, width, 800) for kind, page in pages.items())
    file.write_text(MEASURE.format(opened="true", frames=frames), encoding="utf-8")
    found = measured(browse(chromium, tmp_path, file, "--dump-dom"))
    assert {page["name"] for page in found} == set(pages)
    for page in found:
        assert page["over"] == 0, page["name"]
        assert page["rows"]
        assert all(table["box"] or table["wide"] <= 0 for table in page["rows"]), page["name"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_table_that_goes_on_has_a_shadow_at_its_edge_and_others_have_none(pages, chromium, tmp_path, scheme):
    from matplotlib.image import imread

    file, shot, width, height = tmp_path / "frame.html", tmp_path / "shot.png", 390, 12000
    scheme = f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}"
    table = (
        '<div class="scroll"><table style="width: calc(100% + {}px)"><tbody><tr><td>1</td></tr></tbody></table></div>'
    )
    tables = "".join(table.format(beyond) for beyond in range(0, 60, PADDING + 1))
    (tmp_path / "page.html").write_text(
        pages["compared"].read_text(encoding="utf-8").replace("</main>", f"{tables}</main>")
    )
    file.write_text(MEASURE.format(opened="false", frames=frame("compared", tmp_path / "page.html", width, height)))
    (page,) = measured(browse(chromium, tmp_path, file, "--dump-dom", scheme))
    file.write_text(f"<style>#out {{ display: none; }}</style>{file.read_text()}")
    browse(chromium, tmp_path, file, f"--screenshot={shot}", f"--window-size={width},{height}", scheme)
    image = np.asarray(imread(shot))[..., :3]
    paper = image[3, 3]
    assert (paper.mean() < 0.5) == scheme.endswith("0")
    assert {0, PADDING + 1} < {table["wide"] for table in page["rows"]}
    for table in page["rows"]:
        edge = image[int(table["top"]) + 3, int(table["right"]) - 3]
        assert (np.abs(edge - paper).max() > 0.1) == (table["wide"] > PADDING), table


@pytest.mark.parametrize("names", [("a", "b", "c"), ("base", "grpo", "nsr", "simko"), tuple("abcdefghijklmnop")])
def test_every_method_and_every_pair_has_a_colour_of_its_own(names):
    pairs = [(ours, other) for other, ours in itertools.combinations(names, 2)]
    hues = pair_colours(pairs, names)
    assert len(set(hues)) == len(pairs)
    assert len({colour(name, names) for name in names}) == len(names)
    for (ours, other), hue in zip(pairs, hues, strict=True):
        if other == names[0]:
            assert hue == colour(ours, names)
    assert not {"#000000", "#1f2328"} & {*hues, *COLOURS.values()}


VISION = {  # Machado, Oliveira and Fernandes 2009, on linear RGB
    "full": np.eye(3),
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(hues: list[str]) -> np.ndarray:
    c = np.array([[int(hue[i : i + 2], 16) / 255 for i in (1, 3, 5)] for hue in hues])
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize(("dark", "paper"), [(False, "#ffffff"), (True, "#16181c")])
def test_lines_are_told_apart_with_every_colour_vision_and_from_the_paper(vision, dark, paper):
    declared = re.findall(r"--line\d+:(#\w+)", style())
    hues = declared[len(declared) // 2 :] if dark else declared[: len(declared) // 2]
    xyz = np.clip(linear(hues) @ np.array(VISION[vision]).T, 0, 1) @ XYZ.T / [0.9505, 1, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116).T
    lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
    apart = np.linalg.norm(lab[:, None] - lab, axis=-1)[np.triu_indices(len(hues), 1)]
    assert len(hues) == 11
    assert apart.min() > 13
    light = np.sort(np.stack(np.broadcast_arrays(linear(hues) @ XYZ[1], linear([paper]) @ XYZ[1])), axis=0) + 0.05
    assert (light[1] / light[0]).min() > 3


def test_three_pairs_without_a_base_are_drawn_in_three_colours(tmp_path, make_study):
    models = [str(write_run(tmp_path / name, 0.3)) for name in "abc"]
    study = make_study({"nsr": {"q": 3, "r": 4}, "psr": {"q": 5, "r": 2}, "x": {"q": 1, "r": 1}})
    for page in (write_runs_page(read_sections(models), tmp_path / "page.html"), write_report(study)):
        figure = next(f for f in page.read_text().split("<svg") if ": differences" in f[:200])
        strokes = re.findall(r"stroke: (#\w+|currentColor|var\(--\w+\)); stroke-width: 1.4", figure)
        assert len(set(strokes)) == 3


def texts(drawn: str) -> str:
    return html.unescape("".join(re.findall(r">([^<]*)</text>", drawn) + re.findall('aria-label="([^"]*)"', drawn)))


@pytest.mark.filterwarnings("ignore:constrained_layout not applied")
def test_no_hidden_character_reaches_a_figure(tmp_path):
    """Every text of a figure, whoever put it there: labels, titles, legends, notes."""
    every = "".join(HIDDEN)

    def draw(figure):
        panel = figure.add_subplot()
        panel.plot([0, 1], [0, 1], label=every)
        panel.set(xlabel=every, ylabel=every, title=every)
        panel.annotate(every, (0, 0))
        figure.legend()

    shown = texts(svg(every, draw))
    assert not set(shown) & set(HIDDEN)
    for c in HIDDEN:
        assert shown.count(f"⟨U+{ord(c):04X}⟩") == 6
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a hidden character has no glyph, which Matplotlib warns of
        save(tmp_path / "figure.png", (4, 3), lambda figure: figure.suptitle("a\u202eb\x1bc"))


@pytest.mark.parametrize(
    "hidden", ["\x1b", "\u202e", "\x00", "\x07\r", "\u2066", "\u200f", "\ufeff", "\U000e0041", "\u00ad", "\n\t"]
)
@pytest.mark.few(4)
def test_no_hidden_character_of_a_name_reaches_a_page_or_a_terminal(tmp_path, capsys, hidden):
    runs = [write_run(tmp_path / f"r{i}", 0.4, n=4, task=f"sums{hidden}x") for i in range(2)]
    page = tmp_path / "page.html"
    names = [f"a{hidden}b", f"c{hidden}d"]
    given = [f"{name}={run}" for name, run in zip(names, runs, strict=True)]
    assert main(["compare", *given, "--html", str(page), "--reference", names[0]]) == 0
    printed = capsys.readouterr().out
    spelled = "".join(f"⟨U+{ord(c):04X}⟩" for c in hidden)
    assert not set(printed) & set(HIDDEN) - {"\n"}
    assert f"c{spelled}d − a{spelled}b"[:30] in printed.replace("\n", "")
    content = page.read_text(encoding="utf-8")
    assert not set(content) & set(HIDDEN) - ALLOWED
    figures = re.findall(r"<svg.*?</svg>", content, re.DOTALL)
    assert all(not set(texts(figure)) & set(HIDDEN) for figure in figures)
    assert main(["compare", *given, "--reference", f"e{hidden}f"]) == 2
    assert not set(capsys.readouterr().err) & set(HIDDEN) - {"\n"}


def test_visible_leaves_text_alone_and_spells_out_the_rest():
    assert visible("a\tb\n数 é") == "a\tb\n数 é"
    assert visible("a\tb\n", kept="") == "a⟨U+0009⟩b⟨U+000A⟩"


def test_every_page_says_when_and_with_what_it_was_made(pages, monkeypatch, tmp_path):
    import simko

    for page in pages.values():
        words = page.read_text()
        assert re.search(rf"Written on \d{{4}}-\d\d-\d\d \(UTC\) by simko {simko.__version__} with Python 3", words)
        assert "numpy " in words
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    run = write_run(tmp_path / "a", 0.5, n=4)
    assert "Written on 1970-01-02" in write_runs_page(read_sections([str(run)]), tmp_path / "page.html").read_text()


def test_cover_is_explained_at_its_column(pages):
    (head,) = re.findall(r"Cover@0\.5.*?</th>", pages["compared"].read_text(), re.DOTALL)
    assert "50 % or more" in head
    assert "samples correct" in re.sub("<[^>]*>", " ", head)


def test_long_names_are_told_apart_in_plots_and_their_legend_is_whole(tmp_path):
    from matplotlib.figure import Figure

    from simko.evaluate import Difference
    from simko.report.plots import brief, draw_differences

    names = [f"qwen2.5-math-7b-instruct-{method}-seed{seed}" for method in ("grpo", "simko") for seed in (1, 2)]
    assert len({brief(name) for name in names}) == 4
    assert max(len(brief(name)) for name in names) == 18
    figure = Figure((4.6, 3.4), layout="constrained")
    points = [Difference(k, 0.1, 0.0, 0.2, 0.5) for k in (1, 2, 4)]
    pairs = [f"{brief(a)} − {brief(b)}" for a, b in itertools.combinations(names, 2)]
    draw_differences(figure, [(pair, "black", points) for pair in pairs])
    figure.draw_without_rendering()
    assert figure.legends[0].get_window_extent().x1 <= figure.bbox.x1


@pytest.mark.parametrize("count", [3, 13, 14, 20])
def test_the_names_of_many_lines_stay_beside_their_axes_and_apart(count):
    from matplotlib.figure import Figure

    from simko.report.plots import axes, label_ends

    panel = axes(Figure(), "x", "y")
    panel.set_ylim(0, 1)
    label_ends(panel, [(f"line {i}", 0.3, "#000000") for i in range(count)])
    heights = sorted(text.xy[1] for text in panel.texts)
    assert heights[0] >= 0
    assert heights[-1] <= 1
    inches = 0.77 * 3.2  # of a panel's height
    gap = min(b - a for a, b in itertools.pairwise(heights)) * inches * 72
    assert gap > panel.texts[0].get_fontsize()
