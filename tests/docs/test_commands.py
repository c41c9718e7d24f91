"""Every command on a page is read by the parser of the program that it names, with the options that it shows."""

import argparse
import re
import runpy
import sys
import tomllib
from collections.abc import Callable
from importlib import import_module

import pytest
from doc_blocks import PAGES, ROOT, Block, blocks, commands, read, spans
from packaging.requirements import Requirement

from simko.cli.main import COMMANDS, main
from simko.tasks import get_task, is_file_name
from simko.training.recipe import find_recipe, read_recipe
from simko.verifiers import get_verifier

SHELL = [block for page in PAGES for block in blocks(page, "sh")]
HELP = [
    Block(f"simko {name} --help", 0, "sh", line)
    for name in COMMANDS
    for line in re.findall(r"^ +(simko .*)", import_module(f"simko.cli.{name.replace('-', '_')}").__doc__, re.MULTILINE)
]
RUN = {("methods",), ("tasks",)}
"""Commands that take a moment, with whatever follows but --parquet: they are run."""
STAND_INS = {"RANK": "0"}
"""Words in the place of a number."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with the files that the pages speak of."""
    monkeypatch.chdir(tmp_path)
    for name in ("recipes", "benchmarks", "tests", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    recipe = blocks("README.md", "yaml")[0].text
    for name in ("sums.yaml", "recipe.yaml", "mine.yaml", "mine.jsonl"):
        (tmp_path / name).write_text(recipe if name.endswith("yaml") else '{"prompt": "1 + 1 =", "answer": "2"}\n')
    (tmp_path / "judge.py").write_text("def right(response, problem):\n    return True\n\n\njudge = right\n")
    return tmp_path


@pytest.mark.parametrize("block", SHELL + HELP, ids=lambda block: block.place)
def test_a_command_is_read_as_it_is_shown(block, folder, monkeypatch, capsys):
    found = commands(block.text)
    assert found
    for words in found:
        shell(words, monkeypatch, capsys)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("simko evaluate --model m --task aime24 --out o --temprature 1", "unrecognized arguments: --temprature"),
        ("simko evaluate --model m --task aime42 --out o", "no task is called"),
        ("simko audit runs/m --verifier last_bax", "no verifier is called"),
        ("simko train sums.yaml --methd nsr", "--methd"),
        ("simko train sums.yaml --method nrs", "nrs"),
        ("simko compare a=runs/a b=runs/b --referense b", "--referense"),
        ("simko methods nrs", "unknown method"),
        ("simko methods --json", "unrecognized arguments"),
        ("simko evalute --model m", "invalid choice"),
        ("torchrun --nproc_per_nod 8 -m simko.cli train sums.yaml --x 1", "unrecognized|--x"),
        ("python benchmarks/crossing.py --sed 1", "unrecognized arguments: --sed"),
        ("python benchmarks/crosing.py", "crosing"),
        ("PYTHONPATH=src python benchmarks/agreement.py --fast", "reads no options"),
        ("pip install 'simko[trll]'", "trll"),
        ("make quikstart", "quikstart"),
        ("pytest tests/verifiers/test_mathe.py", "test_mathe"),
        ("smiko tasks", "smiko"),
        ("simko tasks \\\n    --parqet x", "--parqet"),
    ],
)
def test_a_wrong_one_is_found(text, said, folder, monkeypatch, capsys):
    with pytest.raises((AssertionError, SystemExit, KeyError)) as error:
        shell(*commands(text), monkeypatch, capsys)
    assert re.search(said, f"{error.value} {capsys.readouterr().err}")


@pytest.mark.parametrize("page", PAGES)
def test_options_named_in_the_text_of_a_page_are_the_command_s(page, monkeypatch, capsys):
    for words in (span.split() for span in spans(page) if re.match(r"simko [a-z]", span)):
        if words[1] == words[1].lower() and not words[1].startswith("("):
            assert words[1] in COMMANDS, words
            if options := [word for word in words[2:] if re.match("--[a-z]", word) and words[1] != "train"]:
                with pytest.raises(SystemExit):
                    main([words[1], "--help"])
                assert set(options) <= set(re.findall(r"--[\w-]+", capsys.readouterr().out)), words


def test_every_page_of_results_has_its_command(folder, monkeypatch, capsys):
    """docs/reproduce.md names it, in a table, and it is read as it stands there."""
    page = "docs/reproduce.md"
    named = {f"docs/results/{name}" for name in re.findall(r"\]\(results/(\w+\.md)", read(page))}
    assert named == {page for page in PAGES if page.startswith("docs/results/")}
    rows = read(page).partition("## Our own pages")[2]
    found = re.findall(r"`((?:simko|python|make) [^`]*)`", rows)
    assert len(found) > 10
    for span in found:
        shell(span.split(), monkeypatch, capsys)


def shell(words: list[str], monkeypatch, capsys) -> None:
    """Checks a command of a shell."""
    words = [STAND_INS.get(word, word) for word in words]
    while re.match(r"\w+=", words[0]):
        value = words[0].partition("=")[2]
        words = (
            [value.removeprefix("$("), *words[1:-1], words[-1].removesuffix(")")] if value[:2] == "$(" else words[1:]
        )
    PROGRAMS[words[0].rpartition("/")[2]](words[1:], monkeypatch, capsys)


def simko(words: list[str], monkeypatch, capsys) -> None:
    """Parses a command by the real parser, and what the parser leaves to the command: tasks, verifiers, recipes."""
    if tuple(words[:1]) in RUN and "--parquet" not in words:
        code = main(words)
    else:
        command, *rest = (word for word in words if word != "...")
        with monkeypatch.context() as patched:
            if command in COMMANDS:
                patched.setattr(import_module(f"simko.cli.{command.replace('-', '_')}"), "run", look)
            if "..." in words:  # what the dots stand for may be required
                patched.setattr(argparse._StoreAction, "__init__", optional)
            code = main([command, *rest])
    assert code == 0, capsys.readouterr().err


def look(args: argparse.Namespace) -> None:
    """In the place of a command."""
    if args.command == "train":
        read_recipe(find_recipe(args.recipe), args.rest)
    for task in str(getattr(args, "task", None) or "").split(",") if args.command == "evaluate" else ():
        if task and not is_file_name(task):
            get_task(task)
    if (verifier := getattr(args, "verifier", None)) and not verifier.startswith("my_package"):
        get_verifier(verifier)


_STORE = argparse._StoreAction.__init__


def optional(self, *args, **kwargs) -> None:
    _STORE(self, *args, **kwargs | {"required": False})


def launcher(parser: Callable[[], argparse.ArgumentParser], *drop: str) -> Callable:
    """A program that starts simko in several processes."""

    def check(words: list[str], monkeypatch, capsys) -> None:
        args = parser().parse_args(words[len(drop) :])
        assert args.module
        assert args.training_script == "simko.cli"
        simko(args.training_script_args, monkeypatch, capsys)

    return check


def torchrun() -> argparse.ArgumentParser:
    from torch.distributed.run import get_args_parser

    return get_args_parser()


def accelerate() -> argparse.ArgumentParser:
    from accelerate.commands.launch import launch_command_parser

    return launch_command_parser()


class Parsed(Exception):
    """The script has read its options."""


def script(path: str, words: list[str], monkeypatch) -> None:
    """Runs a script of the repository until it has read its options. One that reads none is not run."""
    file, parse = ROOT / path, argparse.ArgumentParser.parse_args
    assert file.is_file(), f"no {path}"
    if "ArgumentParser" not in file.read_text(encoding="utf-8"):
        assert not words, f"{path} reads no options"
        return

    def stop(self, *args, **kwargs):
        parse(self, *args, **kwargs)
        raise Parsed

    with monkeypatch.context() as patched:
        patched.setattr(sys, "argv", [path, *words])
        patched.setattr(argparse.ArgumentParser, "parse_args", stop)
        patched.syspath_prepend(str(file.parent))
        with pytest.raises(Parsed):
            runpy.run_path(str(file), run_name="__main__")


def python(words: list[str], monkeypatch, capsys) -> None:
    if words[0] != "-m":
        if "verl/on_cpu.py" not in words[0]:  # which needs verl: see tests/adapters/verl
            script(words[0], words[1:], monkeypatch)
    elif words[1] in ("simko.cli", "pytest"):
        PROGRAMS[words[1].partition(".")[0]](words[2:], monkeypatch, capsys)
    elif words[1] == "verl.trainer.main_ppo":
        options = dict(zip(words[2::2], words[3::2], strict=True))
        assert (ROOT / options["--config-dir"] / f"{options['--config-name']}.yaml").is_file(), words
    else:
        assert words[1] == "venv", words


def pip(words: list[str], *_) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert words[0] == "install"
    for word in words[1:]:
        if not word.startswith("--"):
            wanted = Requirement(re.sub(r"^\.(?=\[|$)", "simko", word))
            assert wanted.name != "simko" or wanted.extras <= set(extras), wanted.extras - set(extras)


def make(words: list[str], *_) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    wrong = [word for word in words if "=" not in word and word not in targets]
    assert not wrong, wrong


def pytest_(words: list[str], *_) -> None:
    files = [ROOT / word for word in words if word.startswith("tests/")]
    assert files
    assert [str(file) for file in files if not file.exists()] == []
    if "-k" in words:
        assert all(words[words.index("-k") + 1] in file.read_text(encoding="utf-8") for file in files)


PROGRAMS = {
    "simko": simko,
    "python": python,
    "pip": pip,
    "make": make,
    "pytest": pytest_,
    "torchrun": launcher(torchrun),
    "accelerate": launcher(accelerate, "launch"),
    "cd": lambda *_: None,
    "git": lambda *_: None,
    "transformers": lambda *_: None,
}
