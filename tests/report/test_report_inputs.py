"""What `simko report` and its kin are given: names, files of other kinds, places whose names say another format."""

import shutil

import pytest
from page_text import spread
from test_diagnosis import PLAIN, write_records
from test_runs import write_run

from simko.cli.main import main
from simko.report import read_content
from simko.scoring import summarise_records


def refusal(capsys, *words) -> str:
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.fixture
def study(make_study):
    return make_study({"base": spread(1, 9), "simko": spread(3, 20)})


@pytest.fixture
def diagnosis(tmp_path):
    records = write_records(tmp_path / "records", ["base"], PLAIN)
    summarise_records(records)
    return records


def test_a_name_is_that_of_what_it_is_given_to(study, diagnosis, tmp_path):
    store = write_run(tmp_path / "store", 0.5, n=4)
    assert read_content([f"mine={study}"]).title.startswith("mine: ")
    assert read_content([f"mine={diagnosis}"]).title == "mine: where the probability gathers: base"
    assert read_content([str(diagnosis)]).title == "Where the probability gathers: base"
    assert read_content([f"mine={store}"]).title == "mine"
    page = tmp_path / "page.html"
    assert main(["report", f"a={study}", f"b={diagnosis}", f"c={store}", "--to", str(page)]) == 0
    html = page.read_text()
    for words in ("a: ", "b: where the probability gathers: base", "c: "):
        assert f">{words}" in html


def test_what_cannot_be_honoured_is_refused(study, diagnosis, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(diagnosis, other)
    to = ("--to", tmp_path / "page.html")
    assert "no training seeds" in refusal(capsys, "report", f"a={diagnosis},{other}", *to)
    for given in (study, diagnosis):
        assert "is shown whole: leave @0.6 out" in refusal(capsys, "report", f"{given}@0.6", *to)
        assert "is shown whole: leave @step=3 out" in refusal(capsys, "report", f"a={given}@step=3", *to)
        assert "is given twice" in refusal(capsys, "report", f"a={given}", f"b={given}", *to)
    assert not to[1].exists()


@pytest.mark.parametrize("name", ["page.html", "rows.jsonl", "notes.txt", "recipe.yaml", "store", "numbers.parquet"])
@pytest.mark.parametrize("command", ["report", "watch", "export", "audit", "compare", "diagnose"])
def test_a_file_of_another_kind_is_named_with_what_is_taken(tmp_path, capsys, name, command):
    file = tmp_path / name
    file.write_text("<!doctype html>")
    words = {
        "export": [file, "--to", tmp_path / "out.jsonl"],
        "compare": [f"a={file}", f"b={file}"],
        "diagnose": ["--model", "m=x", "--samples", file, "--out", tmp_path / "out.html"],
    }
    if command == "diagnose" and name.endswith((".jsonl", ".parquet")):
        pytest.skip("a file of responses")
    line = refusal(capsys, command, *words.get(command, [file]))
    kind = file.suffix or "plain"
    assert f"{file} is a {kind} file" in line
    assert "simko evaluate" in line or "train, evaluate or grade" in line
    assert "SQLite" not in line


def test_a_damaged_store_is_still_one(tmp_path, capsys):
    store = write_run(tmp_path / "store", 0.5, n=4) / "samples.db"
    store.write_bytes(b"xx" + store.read_bytes()[2:])
    assert f"{store} is no SQLite file: restore it" in refusal(capsys, "report", store)


@pytest.mark.parametrize(
    ("command", "option", "place"),
    [
        ("report", "--to", "x.md"),
        ("report", "--to", "x.pdf"),
        ("report", "--to", "x"),
        ("report --format html", "--to", "x.MD"),
        ("report --format md", "--to", "x.html"),
        ("report --format md", "--to", "x.txt"),
        ("compare", "--html", "x.md"),
        ("compare", "--html", "x.json"),
        ("compare", "--json", "x.html"),
        ("compare", "--json", "x.jsonl"),
        ("diagnose", "--out", "x.md"),
        ("diagnose", "--out", "x.records"),
        ("audit", "--to", "x.parquet"),
        ("audit", "--to", "x.json"),
        ("export", "--to", "x.html"),
    ],
)
def test_a_place_whose_name_says_another_format_is_refused(tmp_path, capsys, command, option, place):
    runs = [write_run(tmp_path / name, 0.5, n=4) for name in ("a", "b")]
    command, *more = command.split()
    given = {"report": runs[:1], "audit": runs[:1], "export": runs[:1], "diagnose": []}.get(command, runs)
    line = refusal(capsys, command, *given, *more, option, tmp_path / place)
    assert place in line
    assert "ends in ." in line
    assert not (tmp_path / place).exists()


@pytest.mark.parametrize("place", ["x.html", "x.HTM", "x.md", "x.markdown"])
def test_a_place_whose_name_fits_is_written(tmp_path, place):
    run, to = write_run(tmp_path / "a", 0.5, n=4), tmp_path / place
    form = "html" if place[2] in "hH" else "md"
    assert main(["report", str(run), "--format", form, "--to", str(to)]) == 0
    assert to.read_text().startswith("<!doctype html>") == (form == "html")
