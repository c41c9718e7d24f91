"""`simko methods`, and docs/methods.md, which it writes."""

import json
from pathlib import Path

import pytest

from simko.cli.main import main
from simko.cli.methods import markdown, read_toy
from simko.objectives import METHODS

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_on_disk_is_what_the_table_says_now():
    """Else: simko methods --markdown > docs/methods.md"""
    written = (DOCS / "methods.md").read_text(encoding="utf-8")
    assert written == markdown(read_toy(DOCS / "results" / "toy.json"))


def test_a_line_a_method(capsys):
    assert main(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(METHODS)
    for line, method in zip(lines, METHODS.values(), strict=True):
        assert method.arxiv in line
        assert method.summary in line
        assert all(option in line for option in method.options)


def test_one_method_in_full(capsys):
    for method in METHODS.values():
        assert main(["methods", method.name]) == 0
        text = " ".join(capsys.readouterr().out.split())
        for part in (method.title, method.arxiv, method.summary, method.formula, method.note, method.edges):
            assert " ".join(part.split()) in text
        assert all(option in text for option in method.options)
    main(["methods", "pkpo"])
    assert "k required number of responses of which the best counts" in " ".join(capsys.readouterr().out.split())


def test_an_unknown_one_names_those_there_are(capsys):
    assert main(["methods", "ppo"]) == 2
    assert "unknown method 'ppo': choose from grpo, dr_grpo" in capsys.readouterr().err


def test_the_toy_s_results_are_columns_where_there_are_any(tmp_path, capsys):
    assert main(["methods", "--markdown", "--toy", str(tmp_path / "toy.json")]) == 0
    assert "| method | source | what it does | options |\n" in capsys.readouterr().out
    path = tmp_path / "toy.json"
    path.write_text(json.dumps({"simko": {"modes": 5.96, "accuracy": 0.998, "entropy": 1.7, "modes_interval": [5, 6]}}))
    assert main(["methods", "--markdown", "--toy", str(path)]) == 0
    page = capsys.readouterr().out
    assert "| options | modes | accuracy | entropy |\n" in page
    (row,) = [line for line in page.splitlines() if line.startswith("| [simko](#simko) ")]
    assert row.endswith("| 6.0 | 1.00 | 1.70 |")
    (row,) = [line for line in page.splitlines() if line.startswith("| [nsr](#nsr) ")]
    assert row.endswith("|  |  |  |")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_section(name):
    assert f"\n## {name}\n" in markdown({})
