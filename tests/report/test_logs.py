"""Logs of training runs that are damaged: what is left out of a page is said with its number."""

import json
import random

import pytest
from test_training_pages import copy, report

from simko.report.study import read_log

GOOD = [json.dumps({"step": step, "loss": 0.5, "reward": 0.1}) for step in range(1, 9)]
BAD = ["{", "5", "[1]", "null", '"x"', '{"step": 3, "lo', "garbage", '{"loss": 1}', '{"step": null}', '{"step": "a"}', '{"step": NaN}', '{"step": true}', '{"step": 1' + 400 * "0" + "}", '{"step": 1e200}', 9999 * "[", '{"step": 2, "entropy_histogram": {}}', '{"step": 2, "entropy_histogram": 4}', '{"step": 2, "entropy_histogram": {"edges": [0, 1], "share": ["a"]}}', '{"step": 2, "concentration": 3}', '{"step": 2, "gated_rank_probability": ["x"]}', "\x00\x00", '{"step": 1}}', "\udcff\udcfe"]  # fmt: skip


def said_of(tmp_path, text: str) -> tuple[list, list[str]]:
    path = tmp_path / "metrics.jsonl"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    log = read_log(path)
    return [row["step"] for row in log.rows], list(log.faults)


@pytest.mark.parametrize("seed", range(20))
def test_bad_lines_are_left_out_and_counted(tmp_path, seed):
    """Any number of bad lines, anywhere."""
    draw = random.Random(seed)
    lines, bad = list(GOOD), draw.choices(BAD, k=draw.randint(1, 5))
    for line in bad:
        lines.insert(draw.randint(0, len(lines)), line)
    first = next(i for i, line in enumerate(lines, start=1) if line not in GOOD)
    steps, faults = said_of(tmp_path, "\n".join(lines) + "\n")
    assert steps == list(range(1, 9))
    count = "1 line of" if len(bad) == 1 else f"{len(bad)} lines of"
    assert [f.startswith(f"{count} metrics.jsonl, the first of them line {first}, ") for f in faults] == [True]


@pytest.mark.parametrize("cut", range(1, 40, 4))
def test_a_last_line_that_is_cut_is_normal_and_said(tmp_path, cut):
    steps, faults = said_of(tmp_path, "\n".join(GOOD)[:-cut])
    assert steps == list(range(1, 8))
    assert faults == ["the last line of metrics.jsonl is cut off, as while it is written or after a kill."]


def test_a_whole_log_has_no_faults(tmp_path):
    for text in ("\n".join(GOOD), "\n".join(GOOD) + "\n", "\n\n".join(GOOD) + "\n\n", ""):
        steps, faults = said_of(tmp_path, text)
        assert (steps, faults) == (list(range(1, 9)) if text else [], [])


@pytest.mark.parametrize(
    "value", ["NaN", "Infinity", "-Infinity", "1e308", "-1" + 400 * "0", "[0.5, NaN]", '{"share": [NaN]}']
)
def test_values_that_are_no_numbers_are_said(tmp_path, value):
    lines = [*GOOD, *(f'{{"step": {step}, "reward": {value}, "loss": 1.0}}' for step in (9, 10))]
    steps, faults = said_of(tmp_path, "\n".join(lines) + "\n")
    assert steps == list(range(1, 11))
    assert faults == [
        "2 values of metrics.jsonl, the first of them reward at step 9, are NaN, infinite or too large to draw: gaps "
        "in the charts."
    ]


@pytest.mark.parametrize("name", ["metrics.jsonl", "diagnostics.jsonl"])
def test_the_page_says_it(trained, tmp_path, name):
    run = copy(trained / "simko", tmp_path / "run")
    whole = (run / name).read_text()
    assert name not in report(run, to=tmp_path / "page.html").partition("What was run")[0]
    (run / name).write_text("{oops\n" + whole + json.dumps({"step": 4, "entropy": float("nan")}) + '\n{"st')
    said = report(run, to=tmp_path / "page.html")
    assert f"Run run: 1 line of {name}, the first of them line 1, is left out" in said
    assert f"Run run: the last line of {name} is cut off" in said
    assert (
        f"Run run: 1 value of {name}, the first of them entropy at step 4, is NaN, infinite or too large to draw"
        in said
    )
