"""docs/questions.md claims nothing that the page it names does not hold."""

import re

import pytest
from doc_blocks import read

QUESTIONS = read("docs/questions.md")
PARAGRAPHS = [text for text in re.split(r"\n\n|\n(?=- )", QUESTIONS) if not text.startswith("|")]
MEASURED = [text for text in PARAGRAPHS if re.search(r"\d\.\d", text) and "arxiv.org" not in text]


def numbers(text: str) -> set[str]:
    """The decimals in a text, but for the pages' names and those of versions."""
    return set(re.findall(r"(?<![\w.])\d*\.\d+(?![\w.]*\w)|\d+e-\d+", re.sub(r"\]\([^)]*\)|`[^`]*`", "", text)))


@pytest.mark.parametrize("text", MEASURED, ids=lambda text: " ".join(text.split()[:6]))
def test_every_figure_stands_on_a_page_that_is_linked_beside_it(text):
    pages = re.findall(r"\]\((results/\w+\.md)", text)
    held = " ".join(read(f"docs/{page}") for page in pages)
    settings = {"0.01", "0.1", "0.3", "0.5", "1.5", "0.8", "0.2"}  # values of options, as words
    assert numbers(text) - settings <= numbers(held), pages


def test_the_table_of_alpha_is_that_of_the_tuning_runs():
    tables = read("docs/results/head_to_head_tables.md")
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in QUESTIONS.splitlines()
        if re.match(r"\| (GRPO|alpha)", line)
    ]
    assert len(rows) == 5
    for name, *cells in rows:
        options = re.findall(r"[\d.]+", name)
        for task, shown in (("operator_puzzle", cells[:3]), ("countdown", cells[3:])):
            tuning = tables.partition(f"### {task}: tuning")[2].partition("\n## ")[0]
            wanted = rf"alpha {options[0]},.*lambda {options[1]} " if options else r"^grpo "
            found = [
                line.split("|")
                for line in tuning.splitlines()
                if re.search(r"learning_rate 0.0001\b", line)
                and re.search(wanted, line.strip("| "))
                and "adaptive" not in line
            ]
            assert [cell.strip() for cell in found[0][5:8]] == shown, (name, task)
