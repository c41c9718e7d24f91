"""The page of a diagnosis: numbers, hostile tokens, and what a browser makes of it."""

import json
import re
import shutil
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import chromium_page
from scipy.stats import ttest_1samp

from simko.cli.main import main
from simko.evaluate.intervals import studentised_interval
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
    records = write_records(tmp_path / "records", ["base", "simko"], PLAIN, responses=24)
    summary = summarise_records(records)
    assert is_diagnosis(records)
    assert read_diagnosis(records) == summary
    html = write_diagnosis(summary, tmp_path / "page.html").read_text()
    base, simko = (first_of_problems(records / name, "gated") for name in ("base", "simko"))
    low, high = studentised_interval(base.to_numpy()[:, None])[0]
    level = f"where SimKO acts: base {base.mean():.3f} ({low:.3f} to {high:.3f}), simko "
    apart = f"{(simko - base).mean():+.3f} (95 % interval ".replace("-", "−")
    read = "All models read the same responses, 24 of 26 responses of runs/<b>, to 12 problems."
    for words in (level, apart, "simko against base at gated tokens", read):
        assert words in unescape(html)
        assert words.replace("<", "&lt;") in diagnosis_text(summary)
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


def first_of_problems(folder: Path, over: str) -> pd.Series:
    """The probability of rank 1 of each problem: means over responses of means over tokens."""
    rows = pd.read_parquet(folder / "tokens")
    rows = rows.assign(p=rows["candidate_logp"].map(lambda x: np.exp(np.float64(x[0]))))
    rows = rows[rows["gated"]] if over == "gated" else rows
    return rows.groupby(["problem_id", "sample"])["p"].mean().groupby("problem_id").mean()


def test_every_pair_differs_at_gated_and_at_all_tokens(tmp_path):
    """As evaluations are compared: each with each, on the problems of both, with an interval over problems."""
    records = write_records(tmp_path / "records", ["base", "grpo", "simko"], PLAIN, responses=24)
    found = summarise_records(records)["differences"]
    pairs = [("grpo", "base"), ("simko", "base"), ("simko", "grpo")]
    assert [(d["ours"], d["other"], d["over"]) for d in found] == [(*p, o) for p in pairs for o in ("gated", "all")]
    for d in found:
        ours, other = (first_of_problems(records / d[side], d["over"]) for side in ("ours", "other"))
        low, high = ttest_1samp(ours - other, 0).confidence_interval(0.95)
        assert d["problems"] == 12
        assert d["numbers"]["probability of rank 1"] == pytest.approx([(ours - other).mean(), low, high], abs=1e-6)


@pytest.mark.parametrize(("responses", "enough"), [(2, False), (6, False), (8, False), (10, True)])
def test_few_problems_have_no_interval_and_no_claim(tmp_path, responses, enough):
    records = write_records(tmp_path / "records", ["base", "simko"], PLAIN, responses=responses)
    said = diagnosis_text(summarise_records(records))
    assert ("too few" in said) != enough
    assert ("95 % interval " in said) == enough
    assert ("oncentrated: simko against base" in said or "No difference shown: simko" in said) == enough


def test_a_model_beside_itself_has_no_difference(tmp_path):
    records = write_records(tmp_path / "records", ["a"], PLAIN, responses=12)
    shutil.copytree(records / "a", records / "b")
    plan = json.loads((records / "plan.json").read_text())
    (records / "plan.json").write_text(json.dumps(plan | {"models": ["a", "b"]}))
    assert (
        "No difference shown: b against a at gated tokens: +0.000 in the probability of the first candidate."
        in diagnosis_text(summarise_records(records))
    )


def test_responses_of_ones_own_are_shown_by_verdict(tmp_path):
    """A correct and an incorrect response of each model."""
    records = write_records(tmp_path / "records", ["base", "simko"], PLAIN, responses=8)
    model = json.loads((records / "simko" / "model.json").read_text())
    (records / "simko" / "model.json").write_text(json.dumps(model | {"responses_sha256": "other", "source": "mine"}))
    shown = summarise_records(records)["shown"]
    assert [(list(one["views"]), one["correct"]) for one in shown] == [
        ([name], verdict) for name in ("base", "simko") for verdict in (True, False)
    ]


def _remove(records: Path) -> str:
    shutil.rmtree(records / "simko" / "tokens")
    return "simko/tokens/batch-000000.parquet is missing"


def _cut(records: Path) -> str:
    file = records / "simko" / "tokens" / "batch-000000.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    return "simko/tokens/batch-000000.parquet is not the one"


def _flip(records: Path) -> str:
    file = records / "base" / "tokens" / "batch-000000.parquet"
    whole = bytearray(file.read_bytes())
    whole[200] ^= 1
    file.write_bytes(whole)
    return "base/tokens/batch-000000.parquet is not the one"


def _more(records: Path) -> str:
    shutil.copy(records / "base/tokens/batch-000000.parquet", records / "base/tokens/batch-000001.parquet")
    return "base/tokens/batch-000001.parquet is not the one"


def _plan(records: Path) -> str:
    (records / "plan.json").write_text("{}")
    return "plan.json is not the one"


def _model(records: Path) -> str:
    (records / "simko" / "model.json").unlink()
    return "simko/model.json is missing"


@pytest.mark.parametrize("damage", [_remove, _cut, _flip, _more, _plan, _model])
@pytest.mark.few(3)
def test_a_page_is_not_made_of_records_that_are_no_longer_there(tmp_path, capsys, damage):
    records = write_records(tmp_path / "records", ["base", "simko"], PLAIN)
    summarise_records(records)
    words = ["report", str(records), "--to", str(tmp_path / "page.html")]
    assert main(words) == 0
    capsys.readouterr()
    what = damage(records)
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{records}/{what}" in line
    assert f"simko diagnose --records {records} --out PAGE.html" in line


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
    assert "m reads 4 of 6 responses of runs/&lt;b&gt;, to 2 problems." in html


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
