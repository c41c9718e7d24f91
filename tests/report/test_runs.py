"""Evaluation runs compared: what is refused, what is counted, what the page and the terminal say."""

import json
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest

from simko.cli.main import main
from simko.evaluate import SampleStore, paired_difference, pass_at_k_curve
from simko.records import Problem, Sample, Verdict
from simko.report import read_sections, write_runs_page
from simko.report.results import as_json
from simko.report.runs import parse_group
from simko.report.words import claims, levels, notes

RECORD = {"backend": "b", "model": "m", "weights": "w", "temperature": 1.0, "top_p": 0.95, "problems_sha256": "x"}
HOSTILE = "<script>top.pwned=1</script>{{7*7}}\x00\u202e"


def write_run(
    folder: Path,
    chance: float,
    *,
    n=8,
    problems=20,
    task="sums",
    name="T=1",
    seed=0,
    record=None,
    verifier="math",
    response="so {}",
    outcomes=("wrong",),
    target=None,
    choices=10,
) -> Path:
    """A run whose problem i is solved with a chance around `chance`; wrong answers are 0..8."""
    rng = random.Random(f"{folder.name} {seed} {name}")
    given = [
        Problem(f"q{i:02d}", f"What is {i}?", "right", {"choices": choices} if choices else {}) for i in range(problems)
    ]
    samples, verdicts = [], []
    for problem in given:
        p = rng.betavariate(2 * chance, 2 - 2 * chance)
        for i in range(n):
            right = rng.random() < p
            answer = "right" if right else str(rng.randrange(9))
            outcome = "correct" if right else rng.choice(outcomes)
            samples.append(Sample(problem.id, i, response.format(answer), 10, "stop" if i else "length"))
            verdicts.append(Verdict(outcome, None if outcome == "unparsed" else answer))
    with SampleStore(folder / "samples.db") as store:
        setting = store.begin(task, name, RECORD | (record or {}), verifier, given, target or n)
        store.add(setting, samples, verdicts)
    return folder


def counts(folder: Path) -> dict[str, tuple[int, int]]:
    with SampleStore(folder / "samples.db", read_only=True) as store:
        return store.counts(store.settings()[0])


@pytest.fixture
def three(tmp_path: Path) -> list[str]:
    a, b, c = (write_run(tmp_path / name, p) for name, p in (("base", 0.2), ("s1", 0.5), ("s2", 0.6)))
    return [str(a), f"simko={b},{c}"]


def test_the_numbers_are_those_of_the_stores(tmp_path, three):
    (section,) = read_sections(three)
    base, seeds = counts(tmp_path / "base"), [counts(tmp_path / "s1"), counts(tmp_path / "s2")]
    assert (section.task, section.setting, section.problems, section.samples) == ("sums", "T=1", 20, 8)
    assert (section.ks, section.headline_k) == ((1, 2, 4, 8), 4)
    assert [side.name for side in section.sides] == ["base", "simko"]
    assert section.sides[1].curve == pass_at_k_curve(seeds, section.ks)
    (pair,) = section.pairs
    assert (pair.ours, pair.other) == ("simko", "base")
    assert pair.comparison == paired_difference(seeds, base, section.ks)
    assert pair.p_holm == pair.comparison.points[2].p
    assert section.sides[0].shares["truncated"] == 1 / 8
    assert section.guessing is not None
    assert section.guessing.values[0] == pytest.approx(0.1)


def test_p_is_adjusted_over_tasks_and_pairs(tmp_path):
    names = [str(write_run(tmp_path / name, p)) for name, p in (("a", 0.2), ("b", 0.5), ("c", 0.6))]
    for name, p in (("a", 0.3), ("b", 0.3), ("c", 0.9)):
        write_run(tmp_path / name, p, task="other")
    pairs = [pair for section in read_sections(names) for pair in section.pairs]
    raw = [next(d.p for d in pair.comparison.points if d.k == 4) for pair in pairs]
    ordered = sorted(range(6), key=lambda i: raw[i])
    expected, most = [0.0] * 6, 0.0
    for rank, i in enumerate(ordered):
        most = max(most, min(1.0, raw[i] * (6 - rank)))
        expected[i] = most
    assert [pair.p_holm for pair in pairs] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"record": {"top_p": 1.0}}, r"top_p is 0\.95 in base and 1\.0 in other"),
        ({"record": {"problems_sha256": "y"}, "problems": 19}, "problems_sha256 is 'x' in base and 'y' in other"),
        ({"verifier": "last_box"}, "verifier is 'math' in base and 'last_box' in other"),
        ({"name": "T=0.6"}, "no task and temperature in common"),
        ({"task": "else"}, "no task and temperature in common"),
    ],
)
def test_unlike_runs_are_refused_unless_told(tmp_path, changes, reason):
    base, other = write_run(tmp_path / "base", 0.2), write_run(tmp_path / "other", 0.5, **changes)
    with pytest.raises(ValueError, match=reason):
        read_sections([str(base), str(other)])
    if "in common" not in reason:
        (section,) = read_sections([str(base), str(other)], anyway=True)
        assert section.problems == changes.get("problems", 20)


def test_models_and_seeds_may_differ(tmp_path):
    base = write_run(tmp_path / "base", 0.2)
    other = write_run(tmp_path / "other", 0.5, record={"model": "x", "weights": "y", "dtype": "z", "seed": 7})
    assert read_sections([str(base), str(other)])


def test_bad_groups_are_refused(tmp_path, three):
    for groups, reason in (
        ([three[0], f"base={tmp_path}/s1"], "two groups are called 'base'"),
        (["=x"], "is no group"),
        (["a=x,,y"], "is no group"),
        ([str(tmp_path / "none")], "there is no file or folder"),
        ([three[0], f"again={three[0]}"], "given twice"),
        ([f"seeds={three[0]},{three[0]}"], "given twice"),
    ):
        with pytest.raises(ValueError, match=reason):
            read_sections(groups)


def test_a_run_without_samples_of_every_problem_is_not_shown(tmp_path):
    folder = write_run(tmp_path / "part", 0.5)
    with SampleStore(folder / "samples.db") as store:
        store.begin("begun", "T=1", RECORD, "math", [Problem("p", "", "1")], 8)
    assert [section.task for section in read_sections([str(folder)])] == ["sums"]
    with SampleStore(tmp_path / "new" / "samples.db") as store:
        store.begin("begun", "T=1", RECORD, "math", [Problem("p", "", "1")], 8)
    with pytest.raises(ValueError, match=r"no task with graded samples of every problem yet \(begun at T=1 begun\)"):
        read_sections([str(tmp_path / "new")])


def test_what_to_know_is_said(tmp_path):
    folder = write_run(tmp_path / "a", 0.3, outcomes=("wrong", "unparsed", "timeout", "error"), target=16)
    (section,) = read_sections([str(folder)])
    said = " ".join(notes(section))
    assert "n = 8 samples a problem: for K above 4 one lucky sample can decide a problem" in said
    assert "Guessing alone solves 10.0 % at K = 1" in said
    assert "20 problems lack samples" in said
    for words in ("cut off at the length limit", "hold no answer", "exhausted the grader’s limits", "by our own fault"):
        assert words in said
    side = section.sides[0]
    assert side.errors_as_correct is not None
    assert side.errors_as_correct.points[2].estimate > side.curve.points[2].estimate
    errors = sum(1 for _ in re.finditer("could not be graded", said))
    assert errors == 1


def test_a_clean_run_has_little_to_say(tmp_path):
    folder = write_run(tmp_path / "a", 0.3, choices=None)
    (section,) = read_sections([str(folder)])
    clean = replace(section.sides[0], shares=dict.fromkeys(section.sides[0].shares, 0.0))
    assert len(notes(replace(section, sides=(clean,)))) == 1
    assert levels(section)[0].startswith("a: pass@1 ")


@pytest.mark.parametrize("choices", [["red", "blue"], "4", 0, 2.5])
def test_choices_that_are_no_number_of_them_draw_no_guessing_line(tmp_path, choices):
    folder = write_run(tmp_path / "a", 0.3, choices=choices)
    (section,) = read_sections([str(folder)])
    assert section.guessing is None


def test_the_page_is_self_contained_and_escapes_what_models_say(tmp_path):
    a = write_run(
        tmp_path / "a", 0.3, response=HOSTILE.replace("{", "{{").replace("}", "}}") + " {}", task=f"t{HOSTILE}"
    )
    b = write_run(tmp_path / "b", 0.6, task=f"t{HOSTILE}", record={"model": HOSTILE})
    page = write_runs_page(read_sections([str(a), str(b)]), tmp_path / "page.html").read_text()
    assert page.count("<script") == 1
    assert "{{7*7}}" in page
    assert "\x00" not in page
    assert "\u202e" not in page
    assert "://" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", page)
    assert page.count("<svg") == page.count("</svg>") == 6


def test_a_sweep_stands_side_by_side(tmp_path):
    for temperature in (0.2, 1.0):
        write_run(tmp_path / "a", 0.5, name=f"T={temperature:g}", record={"temperature": temperature})
    sections = read_sections([str(tmp_path / "a")])
    assert [section.setting for section in sections] == ["T=0.2", "T=1"]
    assert "sums by temperature" in write_runs_page(sections, tmp_path / "page.html").read_text()


def test_the_command_prints_writes_and_refuses(tmp_path, three, capsys):
    page, numbers = tmp_path / "out" / "c.html", tmp_path / "c.json"
    assert main(["compare", *three, "--html", str(page), "--json", str(numbers)]) == 0
    printed = capsys.readouterr().out
    assert "simko − base" in printed
    assert "cross up to K = 4" in printed
    assert "sums at T=1" in page.read_text()
    (row,) = json.loads(numbers.read_text())
    (section,) = read_sections(three)
    assert row["sides"]["simko"]["pass@k"]["4"][0] == section.sides[1].curve.points[2].estimate
    assert main(["report", three[0]]) == 0
    assert (Path(three[0]) / "report.html").is_file()
    assert main(["compare", three[0]]) == 2
    assert "at least two runs" in capsys.readouterr().err


def test_unequal_n_is_said_and_solved_problems_are_not_compared(tmp_path):
    few, many = write_run(tmp_path / "few", 0.1, n=4), write_run(tmp_path / "many", 0.1, n=16)
    sections = read_sections([str(few), str(many)])
    assert (sections[0].samples, sections[0].most_samples, sections[0].sides[0].entropy) == (4, 16, None)
    assert "n is not the same for all: 4 to 16 samples a problem" in " ".join(notes(sections[0]))
    page = write_runs_page(sections, tmp_path / "page.html").read_text()
    assert "newly solved," not in page
    assert json.loads(as_json(sections))[0]["pairs"][0]["newly_solved"] is None
    equal = read_sections([str(few), str(write_run(tmp_path / "other", 0.5, n=4))])
    assert "newly solved," in write_runs_page(equal, tmp_path / "page.html").read_text()


def test_one_sample_a_problem_is_compared_without_a_crossing(tmp_path):
    a, b = write_run(tmp_path / "a", 0.3, n=1), write_run(tmp_path / "b", 0.6, n=1)
    (section,) = read_sections([str(a), str(b)])
    assert section.pairs[0].crossing is None
    assert [d.k for d in section.pairs[0].comparison.points] == [1]
    assert "cross" not in " ".join(claim.figures for claim in claims(section))


def test_a_page_that_cannot_be_written_is_one_clear_line(tmp_path, capsys):
    run = write_run(tmp_path / "a", 0.5)
    (tmp_path / "file").write_text("")
    assert main(["report", str(run), "--to", str(tmp_path / "file" / "page.html")]) == 2
    assert "page.html cannot be written" in capsys.readouterr().err
    assert main(["report", str(run), "--to", str(tmp_path / "page.html")]) == 0


@pytest.mark.parametrize("name", ["lr=1e-6", "a=b=c", "x@0.3", "x@step=4", "@", "=x"])
def test_a_run_is_found_whatever_its_directory_is_called(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_run(Path(name), 0.3)
    for words in (name, f"{name}@T=1", f"{name}@1", f"mine={name}", f"mine={name}@1"):
        group = parse_group(words)
        assert group.runs[0].path == Path(name), words
        assert group.runs[0].marks == tuple(re.findall("@(T=1|1)$", words)), words
        assert (group.name == "mine") == words.startswith("mine=")
