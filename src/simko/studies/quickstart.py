"""The quickstart study: a tiny model learns to put operators between digits, with GRPO and with SimKO."""

import os
from pathlib import Path

from simko.studies.run import StudyPlan, run_study
from simko.studies.warm_start import WarmStart, warm_started_model
from simko.training.recipe import find_recipe

_SETTING = (
    "A 2-layer model imitates random solutions of which 70% end at another value than the prompt asks for, so the base "
    "can calculate but hardly search; then {rollouts} rollouts of 64 problems x 16 responses, two updates each, alpha 0.1 "
    "and lambda 1.5 on the ratio for SimKO: larger than the paper's 0.01 and 1.1, which do little at this size."
)


def quickstart(
    out: Path, methods: tuple[str, ...], seeds: tuple[int, ...], command: str, overrides: tuple[str, ...] = ()
) -> Path:
    """Warm-start the base (cached), train and evaluate every method and seed, and return the path of the page.

    Args:
        out: the study's directory.
        methods: the methods to train.
        seeds: the training seeds of each method.
        command: the command for the page.
        overrides: further options of `simko train`.
    """
    base = warm_started_model(WarmStart())
    steps = 240
    plan = StudyPlan(
        title="GRPO and SimKO on the operator puzzle",
        task="operator_puzzle",
        setting=_SETTING.format(rollouts=steps // 2),
        command=command,
        recipe=find_recipe("quickstart.yaml"),
        base_model=str(base),
        base_label="a 2-layer Llama (0.2 M parameters), warm-started by imitation",
        methods=methods,
        seeds=seeds,
        steps=(80, 160, steps),
        headline_step=steps,
        samples=128,
        ks=(1, 2, 4, 8, 16, 32, 64, 128),
        other_temperatures=(0.3, 0.5, 0.7),
        samples_there=32,
        batch_size=1024,
        overrides=overrides,
    )
    return run_study(plan, out, workers=os.cpu_count() or 1)
