"""`simko report` on real training runs: one, several, and runs that lack something."""

import json
import re
import shutil
import sqlite3
from html.parser import HTMLParser
from pathlib import Path

import pytest

from simko.cli.main import main
from simko.evaluate import SampleStore, pass_at_k_curve
from simko.report.progress import logged_charts
from simko.report.runs import parse_group
from simko.report.training import read_training


def text_of(page: Path) -> str:
    """What a reader sees, spaces made single."""
    words: list[str] = []
    parser = HTMLParser()
    parser.handle_data = words.append
    parser.feed(page.read_text(encoding="utf-8"))
    return " ".join(" ".join(words).split())


def report(*words, to: Path) -> str:
    assert main(["report", *map(str, words), "--to", str(to)]) == 0
    return text_of(to)


def refusal(words, capsys) -> str:
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def copy(run: Path, to: Path, *without: str) -> Path:
    shutil.copytree(run, to)
    for name in without:
        path = to / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return to


def steps_of(run: Path) -> dict[int, dict[str, tuple[int, int]]]:
    with SampleStore(run / "held-out" / "samples.db", read_only=True) as store:
        return {s.record["step"]: store.counts(s) for s in store.settings()}


def test_a_run_has_a_page_of_its_own(trained, tmp_path, capsys):
    run = copy(trained / "simko", tmp_path / "mine")
    assert main(["report", str(run)]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == str(run / "report.html")
    words = text_of(run / "report.html")
    for heading in ("Training of mine", "Over training", "Concentration", "Answers", "Versions", "Base model"):
        assert heading in words
    point = pass_at_k_curve([steps_of(run)[4]], [1, 2, 4]).points[2]
    assert f"{100 * point.estimate:.1f} " in printed
    assert f"{100 * point.low:.1f} – {100 * point.high:.1f}" in printed
    assert "What is missing" not in words
    assert "Only one method" not in words


def test_several_runs_stand_side_by_side_with_their_seeds(trained, tmp_path):
    groups = [f"grpo={trained}/grpo", f"simko={trained}/simko,{trained}/seven", f"nsr={trained}/nsr"]
    words = report(*groups, to=tmp_path / "page.html")
    for expected in ("simko − grpo", "simko − nsr", "simko − base", "simko, seven", "Trained models at step 4"):
        assert expected in words
    study = read_training([parse_group(group) for group in groups])
    (section,) = study.sections
    counts = {side.name: [e.counts for e in side.evaluations] for side in section.sides}
    assert list(counts) == ["base", "grpo", "nsr", "simko"]
    assert counts["simko"] == [steps_of(trained / name)[4] for name in ("simko", "seven")]
    assert counts["base"] == [steps_of(trained / name)[0] for name in ("grpo", "seven")]


def test_a_run_called_base_is_not_taken_for_the_base_model(trained, tmp_path):
    words = report(f"base={trained}/grpo", f"ours={trained}/nsr", to=tmp_path / "page.html")
    assert "base run − base" in words
    study = read_training([parse_group(f"base={trained}/grpo"), parse_group(f"ours={trained}/nsr")])
    sides = {side.name: side.evaluations[0].counts for side in study.sections[0].sides}
    assert sides["base run"] == steps_of(trained / "grpo")[4]
    assert sides["base"] == steps_of(trained / "grpo")[0]


def test_a_run_of_one_step_without_held_out_problems_or_probes(trained, tmp_path):
    words = report(trained / "plain", to=tmp_path / "page.html")
    assert "Run plain has no probes." in words
    assert "Run plain has no held-out problems, so no pass@K: set passk_every to measure it." in words
    assert "Mean reward of the sampled responses" in words
    assert "simko/" not in words


@pytest.mark.parametrize("lacking", ["config.json", "versions.json", "metrics.jsonl", "diagnostics.jsonl", "held-out"])
def test_what_a_run_lacks_is_said(trained, tmp_path, lacking):
    run = copy(trained / "simko", tmp_path / "run", lacking)
    labels = {
        "config.json": "no configuration",
        "versions.json": "no versions",
        "metrics.jsonl": "no training log",
        "diagnostics.jsonl": "no probes",
        "held-out": "no held-out problems",
    }
    assert labels[lacking] in report(run, to=tmp_path / "page.html")


def test_a_run_that_has_only_begun(trained, tmp_path):
    run = tmp_path / "begun"
    run.mkdir()
    for name in ("config.json", "versions.json"):
        shutil.copy(trained / "simko" / name, run)
    assert "Run begun has no training log, no probes." in report(run, to=tmp_path / "page.html")


def test_a_run_that_was_killed_in_the_middle_of_a_line(trained, tmp_path):
    run = copy(trained / "simko", tmp_path / "run")
    rows = [row for row in (run / "metrics.jsonl").read_text().splitlines() if json.loads(row)["step"] < 3]
    (run / "metrics.jsonl").write_text("\n".join(rows) + '\n{"step": 3, "lo')
    with SampleStore(run / "held-out" / "samples.db") as store, store._transaction():
        last = next(s for s in store.settings() if s.record["step"] == 4)
        store._db.execute("DELETE FROM samples WHERE setting = ? AND sample > 3", (last.id,))
    words = report(run, to=tmp_path / "page.html")
    assert "Run run has logged up to step 2 of 4: it is still running, or was stopped." in words
    assert "Run run has not finished pass@K at step=4, T=1, so that is left out." in words
    assert "Trained models at step 2" in words


@pytest.mark.parametrize("name", ["config.json", "versions.json"])
@pytest.mark.parametrize("broken", [b"{", b"5", b"\xff\xfe", b"[[1]]"])
def test_a_broken_file_of_a_run_is_named(trained, tmp_path, capsys, name, broken):
    run = copy(trained / "plain", tmp_path / "run")
    (run / name).write_bytes(broken + b"\n" + broken)
    said = refusal(["report", run], capsys)
    assert f"{run}/{name}" in said
    assert not (run / "report.html").exists()


def test_other_held_out_problems_cannot_be_paired(trained, tmp_path, tiny_base):
    from page_runs import held_out, train_run

    words = held_out(tmp_path / "held.jsonl")
    (tmp_path / "held.jsonl").write_text('{"prompt": "9 9 =", "answer": "9"}\n')
    train_run(tiny_base, tmp_path / "other", "simko", 2, *words)
    said = report(f"a={trained}/simko", f"b={tmp_path}/other", to=tmp_path / "page.html")
    assert "The held-out problems of run b are left out, as they differ: problems_sha256 is" in said


def test_an_evaluation_in_the_directory_of_a_training_run_is_named(trained, tmp_path, capsys):
    run = copy(trained / "simko", tmp_path / "run")
    shutil.copy(run / "held-out" / "samples.db", run)
    assert f"simko report {run}/samples.db shows it" in report(run, to=run / "report.html")
    assert main(["report", str(run / "samples.db")]) == 0
    assert "Training of run" in text_of(run / "report.html")
    assert "held-out at step=4" in text_of(run / "samples.html")


def metrics(run: Path, change) -> Path:
    rows = [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()]
    (run / "metrics.jsonl").write_text("".join(json.dumps(change(row)) + "\n" for row in rows))
    return run


@pytest.mark.parametrize("absent", ["left out", None, float("nan")])
def test_what_was_not_counted_is_a_gap_and_no_zero(trained, tmp_path, absent):
    run = copy(trained / "simko", tmp_path / "run")
    values = {1: 0.69, 2: 0.7, 3: absent, 4: 0.71}

    def change(row):
        if "loss" not in row:
            return row
        value = values[row["step"]]
        return {k: v for k, v in row.items() if k != "entropy"} | ({} if value == "left out" else {"entropy": value})

    content = read_training([parse_group(str(metrics(run, change)))])
    charts = {chart.label: chart for chart in logged_charts(content.runs, content.names)}
    drawn = charts["training: entropy"].svg
    (line,) = re.findall(r'<path d="([^"]*)"[^>]*stroke-width: 1.8', drawn)
    assert re.sub("[^A-Z]", "", line) == "MLM"  # steps 1 and 2, and no line on to step 4
    assert drawn.count("<use") == 1  # which is a dot


def captions_of(run: Path) -> list[str]:
    content = read_training([parse_group(str(run))])
    return [chart.caption for chart in logged_charts(content.runs, content.names)]


def test_raised_and_penalised_shares_have_plots_and_words_of_their_own(trained, tmp_path):
    def change(row):
        return row | ({"simko/raised": 0.04, "simko/penalised": 0.01, "simko/gated": 0.2} if "loss" in row else {})

    run = metrics(copy(trained / "simko", tmp_path / "run"), change)
    captions = captions_of(run)
    for name in ("simko/gated", "simko/raised", "simko/penalised"):
        assert sum(f"({name})" in caption for caption in captions) == 1
    (gated,) = [caption for caption in captions if "simko/gated" in caption]
    assert "rais" not in gated
    (raised,) = [caption for caption in captions if "simko/raised" in caption]
    assert "better than its group" in raised


def test_what_every_method_logs_is_drawn_for_every_method(trained):
    for name in ("grpo", "nsr"):
        captions = " ".join(captions_of(trained / name))
        for metric in ("Mean reward", "Mean entropy", "groups/mixed", "completions/mean_length"):
            assert metric in captions
        assert "simko/" not in captions


def test_the_callbacks_store_opens_with_pass_at_k_over_steps(trained, tmp_path, capsys):
    store = tmp_path / "any-name.db"
    shutil.copy(trained / "simko" / "held-out" / "samples.db", store)
    assert main(["report", str(store)]) == 0
    printed = capsys.readouterr().out
    assert "any-name.db" in printed
    assert "pass@4" in printed
    page = tmp_path / "any-name.html"
    words = text_of(page)
    assert "by temperature" not in words
    assert "held-out at step=4, T=1" in words
    assert page.read_text().count("over training: any-name.db from") == 2
    for counts in steps_of(trained / "simko").values():
        assert f"{100 * pass_at_k_curve([counts], [1]).points[0].estimate:.1f} % (" in words
    assert main(["report", str(trained / "simko" / "held-out"), "--to", str(page)]) == 0
    assert "Over training" in text_of(page)


def test_training_runs_are_compared_at_their_last_common_step_or_the_one_chosen(trained, tmp_path, capsys):
    numbers = tmp_path / "numbers.json"
    both = [f"a={trained}/grpo", f"b={trained}/simko"]
    assert main(["compare", *both, "--json", str(numbers)]) == 0
    (row,) = json.loads(numbers.read_text())
    assert row["setting"] == "step=4, T=1"
    assert list(row["over_steps"]["b"]) == ["0", "2", "4"]
    for words, steps in (
        ([f"{both[0]}@step=2", f"{both[1]}@step=2"], (2, 2)),
        ([f"{both[0]}@step=0", both[1]], (0, 4)),
        ([f"a={trained}/simko@step=0", f"b={trained}/simko@step=4"], (0, 4)),
    ):
        assert main(["compare", *words, "--json", str(numbers)]) == 0
        (row,) = json.loads(numbers.read_text())
        assert row["over_steps"] == {}
        for (name, side), step in zip(row["sides"].items(), steps, strict=True):
            counts = steps_of(Path(side["runs"][0]))[step]
            assert side["pass@k"]["1"][0] == pass_at_k_curve([counts], [1]).points[0].estimate, name
    assert "held-out at step=0, T=1, held-out at step=2, T=1" in refusal(
        ["compare", f"{both[0]}@step=3", both[1]], capsys
    )
    for name, step in (("early", 0), ("late", 4)):
        run = copy(trained / "simko", tmp_path / name)
        with sqlite3.connect(run / "held-out" / "samples.db") as db:
            db.execute("DELETE FROM settings WHERE name <> ?", (f"step={step}, T=1",))
    said = refusal(["compare", tmp_path / "early", tmp_path / "late"], capsys)
    assert "no training step of held-out in common (early: held-out at step=0, T=1; late" in said
    assert "no temperature and no step" in refusal(["compare", f"{both[0]}@step=x", both[1]], capsys)


def test_runs_that_do_not_go_together_are_one_line(trained, tmp_path, capsys, tiny_base):
    assert "--to page.html" in refusal(["report", f"a={trained}/grpo", f"b={trained}/nsr"], capsys)
    to = ["--to", tmp_path / "page.html"]
    assert "given twice" in refusal(["report", f"a={trained}/grpo", f"b={trained}/grpo", *to], capsys)
    mixed = f"a={trained}/grpo,{trained}/nsr/held-out"
    assert "mixes training and evaluation" in refusal(["report", mixed, *to], capsys)
    assert "shows every step" in refusal(["report", f"{trained}/grpo@step=2", *to], capsys)
    for command in (["report"], ["audit"], ["export", *to]):
        assert "there is no file or folder" in refusal([*command, tmp_path / "none"], capsys)
    said = refusal(["report", tiny_base], capsys)
    for words in ("no study", "no training run", "no evaluation", "metrics.jsonl"):
        assert words in said
    assert "holds no samples" in refusal(["compare", f"a={trained}/plain", f"b={trained}/nsr"], capsys)
    assert not (tmp_path / "page.html").exists()


def test_what_a_training_run_measured_is_exported_and_audited_too(trained, tmp_path, capsys):
    run = copy(trained / "simko", tmp_path / "run")
    assert main(["export", str(run), "--to", str(tmp_path / "samples.jsonl")]) == 0
    with SampleStore(run / "held-out" / "samples.db", read_only=True) as store:
        drawn = sum(n for setting in store.settings() for n, _ in store.counts(setting).values())
    assert len((tmp_path / "samples.jsonl").read_text().splitlines()) == drawn > 0
    assert main(["audit", str(run), "--verifier", "last_integer", "--apply"]) == 0
    assert "verdicts differ" in capsys.readouterr().out
    assert not (run / "samples.db").exists()


def test_an_evaluation_beside_a_training_run_does_not_hide_its_steps(trained, tmp_path, capsys):
    run = copy(trained / "simko", tmp_path / "run")
    (run / "samples.db").write_bytes((run / "held-out" / "samples.db").read_bytes())
    with sqlite3.connect(run / "samples.db") as db:
        db.execute("UPDATE settings SET name = 'T=1' WHERE name = 'step=4, T=1'")
        db.execute("DELETE FROM settings WHERE name <> 'T=1'")
    said = refusal(["compare", f"a={run}@step=0", f"b={run}@step=4"], capsys)
    assert f"what it measured during training is {run}/held-out" in said
    assert main(["compare", f"a={run}/held-out@step=0", f"b={run}/held-out@step=4"]) == 0


@pytest.mark.parametrize("step", [None, "a", float("nan"), [1], {}])
@pytest.mark.parametrize("name", ["metrics.jsonl", "diagnostics.jsonl"])
@pytest.mark.few(3)
def test_a_line_without_a_number_for_its_step_is_left_out_and_said(trained, tmp_path, name, step):
    run = copy(trained / "simko", tmp_path / "run")
    with (run / name).open("a") as file:
        file.write(json.dumps({"step": step, "loss": 1.0}) + "\n")
    number = len((run / name).read_text().splitlines())
    assert f"Run run: 1 line of {name}, the first of them line {number}, is left out" in report(
        run, to=tmp_path / "page.html"
    )


@pytest.mark.parametrize("name", ["metrics.jsonl", "diagnostics.jsonl"])
@pytest.mark.parametrize("broken", [b"{", b"5", b"\xff\xfe", b"[[1]]"])
@pytest.mark.few(3)
def test_a_log_of_which_nothing_can_be_read_is_said(trained, tmp_path, name, broken):
    run = copy(trained / "plain", tmp_path / "run")
    (run / name).write_bytes(broken + b"\n" + broken)
    words = report(run, to=tmp_path / "page.html")
    assert f"Run run: 1 line of {name}, the first of them line 1, is left out" in words
    assert f"the last line of {name} is cut off" in words


@pytest.mark.parametrize("wanted", [None, "ten"])
def test_a_length_that_is_none_is_not_known(trained, tmp_path, wanted):
    run = copy(trained / "simko", tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"max_steps": wanted}))
    assert "Training of run" in report(run, to=tmp_path / "page.html")
