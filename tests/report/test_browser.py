"""Every kind of page in a real browser: its console, its requests, its charts, its filters by keyboard, hostile output."""

import json
import re
from pathlib import Path

import pytest
from browser import chromium_page
from test_diagnosis import write_records
from test_report import HOSTILE, UNSEEN, hostile_study
from test_runs import write_run

from simko.cli.main import main
from simko.report import write_report
from simko.scoring import summarise_records

HUGE = "x" * 20_000
HANDLERS = "<b onclick=top.pwned=1 onmouseover=top.pwned=1>b</b><svg onload=top.pwned=1><iframe srcdoc='<script>top.pwned=1</script>'>"
ATTACKS = [
    HOSTILE,
    UNSEEN,
    HANDLERS,
    HUGE,
    "\u202e\u2066right to left",
    "</article></details></section>",
    "<!--",
    "a\n" * 3000,
]
MARKS = "[...document.querySelectorAll('figure svg')].map(x => x.querySelectorAll('path, use, text').length)"


def diagnosed(root: Path, *names: str) -> Path:
    records = write_records(
        root, names or ("base", "simko"), [" the", " sum", " is", "1", "2", " +", " =", "\n"], responses=12
    )
    for name in names:  # as long as paths and settings are
        file = records / name / "model.json"
        said = {
            "path": f"/home/somebody/experiments/2026/operator/runs/{name}-seed1/checkpoint-240",
            "weights": "0f" * 20,
        }
        said |= {
            "settings": ["operator_puzzle at T=1", "sums at T=1"],
            "source": f"runs/evaluations/{name}-seed1-step240",
        }
        file.write_text(json.dumps(json.loads(file.read_text()) | said))
    summarise_records(records)
    return records


@pytest.fixture(scope="module")
def pages(tmp_path_factory, trained, big_study) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("browsed")
    runs = [str(write_run(root / f"m{i}", 0.2 * (i + 1), n=16)) for i in range(2)]
    given = {
        "study": [str(big_study)],
        "training": [str(trained / "simko")],
        "compared": runs,
        "diagnosis": [str(diagnosed(root / "three", "base", "grpo", "simko"))],
        "mixed": [f"grpo={trained}/grpo", f"simko={trained}/simko", runs[0], str(diagnosed(root / "diagnosis"))],
    }
    made = {}
    for kind, words in given.items():
        made[kind] = root / f"{kind}.html"
        assert main(["report", *words, "--to", str(made[kind])]) == 0
    return made


@pytest.fixture
def browser(chromium, tmp_path):
    with chromium_page(chromium, tmp_path / "profile") as page:
        yield page


@pytest.mark.parametrize("kind", ["study", "training", "compared", "mixed", "diagnosis"])
@pytest.mark.few(2)
def test_no_error_no_request_and_every_chart_has_marks_words_and_numbers(pages, browser, kind):
    browser.open(pages[kind].as_uri(), width=1280)
    assert browser.said == []
    assert set(browser.asked) == {pages[kind].as_uri()}
    marks = browser.evaluate(MARKS)
    assert marks
    assert min(marks) > 10
    labels = browser.evaluate("[...document.querySelectorAll('figure svg')].map(x => x.getAttribute('aria-label'))")
    assert len(set(labels)) == len(labels)
    assert all(labels)
    rows = browser.evaluate(
        "[...document.querySelectorAll('figure')].map(x => x.querySelectorAll('details tbody tr').length)"
    )
    assert min(rows) >= 1
    assert pages[kind].stat().st_size < 3_000_000


def test_problems_are_sorted_filtered_and_opened_by_keyboard(pages, browser):
    browser.open(pages["compared"].as_uri(), width=1280)
    every = browser.texts(".problems tbody tr")
    assert len(every) == 20
    browser.focus(".problems thead th:nth-child(2) button")
    browser.press("Enter")
    shares = "[...document.querySelectorAll('.problems tbody tr')].map(x => +x.cells[1].dataset.value)"
    down = browser.evaluate(shares)
    assert down == sorted(down, reverse=True)
    assert down[0] > down[-1]
    browser.press(" ")
    assert browser.evaluate(shares) == down[::-1] == sorted(down)
    browser.focus(".problems input")
    browser.write("q07")
    assert [row.split()[0] for row in browser.texts(".problems tbody tr")] == ["q07"]
    assert browser.texts(".problems output") == ["1 of 20 problems"]
    browser.focus(".problems tbody tr:not([hidden]) a")
    browser.press("Enter")
    browser.evaluate("new Promise(done => setTimeout(done, 100))")
    assert browser.evaluate("document.activeElement.closest('.asked').open")
    assert browser.evaluate("document.activeElement.innerText").startswith("q07")
    assert browser.said == []


def test_samples_are_filtered_by_method_verdict_and_text(pages, browser):
    browser.open(pages["compared"].as_uri(), width=1280)
    browser.evaluate("document.querySelectorAll('.asked').forEach(x => x.open = true)")
    every = len(browser.texts(".asked article"))
    browser.focus(".samples select")
    browser.press("ArrowDown")
    assert {text.split(":")[0] for text in browser.texts(".asked h4")} == {"m0"}
    browser.focus(".samples label:nth-child(2) select")
    browser.press("ArrowDown")
    shown = browser.texts(".asked h4")
    assert all(text.startswith("m0: correct ") for text in shown)
    assert 0 < len(shown) < every
    browser.focus(".samples input")
    browser.write("no such words")
    assert browser.texts(".asked") == []
    assert browser.texts(".samples output")[0].startswith("0 of ")


@pytest.mark.parametrize("ks", [8, 9])
def test_no_table_of_numbers_loses_a_column_on_a_laptop(tmp_path, browser, ks):
    runs = [str(write_run(tmp_path / f"m{i}", 0.2 * (i + 1), n=2 ** (ks - 1))) for i in range(3)]
    page = tmp_path / "page.html"
    assert main(["report", *runs, "--to", str(page)]) == 0
    browser.open(page.as_uri(), width=1280)
    over = "[...document.querySelectorAll('main > .scroll')].map(x => x.scrollWidth - x.clientWidth)"
    assert browser.evaluate("document.querySelectorAll('main > .scroll:has(table:not(.texts))').length") >= 5
    assert max(browser.evaluate(over.replace("> .scroll", "> .scroll:has(table:not(.texts))"))) <= 0


CUT = """(() => {
  const bad = [], scrolls = x => ["auto", "scroll"].includes(getComputedStyle(x).overflowX);
  for (const x of document.querySelectorAll("main *")) {
    if (!x.checkVisibility() || x.closest("svg") || getComputedStyle(x).position === "fixed") continue;
    const style = getComputedStyle(x);
    let box = x.parentElement;
    while (box && !scrolls(box) && getComputedStyle(box).textOverflow !== "ellipsis") box = box.parentElement;
    const right = x.getBoundingClientRect().right, inside = scrolls(x) || style.textOverflow === "ellipsis";
    if (!box && right > innerWidth + 0.5) bad.push(["beyond the page", x.outerHTML.slice(0, 200)]);
    if (x.scrollWidth > x.clientWidth + 1 && style.display !== "inline" && !inside && style.overflowX === "hidden")
      bad.push(["cut", x.outerHTML.slice(0, 200)]);
  }
  return [document.documentElement.scrollWidth - innerWidth, bad];
})()"""


@pytest.mark.parametrize("kind", ["study", "training", "compared", "mixed", "diagnosis"])
@pytest.mark.parametrize("width", [1440, 768, 390])
@pytest.mark.few(5)
def test_nothing_is_cut_at_any_width(pages, browser, kind, width):
    """What is wider than the page scrolls; tables of words wrap."""
    browser.open(pages[kind].as_uri(), width=width)
    browser.evaluate("document.querySelectorAll('details').forEach(x => x.open = true)")
    over, cut = browser.evaluate(CUT)
    assert over <= 0
    assert cut == []
    if width == 1440:
        wide = "[...document.querySelectorAll('main > .scroll')].filter(x => x.scrollWidth > x.clientWidth)"
        assert browser.evaluate(f"{wide}.map(x => x.innerText.slice(0, 200))") == []


def test_hostile_output_changes_nothing(tmp_path, make_study, browser):
    store = write_run(tmp_path / "store", 0.5, n=8, problems=4)
    from simko.evaluate import SampleStore
    from simko.records import Problem, Sample, Verdict

    run = tmp_path / "hostile"
    asked = [Problem(f"p{i}{attack[:200]}", attack, attack) for i, attack in enumerate(ATTACKS)]
    with SampleStore(run / "samples.db") as opened:
        setting = opened.begin("t", "T=1", {}, "math", asked, 2)
        for problem, attack in zip(asked, ATTACKS, strict=True):
            samples = [Sample(problem.id, i, attack, 5, "stop") for i in range(2)]
            opened.add(setting, samples, [Verdict("correct", attack), Verdict("wrong", attack)])
    page = tmp_path / "page.html"
    assert main(["report", str(run), str(store), "--to", str(page)]) == 2  # other tasks have nothing in common
    assert main(["report", str(run), "--to", str(page)]) == 0
    for path, cards in ((page, 2 * len(ATTACKS)), (write_report(hostile_study(make_study)), None)):
        browser.open(path.as_uri(), width=1280)
        assert browser.said == []
        assert path.as_uri() in browser.asked
        assert {url.partition("#")[0] for url in browser.asked} <= {page.as_uri(), path.as_uri()}
        assert browser.evaluate("typeof pwned") == "undefined"
        assert browser.evaluate("document.querySelectorAll('script').length") == 1
        assert browser.evaluate("document.querySelectorAll('b, img, iframe, [onclick], [onload]').length") == 0
        browser.evaluate("document.querySelectorAll('details').forEach(x => x.open = true)")
        assert browser.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
        if cards:
            assert browser.evaluate("document.querySelectorAll('article').length") == cards
            assert browser.evaluate("document.querySelectorAll('main > section').length") == 2
    text = page.read_text(encoding="utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
    assert "… (20,000 characters)" in text


def test_the_page_of_many_samples_stays_small_and_says_what_it_leaves_out(tmp_path):
    import time

    from simko.evaluate import SampleStore
    from simko.records import Problem, Sample, Verdict

    asked = [Problem(f"p{i:03d}", f"What is {i}?", "1") for i in range(200)]
    with SampleStore(tmp_path / "run" / "samples.db") as store:
        setting = store.begin("t", "T=1", {}, "math", asked, 100)
        pairs = (
            (Sample(p.id, i, f"{'because ' * 40}{i}", 50, "stop"), Verdict("correct" if i % 3 else "wrong", str(i % 7)))
            for p in asked
            for i in range(100)
        )
        store.load(setting, pairs)
    page = tmp_path / "page.html"
    start = time.process_time()
    assert main(["report", str(tmp_path / "run"), "--to", str(page)]) == 0
    assert time.process_time() - start < 30
    assert page.stat().st_size < 3_000_000
    assert re.search(
        r"Shown here: [\d,]+ of the 20,000 samples that count above, as [\d,]+ responses, since equal ones of a model stand once, and 200 "
        "of 200 problems. simko export writes all",
        page.read_text(),
    )
