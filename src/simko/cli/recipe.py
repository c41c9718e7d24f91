"""Check recipes: every option by the classes that will read it, the arithmetic of a rollout and of a GPU's memory, and two
updates of a tiny random model of the same architecture. No GPU and no hub are needed. Without FILE, all recipes of simko's.

example:
  simko recipe check
  simko recipe check recipes/qwen2.5-math-7b.yaml recipes/verl/qwen2.5-math-7b.yaml
"""

import argparse
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simko.training.arithmetic import Sizes

logger = logging.getLogger("simko")

_LEFT_OUT = "dry run: left out"
_NO_CONFIG = "dry run: not tried, since the config of {} is not here"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="check")
    parser = actions.add_parser("check", help="check recipes", description=__doc__.split("\n\n")[0])
    parser.add_argument("files", nargs="*", metavar="FILE", help="recipes for TRL or verl, or names of simko's own")
    parser.add_argument("--gpus", type=int, help="GPUs of a TRL recipe (8, or 1 with use_cpu); verl's name their own")
    parser.add_argument("--no-dry-run", action="store_true", help="leave the two updates out")


def run(args: argparse.Namespace) -> None:
    from simko.training.recipe_file import find_recipe, shipped_recipes

    if args.gpus is not None and args.gpus < 1:
        raise ValueError(f"--gpus must be at least 1, got {args.gpus}")
    faults = []
    for path in [find_recipe(name) for name in args.files] or shipped_recipes():
        try:
            lines = check(path, args.gpus, not args.no_dry_run)
        except ValueError as error:
            faults.append(error)
        else:
            print("\n".join(lines), flush=True)
    for fault in faults[:-1]:
        logger.error("error: %s", fault)
    if faults:
        raise faults[-1]


def check(path: Path, gpus: int | None, tries: bool) -> list[str]:
    """What there is to say about a recipe. ValueError, naming the file, for one that is at fault."""
    from simko.training.recipe_file import is_verl_recipe

    of_verl = is_verl_recipe(path)
    engine = find_spec("verl" if of_verl else "trl")
    if engine is None or engine.origin is None:  # none, or a mere folder of that name
        return [f"{path}: not checked: {'verl' if of_verl else 'TRL'} is not installed here"]
    with _quiet():
        return _check_verl(path, tries) if of_verl else _check_trl(path, gpus, tries)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the frameworks' warnings about this machine, where nothing will be trained."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _check_verl(path: Path, tries: bool) -> list[str]:
    from simko.training.arithmetic import model_numbers
    from simko.training.verl_check import check_verl_recipe, try_verl_recipe

    sizes = check_verl_recipe(path)
    if not tries:
        return _said(path, sizes, _LEFT_OUT)
    if model_numbers(sizes.model) is None:
        return _said(path, sizes, _NO_CONFIG.format(sizes.model))
    losses = try_verl_recipe(path)
    return _said(
        path, sizes, "dry run: not tried, since it needs FSDP, and a GPU" if losses is None else _tried(losses)
    )


def _check_trl(path: Path, gpus: int | None, tries: bool) -> list[str]:
    from simko.training.arithmetic import model_numbers
    from simko.training.recipe import read_recipe
    from simko.training.trl_check import check_task, dry_run, trl_sizes

    recipe = read_recipe(path)
    check_task(recipe)
    sizes = trl_sizes(recipe, gpus)
    if not tries:
        return _said(path, sizes, _LEFT_OUT)
    if model_numbers(sizes.model) is None:
        return _said(path, sizes, _NO_CONFIG.format(sizes.model))
    return _said(path, sizes, _tried(dry_run(path, sizes.model)))


def _tried(losses: list[float]) -> str:
    return f"dry run: 2 updates of a tiny model of its architecture, losses {losses[0]:.4f} and {losses[1]:.4f}"


def _said(path: Path, sizes: "Sizes", tried: str) -> list[str]:
    head = (
        f"{path}: {sizes.engine}, {sizes.method} on {sizes.model}, {sizes.gpus} {'GPU' if sizes.gpus == 1 else 'GPUs'}"
    )
    try:
        lines = sizes.lines()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return [head, *(f"  {line}" for line in (*lines, tried)), "  ok"]
