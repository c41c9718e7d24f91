import base64
import hashlib
import html
import json
import os
import re
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
from page_text import flat, read, section_of, spread

from simko.cli.main import main
from simko.evaluate import SampleStore, only_setting
from simko.records import Sample, Verdict
from simko.report import write_report
from simko.report.content import in_order
from simko.report.document import as_markdown
from simko.report.page import numbers
from simko.report.setup import option_rows
from simko.report.study import read_study
from simko.report.text import visible
from simko.report.words import best_temperature, claims, judge, levels, notes, percent, points_apart

HOSTILE = "<script>top.pwned=1</script></svg></pre>\"'&<img src=x onerror=top.pwned=1>{{7*7}}$x^$"
UNSEEN = "nul\x00 escape\x1b[2J bell\x07 bidi\u202eevil zero\u200bwidth"


def pairs(section):
    return {(pair.ours, pair.other): pair for pair in section.pairs}


@pytest.fixture(scope="session")
def big_page(big_study):
    return read(write_report(big_study))


def test_page_is_self_contained(big_page):
    page, tags = big_page
    assert {"link", "iframe", "object", "img", "base"} & tags.tags == set()
    (script,) = re.findall("<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html.unescape(page)
    assert not [
        a for a in tags.attributes if a[0] in ("src", "href", "xlink:href") and not (a[1] or "").startswith("#")
    ]
    assert not re.search(r"url\((?!#)|@import", page)
    assert page.count("<svg") == page.count("</svg>") == 26
    words = " ".join(tags.words)
    for expected in ("pass@K", "Paired differences", "Over training", "Concentration", "Answers", "Versions"):
        assert expected in words


def test_rewriting(make_study, monkeypatch):
    """The same study gives the same bytes, and a write that fails leaves the old page whole."""
    root = make_study({"base": spread(1, 9), "simko": spread(3, 20)})
    before = write_report(root).read_bytes()
    path = write_report(root)
    assert path.read_bytes() == before

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(root)
    assert path.read_bytes() == before
    assert not list(root.glob(".report*"))


def add_problem(folder: Path, problem_id: str, prompt: str, answer: str) -> None:
    """A further problem in a finished evaluation, which the store's own calls do not allow."""
    with sqlite3.connect(folder / "samples.db") as db:
        db.execute("INSERT INTO problems VALUES (1, 999, ?, ?, ?, '{}')", (problem_id, prompt, answer))


def hostile_study(make_study) -> Path:
    root = make_study({"base": flat(2, 3), "simko": flat(4, 3)}, n=8, ks=(1, 2, 4), title=HOSTILE, command=HOSTILE)
    problem_id = f"a{HOSTILE}"
    for name in ("base", "simko-seed1-step80"):
        folder = root / "evaluations" / name
        add_problem(folder, problem_id, HOSTILE + UNSEEN, HOSTILE)
        with SampleStore(folder / "samples.db") as store:
            samples = [Sample(problem_id, i, HOSTILE + UNSEEN, 3, "stop") for i in range(8)]
            store.add(only_setting(store), samples, [Verdict("wrong", HOSTILE)] * 8)
    run = root / "runs" / "simko-seed1"
    (run / "config.json").write_text(json.dumps({HOSTILE: HOSTILE + "\udfff", "nested": {"x": HOSTILE}}))
    (run / "versions.json").write_text(json.dumps({"torch": HOSTILE}))
    study = json.loads((root / "study.json").read_text())
    study["runs"][0] |= {"objective": HOSTILE}
    study["evaluations"].append(study["evaluations"][1] | {"method": HOSTILE, "name": "hostile"})
    shutil.copytree(root / "evaluations" / "simko-seed1-step80", root / "evaluations" / "hostile")
    (root / "study.json").write_text(json.dumps(study))
    return root


def test_hostile_text_stays_text(make_study):
    page, tags = read(write_report(hostile_study(make_study)))
    assert page.count("<script") == 1
    assert "<img" not in page
    assert "{{7*7}}" in page
    assert page.count("<svg") == page.count("</svg>")
    assert not [a for a in tags.attributes if a[0].startswith("on")]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ud800-\udfff]", page)
    words = "".join(tags.words)
    assert HOSTILE in words
    for spelled in ("nul⟨U+0000⟩", "escape⟨U+001B⟩", "bidi⟨U+202E⟩evil", "zero⟨U+200B⟩width", "⟨U+DFFF⟩"):
        assert spelled in words


def test_visible_keeps_plain_text():
    assert visible("a\tb\nµ → 数 ½ é") == "a\tb\nµ → 数 ½ é"
    assert visible("\r\x85\u2028\ufeff") == "⟨U+000D⟩⟨U+0085⟩⟨U+2028⟩⟨U+FEFF⟩"


def claimed(study_dir):
    return {found.claim: found for found in claims(section_of(study_dir))}


def test_claims_that_hold(make_study):
    half_lost = {i: 16 * (c % 2) for i, c in spread(0, 39).items()}
    root = make_study({"base": spread(1, 5), "grpo": half_lost, "simko": spread(2, 20)})
    found = claimed(root)
    statuses = {claim: f.status for claim, f in found.items()}
    assert statuses == {
        "grpo’s pass@1 is above base’s": "holds",
        "simko’s pass@1 is above base’s": "holds",
        "simko’s pass@1 against grpo’s": "no difference shown",
        "grpo’s pass@16 is below base’s": "holds",
        "simko’s pass@16 is above grpo’s": "holds",
        "simko’s pass@16 against base’s": "higher",
    }
    section = section_of(root)
    d = pairs(section)["grpo", "base"].comparison.points[0]
    assert found["grpo’s pass@1 is above base’s"].figures == (
        f"{points_apart(d.difference)} points (95 % interval {points_apart(d.low)} to {points_apart(d.high)})."
    )
    estimate = section.sides[1].curve.points[0].estimate
    assert f"grpo: pass@1 {percent(estimate)} (higher than base’s)" in " ".join(levels(section))


def test_claims_that_fail(make_study):
    found = claimed(make_study({"base": spread(4, 20), "grpo": spread(2, 12), "simko": spread(0, 2)}))
    assert found["grpo’s pass@1 is above base’s"].status == "does not hold here"
    assert found["grpo’s pass@1 is above base’s"].figures.startswith("It is below: −")
    assert found["simko’s pass@16 is above grpo’s"].status == "does not hold here"
    assert found["simko’s pass@16 against base’s"].status == "lower"


def test_p_values_are_adjusted_over_pairs(make_study):
    shuffled = {i: 1 + (7 * c + 3) % 10 for i, c in spread(1, 9).items()}
    root = make_study({"base": spread(1, 9), "grpo": shuffled, "simko": spread(2, 11)})
    section = section_of(root)
    raw = sorted(pair.comparison.points[4].p for pair in section.pairs)
    adjusted = sorted(pair.p_holm for pair in section.pairs)
    assert section.headline_k == section.ks[4]
    assert adjusted[:2] == pytest.approx([3 * raw[0], max(3 * raw[0], 2 * raw[1])])
    words = " ".join(" ".join(read(write_report(root))[1].words).split())
    shown = f"p = {adjusted[1]:.3f}"
    assert shown in words
    assert shown != f"p = {raw[1]:.3f}"


def test_no_difference_is_said(make_study):
    root = make_study({"base": spread(1, 9), "grpo": spread(1, 9), "simko": spread(1, 9)})
    assert {f.status for f in claimed(root).values()} == {"no difference shown"}
    page, _ = read(write_report(root))
    assert "No difference shown" in page
    assert "not shown to differ from base’s" in page


@pytest.mark.parametrize(
    ("low", "high", "expected", "status"),
    [
        (0.1, 0.3, "above", "holds"),
        (0.1, 0.3, "below", "does not hold here"),
        (-0.3, -0.1, "below", "holds"),
        (-0.3, -0.1, "above", "does not hold here"),
        (-0.1, 0.3, "above", "no difference shown"),
        (0.0, 0.3, "above", "no difference shown"),
    ],
)
def test_judge(low, high, expected, status):
    from simko.evaluate import Difference

    assert judge(Difference(1, (low + high) / 2, low, high, 0.5), expected) == status


def test_best_temperature_of_the_base(big_study):
    study = read_study(big_study)
    assert study.sections[0].setting == "T=1"
    (sweep,) = study.sweeps
    assert sweep.settings == ("T=0.25", "T=0.5", "T=1")
    assert sweep.best_base[0] in ("T=0.25", "T=0.5")
    assert any(f"at its best temperature ({sweep.best_base[0]}, " in found.claim for found in best_temperature(sweep))


def test_reservations_are_said(make_study):
    section = section_of(make_study({"base": spread(0, 9), "grpo": spread(0, 9)}))
    words = " ".join(notes(section))
    assert "fewer than 100 problems" in words
    assert "One run a model" in words
    assert "for K above 16 one lucky sample can decide a problem" in words
    assert section.headline_k == 16


def test_seeds_are_averaged_and_shown(tmp_path, life_size):
    root = life_size(tmp_path, seeds=3, problems=12, n=8)
    section = section_of(root)
    assert len(section.sides[2].curve.per_seed) == 3
    assert "3 training seeds a method" in " ".join(notes(section))
    page, _ = read(write_report(root))
    assert page.count("simko-seed3-T0.5</th>") == 1


def test_over_training_needs_two_steps(big_study, make_study):
    course = section_of(big_study).course
    assert [p.step for p in course["simko"]] == [0, 20, 40, 80]
    assert course["grpo"][0] == course["simko"][0]
    page, _ = read(write_report(make_study({"base": flat(1), "simko": flat(2)})))
    assert "Over training" not in page


def test_units_of_concentration(big_page):
    page, _ = big_page
    assert "log10, as in the paper" in page
    # rank 6 of GRPO ends at -3.2 - 7/3 = -5.53 in log10; natural logarithms would reach -12.7
    assert ">−5</text>" in page
    assert ">−10</text>" not in page


def test_without_runs_or_diagnostics(make_study):
    root = make_study({"base": spread(1, 9), "simko": spread(3, 20)}, runs=False)
    page, _ = read(write_report(root))
    assert "What was run" in page
    for words in ("Training", "Concentration", "Configuration"):
        assert f">{words}<" not in page


def test_missing_files_are_named(make_study):
    root = make_study({"base": spread(1, 9), "grpo": spread(1, 20), "simko": spread(3, 20)})
    (root / "runs" / "grpo-seed1" / "diagnostics.jsonl").unlink()
    (root / "runs" / "grpo-seed1" / "config.json").unlink()
    (root / "evaluations" / "simko-seed1-step80" / "samples.db").unlink()
    with (root / "runs" / "simko-seed1" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "rew')
    page, _ = read(write_report(root))
    assert "Run grpo-seed1 has no configuration, no probes." in page
    assert "Evaluation simko-seed1-step80 has no samples yet." in page
    assert "simko’s pass@" not in page


def test_unfinished_evaluation_is_left_out(make_study):
    root = make_study({"base": spread(1, 9), "simko": spread(3, 20)})
    add_problem(root / "evaluations" / "simko-seed1-step80", "later", "?", "")
    study = read_study(root)
    assert study.sections[0].sides[0].name == "base"
    assert "unfinished (1 problems lack samples)" in " ".join(study.notes)
    page, _ = read(write_report(root))
    assert "Paired differences" not in page


def test_headline_step_not_reached(make_study):
    study = read_study(make_study({"base": flat(1), "simko": flat(2)}, headline=200))
    assert "Trained models at step 80." in study.words[-1]
    assert "No trained model was evaluated at step 200 yet" in study.notes[0]


def test_other_methods_without_grpo_or_simko(make_study):
    root = make_study({"nsr": spread(1, 20), "base": spread(1, 9), "psr": flat(5)}, title="Others")
    found = claimed(root)
    assert "nsr’s pass@16 against base’s" in found
    page, _ = read(write_report(root))
    assert "grpo" not in page
    assert in_order({"simko", "nsr", "grpo", "base"}) == ("base", "grpo", "nsr", "simko")


def test_one_problem_and_all_solved(make_study):
    page, _ = read(write_report(make_study({"base": {"only": 32}, "simko": {"only": 32}})))
    assert "No difference shown" in page
    assert "1 problem, " in page


def test_tables_show_the_numbers(make_study):
    root = make_study({"base": spread(1, 9), "simko": spread(3, 20)})
    section = section_of(root)
    page, _ = read(write_report(root))
    point = section.sides[1].curve.points[2]
    assert f"{100 * point.estimate:.1f}<small>{100 * point.low:.1f} – {100 * point.high:.1f}</small>" in page
    assert points_apart(section.pairs[0].comparison.points[2].difference) in page


def test_settings_mark_what_differs(make_study):
    study = read_study(make_study({"base": flat(1), "grpo": flat(1), "simko": flat(1)}))
    rows = option_rows([r.config for r in study.runs])
    assert [(r.key, r.differs) for r in rows] == [("method", True), ("learning_rate", False)]
    assert rows[0].values == ("grpo", "simko")


def test_no_study_is_refused(tmp_path, make_study):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match=r"has no study\.json"):
        write_report(empty)
    (empty / "study.json").write_text("{")
    with pytest.raises(ValueError, match="is no JSON"):
        write_report(empty)
    (empty / "study.json").write_text("[]")
    with pytest.raises(ValueError, match="no JSON object"):
        write_report(empty)
    (empty / "study.json").write_text('{"ks": [1]}')
    with pytest.raises(ValueError, match="lacks 'headline_step'"):
        write_report(empty)
    (empty / "study.json").write_text('{"headline_step": 1}')
    with pytest.raises(ValueError, match="no graded samples yet"):
        write_report(empty)


def test_in_a_browser(make_study, tmp_path, chromium):
    """No hostile script runs, and at 390 px nothing but the scroll boxes is wider than the screen."""
    page = write_report(hostile_study(make_study)).read_text(encoding="utf-8")
    frame = tmp_path / "frame.html"
    frame.write_text(
        f"""<meta charset=utf-8><p id=out></p><script>
        function look(d) {{ out.textContent = ["over", d.documentElement.scrollWidth - d.documentElement.clientWidth, "pwned", window.pwned,
            "h1", d.querySelector("h1").textContent.length].join(" "); }}
        </script><iframe onload="look(this.contentDocument)" style="width:390px;height:800px;border:0"
        srcdoc="{html.escape(page)}"></iframe>"""
    )
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += ["--disable-dev-shm-usage", f"--user-data-dir={tmp_path / 'profile'}"]
    dom = subprocess.run([*command, "--dump-dom", frame.as_uri()], capture_output=True, text=True, timeout=60).stdout
    assert re.findall("over -?[0-9]+ pwned [^<]*", dom) == [f"over 0 pwned  h1 {len(HOSTILE)}"]


def test_summary_has_every_method_and_finding(make_study):
    folder = make_study({"base": {"a": 1, "b": 9}, "grpo": {"a": 0, "b": 30}, "simko": {"a": 8, "b": 20}})
    study = read_study(folder)
    text = as_markdown(numbers(study))
    assert all(f"| {method} |" in text for method in ("base", "grpo", "simko"))
    for found in claims(study.sections[0]):
        assert f"- {found.status.capitalize()}: {found.claim}: {found.figures}" in text


def test_two_studies_of_one_title_are_told_apart(make_study, tmp_path):
    root = make_study({"base": spread(1, 9), "simko": spread(3, 20)})
    other = tmp_path.parent / f"{tmp_path.name}-other"
    shutil.copytree(root, other)
    page = tmp_path / "page.html"
    assert main(["report", str(root), str(other), "--to", str(page), "--figures", "svg"]) == 0
    _, tags = read(page)
    for number in (1, 2):
        assert f"GRPO and SimKO on small sums ({number}): small-sums at T=1" in tags.words
    assert len(list((tmp_path / "page-figures").iterdir())) == page.read_text().count("<figure>")
