"""The page of a diagnosis: numbers, hostile tokens, and what a browser makes of it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from browser import chromium_page

from simko.report import make_document, read_content
from simko.report.diagnosis import diagnosis_text, is_diagnosis, read_diagnosis, write_diagnosis
from simko.report.document import Figures, Heading
from simko.report.plots import themed
from simko.report.tokens import in_text, on_one_line
from simko.scoring import summarise_records
from simko.scoring.records import Records, TokenRows

HOSTILE = [
    "</span></label><script>window.pwned=1</script>", "<img src=x onerror=window.pwned=1>", "' onclick='window.pwned=1", "&lt;b&gt;",
    "\u202eevil\u202c", "a\x00b", "x" * 10_000, "\n\n", "\t", " ", "", "{{ 7 * 7 }}", "\ud800", "\u2028", "</style><style>*{display:none}</style>",
]  # fmt: skip
PLAIN = [" the", " sum", " is", "1", "2", " +", " =", "\n"]


def write_records(root: Path, names, vocabulary, *, tokens=40, responses=4, judged=True, steps=False, seed=0) -> Path:
    """Records of random models, as simko diagnose leaves them."""
    K, V = 5, len(vocabulary)
    for m, name in enumerate(names):
        draw = np.random.default_rng(seed + m)
        model = {
            "model": name, "path": f"runs/a/checkpoint-{10 * (m + 1)}" if steps else f"models/{name}", "weights": "abc",
            "source": "runs/<b>", "settings": ["sums at T=1"], "judge": "math" if judged else None, "responses": responses,
            "responses_sha256": "same", "left_out": {"the response is empty": 2}, "other_lengths": 1, "unknown_ends": 0, "candidates": K,
            "temperature": 1.0, "gate_quantile": 0.8,
        }  # fmt: skip
        records = Records(root / name)
        records.begin(model, {}, vocabulary)
        rows = []
        for r in range(responses):
            p = np.sort(draw.dirichlet([0.3 + 0.2 * m] * V, tokens), -1)[:, ::-1]
            ids = np.stack([draw.permutation(V) for _ in range(tokens)])
            at = draw.integers(0, K, tokens)
            entropy = -(p * np.log(np.maximum(p, 1e-30))).sum(-1)
            gated = entropy > np.quantile(entropy, 0.8)
            correct = r % 2 == 0 if judged else None
            acts = gated * (1 if correct else -(at == 0).astype(int)) if judged else np.zeros(tokens)
            own = np.arange(tokens)
            rows.append(
                TokenRows(
                    r, f"q{r // 2}", r % 2, correct, _shared(tokens, V, r),
                    np.log(np.maximum(p[own, at], 1e-30)).astype("f4"), entropy.astype("f4"), (at + 1).astype("i2"), gated,
                    acts.astype("i1"), ids[:, :K].astype("i4"), np.log(np.maximum(p[:, :K], 1e-30)).astype("f4"),
                )
            )  # fmt: skip
        records.add(rows)
    plan = {
        "models": list(names),
        "command": "simko diagnose <x>",
        "show": [],
        "prompts": {"q0": "<i>1 + 1</i>", "q1": "2"},
    }
    (root / "plan.json").write_text(json.dumps(plan))
    return root


def _shared(tokens, V, response):
    return np.random.default_rng(response).integers(0, V, tokens).astype("i4")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("hostile")
    records = write_records(root / "records", ["base", "grpo", "simko"], HOSTILE + PLAIN, steps=True)
    return write_diagnosis(summarise_records(records), root / "page.html")


def test_what_the_page_says(tmp_path):
    records = write_records(tmp_path / "records", ["base", "simko"], PLAIN)
    summary = summarise_records(records)
    assert is_diagnosis(records)
    assert read_diagnosis(records) == summary
    html = write_diagnosis(summary, tmp_path / "page.html").read_text()
    first = {m["name"]: m["summary"]["rank_probability"][0] for m in summary["models"]}
    most = max(first, key=first.get)
    assert f"{most} is the most concentrated." in html
    assert f"{most} is the most concentrated." in diagnosis_text(summary)
    for m in summary["models"]:
        for numbers in (m["summary"], *(m["summary"][key] for key in ("gated", "correct", "incorrect"))):
            assert f"{numbers['concentration_log10'][0]:.3f}".replace("-", "−") in html
    assert html.count("<svg") == 9
    assert "Over the training" not in html
    assert "2 (the response is empty)" in html
    with pytest.raises(ValueError, match="records without a summary"):
        read_diagnosis(tmp_path)
    (records / "diagnosis.json").write_text('{"models": []}')
    with pytest.raises(ValueError, match="of another version: simko diagnose --records"):
        read_diagnosis(records)


def test_a_model_has_one_colour_on_a_page_of_several_diagnoses(tmp_path):
    for name in ("mine", "other"):
        records = write_records(tmp_path / name, [name], PLAIN)
        summarise_records(records)
    content = read_content([str(tmp_path / "mine"), str(tmp_path / "other")])
    page = make_document(content)
    svgs = {name: [] for name in ("mine", "other")}
    for block in page.blocks:
        for chart in block.drawn if isinstance(block, Figures) else ():
            svgs[chart.label.rpartition(" of ")[2]].append(chart.svg)
    for name, other in (("mine", "other"), ("other", "mine")):
        assert len(svgs[name]) == 9
        assert all(themed(page.colours[name]) in one for one in svgs[name])
        assert not any(themed(page.colours[other]) in one for one in svgs[name])
    alone = make_document(read_content([str(tmp_path / "mine")]))
    assert not any(isinstance(block, Heading) and block.text == alone.title for block in alone.blocks)


def test_without_verdicts_the_page_says_so(tmp_path):
    records = write_records(tmp_path / "records", ["m"], PLAIN, judged=False)
    html = write_diagnosis(summarise_records(records), tmp_path / "page.html").read_text()
    assert "There are no verdicts for m" in html
    assert "Correct and incorrect responses" not in html
    assert "On average m gives" in html


def test_checkpoints_of_a_run_are_drawn_by_step(hostile):
    html = hostile.read_text()
    assert "Over the training" in html
    assert html.count("over the training") >= 3


def test_a_large_diagnosis_makes_a_page_of_less_than_3_mb(tmp_path):
    names = [f"model{i}" for i in range(6)]
    records = write_records(tmp_path / "records", names, [w * 12 for w in PLAIN], tokens=3000)
    page = write_diagnosis(summarise_records(records), tmp_path / "page.html")
    assert page.stat().st_size < 3_000_000
    assert re.search("The first 2[0-9]{2} of 3000 tokens", page.read_text())


@pytest.mark.parametrize(
    ("text", "line", "inside"),
    [
        (" a", "␣a", " a"),
        ("\n", "⏎", "⏎\n"),
        ("  ", "␣␣", "  "),
        ("", "∅", "∅"),
        ("a b ", "a b␣", "a b "),
        ("\t", "⇥", "\t"),
        ("y" * 999, "y" * 60 + "…", "y" * 240 + "…"),
    ],
)
def test_white_space_is_seen(text, line, inside):
    assert (on_one_line(text), in_text(text)) == (line, inside)


def test_in_a_browser(hostile, chromium, tmp_path):
    """Nothing is said or asked for at any width, hostile tokens are text, and the keyboard does what the pointer does."""
    with chromium_page(chromium, tmp_path / "profile") as page:
        for width in (1440, 768, 390):
            for scheme in ("light", "dark"):
                page.open(hostile.as_uri(), width=width, scheme=scheme)
                assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        assert page.said == []
        assert set(page.asked) == {hostile.as_uri()}
        assert page.evaluate("typeof window.pwned") == "undefined"
        assert page.evaluate("document.querySelectorAll('img, script').length") == 0
        assert page.evaluate("getComputedStyle(document.body).display") == "block"
        assert page.evaluate("document.querySelector('.text').textContent.includes('⟨U+202E⟩')")
        marks = "[...document.querySelectorAll('svg')].map(s => s.querySelectorAll('path').length)"
        assert min(page.evaluate(marks)) > 4

        page.open(hostile.as_uri(), width=1440)
        shown = "[...document.querySelectorAll('.tip')].filter(t => getComputedStyle(t).display != 'none').map(t => t.textContent)"
        assert page.evaluate(shown) == []
        page.evaluate("document.querySelector('.modes input').focus()")
        colours = "[...new Set([...document.querySelectorAll('.text label')].map(l => getComputedStyle(l).backgroundColor))].length"
        chosen = "document.querySelector('.modes input:checked').className"
        seen = []
        for _ in range(4):
            seen.append(page.evaluate(chosen))
            assert page.evaluate(colours) > 1
            page.press("ArrowRight")
        assert seen == ["by-entropy", "by-rank", "by-gate", "by-acts"]
        page.press("Tab")
        assert page.evaluate("document.activeElement.closest('.text') != null")
        places = []
        for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
            page.press(key)
            places.append(page.evaluate("document.activeElement.id"))
            (tip,) = page.evaluate(shown)
            assert "entropy" in tip
            assert "rank" in tip
        assert places[0] == places[2] != places[1]
        page.press("Tab")
        assert page.evaluate("document.activeElement.id") not in places  # on to the next model's text

        page.point(".path label")
        (tip,) = page.evaluate(shown)
        assert all(name in tip for name in ("base", "grpo", "simko"))
        drawn = "['.up', '.down'].map(c => getComputedStyle(document.querySelector('.text ' + c)).backgroundColor)"
        page.evaluate("document.querySelectorAll('.by-acts').forEach(e => e.checked = true)")
        assert len(set(page.evaluate(drawn))) == 2
        page.evaluate("window.scrollTo(0, 0)")
        assert page.said == []
