"""The recipes, rows and configurations on the pages, read by what reads them in a run."""

import json
import re
import shlex
from pathlib import Path

import pytest
from doc_blocks import PAGES, ROOT, Block, blocks, read

from simko.cli.main import main
from simko.objectives import METHODS
from simko.tasks import file_task
from simko.training.recipe import parse_recipe
from simko.training.recipe_file import read_yaml

LANGUAGES = {"python", "sh", "yaml", "json", "diff", "text"}
YAML = [block for page in PAGES for block in blocks(page, "yaml")]
BASE = {"model_name_or_path": "model", "train_file": "sums.jsonl", "verifier": "last_integer", "output_dir": "runs/run"}
BATCH = {"docs/papers.md": {"per_device_train_batch_size": 64}}  # whole groups, which the page says the reader gives


def test_every_block_has_a_language_that_is_checked():
    assert {block.language for page in PAGES for block in blocks(page)} <= LANGUAGES


@pytest.mark.parametrize("block", YAML, ids=lambda block: block.place)
def test_yaml(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("judge.py").write_text("def right(response, problem):\n    return True\n")
    check_yaml(block)


def check_yaml(block: Block) -> None:
    file = Path("block.yaml")
    file.write_text(block.text)
    found = read_yaml(file)
    if block.page == "docs/slime.md":
        options = dict(found["simko"])
        METHODS[options.pop("method")].with_options(**options)
    elif block.page.endswith("_tables.md"):  # the protocol of a study
        assert {method["row"] for method in found["methods"].values()} <= METHODS.keys()
    else:
        base = {name: value for name, value in BASE.items() if name != "train_file" or "task" not in found}
        parse_recipe(file, base | BATCH.get(block.page, {}) | found).verifier("verifier", "last_integer")


@pytest.mark.parametrize("wrong", ["methd: simko", "method: simkoo", "simko_alpha: 2", "method: pkpo"])
def test_a_wrong_recipe_is_found(wrong, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"methd|simkoo|alpha|\bk\b"):
        check_yaml(Block("docs/training.md", 1, "yaml", wrong))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "json")])
def test_rows_are_read_as_problems_or_responses(page, tmp_path, capsys):
    for block in blocks(page, "json"):
        rows = [json.loads(line) for line in block.text.splitlines()]
        file = tmp_path / "rows.jsonl"
        file.write_text(block.text)
        if "responses" in rows[-1]:
            assert main(["grade", str(file), "--verifier", "math", "--out", str(tmp_path / "run")]) == 0
            assert "75.0" in capsys.readouterr().out  # of two problems, one half right
        else:
            assert [p.answer for p in file_task(file, "last_integer").load("test")] == [row["answer"] for row in rows]


def test_slime_s_flags_name_functions_of_ours():
    (block,) = blocks("docs/slime.md", "diff")
    words = shlex.split(" ".join(line.removeprefix("+") for line in block.text.splitlines()))
    named = [word for word in words if re.match(r"simko\..*\.", word)]
    assert len(named) == 2
    for place in named:  # importing them needs megatron
        module, _, function = place.rpartition(".")
        source = ROOT.joinpath("src", *module.split(".")).with_suffix(".py").read_text(encoding="utf-8")
        assert f"\ndef {function}(" in source


def test_the_index_of_papers_has_every_paper_and_row():
    """In the paper's own section."""
    sections = dict(re.findall(r"^### ([\d.]+): (.*?)(?=^##|\Z)", read("docs/papers.md"), re.MULTILINE | re.DOTALL))
    assert set(sections) == {method.arxiv for method in METHODS.values()}
    for method in METHODS.values():
        assert f"(methods.md#{method.name})" in sections[method.arxiv]
    trained = {name for block in blocks("docs/papers.md", "yaml") for name in re.findall(r"\w+", block.text)}
    assert set(METHODS) - trained == {"simko_adaptive", "simko_by_success", "simko_adaptive_by_success"}
