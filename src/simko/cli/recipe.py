"""Check recipes: every option by the classes that will read it, the arithmetic of a rollout and of a GPU's memory, and two
updates of a tiny random model of the same architecture. No GPU and no hub are needed. Without FILE, all recipes of simko's.

example:
  simko recipe check
  simko recipe check recipes/qwen2.5-math-7b.yaml recipes/verl/qwen2.5-math-7b.yaml
"""

import argparse
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simko.training.arithmetic import Sizes

logger = logging.getLogger("simko")

DryRun = Callable[[], list[float] | None]
"""The losses of two updates; None where the engine cannot make them here."""


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
        sizes, dry_run = _of_verl(path) if of_verl else _of_trl(path, gpus)
        tried = _tried(sizes.model, dry_run) if tries else "left out"
    try:
        lines = sizes.lines()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    count = f"{sizes.gpus} {'GPU' if sizes.gpus == 1 else 'GPUs'}"
    head = f"{path}: {sizes.engine}, {sizes.method} on {sizes.model}, {count}"
    return [head, *(f"  {line}" for line in (*lines, f"dry run: {tried}")), "  ok"]


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


def _of_verl(path: Path) -> tuple["Sizes", DryRun]:
    from simko.training.verl_check import check_verl_recipe, try_verl_recipe

    return check_verl_recipe(path), partial(try_verl_recipe, path)


def _of_trl(path: Path, gpus: int | None) -> tuple["Sizes", DryRun]:
    from simko.training.recipe import read_recipe
    from simko.training.trl_check import check_task, dry_run, trl_sizes

    recipe = read_recipe(path)
    check_task(recipe)
    sizes = trl_sizes(recipe, gpus)
    return sizes, partial(dry_run, path, sizes.model)


def _tried(model: str, dry_run: DryRun) -> str:
    from simko.training.arithmetic import model_numbers

    if model_numbers(model) is None:
        return f"not tried, since the config of {model} is not here"
    losses = dry_run()
    if losses is None:
        return "not tried, since it needs FSDP, and a GPU"
    return f"2 updates of a tiny model of its architecture, losses {losses[0]:.4f} and {losses[1]:.4f}"
