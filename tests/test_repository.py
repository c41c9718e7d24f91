"""Names in the repository of things elsewhere in it, or in other packages: each thing is there under that name."""

import re
import tomllib
from importlib.metadata import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from simko.evaluate.crossing import crossing

ROOT = Path(__file__).parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]


def test_pages_that_code_names_are_in_the_repository():
    files = [*ROOT.glob("src/**/*.py"), *ROOT.glob("tests/**/*.py")]
    named = {
        (f.name, page) for f in files for page in re.findall(r"\b(?:docs/[\w/]+|[A-Z]+)\.md", f.read_text("utf-8"))
    }
    assert len(named) > 5
    assert [(name, page) for name, page in named if not (ROOT / page).is_file()] == []


def test_the_page_that_crossing_names_holds_its_simulations():
    (page,) = re.findall(r"docs/\w+\.md", crossing.__doc__)
    text = (ROOT / page).read_text(encoding="utf-8")
    assert "| claimed | wrong way |" in text


def test_extras_are_spelled_as_their_packages_spell_them():
    """Older versions of pip find no extra by another spelling, warn, and install without it."""
    for requirement in (Requirement(line) for lines in EXTRAS.values() for line in lines if "[" in line):
        provided = EXTRAS if requirement.name == "simko" else metadata(requirement.name).get_all("Provides-Extra")
        assert requirement.extras <= set(provided), requirement


@pytest.mark.parametrize("extra", ["trl", "eval"])
def test_the_parser_that_grades_is_pinned(extra):
    """latex2sympy2_extended accepts several versions of antlr's runtime and chooses its parser by the one installed."""
    (pin,) = [line for line in EXTRAS[extra] if line.startswith("antlr4-python3-runtime")]
    assert pin in (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
