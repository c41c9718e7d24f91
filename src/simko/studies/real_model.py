"""The study of GRPO and SimKO on a pretrained language model that is small enough for two CPU cores."""

import os
from pathlib import Path

from simko.studies.run import StudyPlan, run_study
from simko.studies.smollm2 import smollm2
from simko.training.recipe import find_recipe

_SETTING = (
    "SmolLM2-135M-Instruct, rounded to 4 bits by its packager, then trained on a x b without working (float32 "
    "weights, bfloat16 autocast); "
    "16 problems x 8 responses a step, one update each, alpha 0.1 and lambda 1.5 on the ratio for SimKO."
)


def real_model(
    out: Path,
    methods: tuple[str, ...],
    seeds: tuple[int, ...],
    command: str,
    *,
    model: str | None = None,
    steps: int = 40,
    overrides: tuple[str, ...] = (),
) -> Path:
    """Fetch the model (cached), train every method and seed, evaluate halfway and at the end, and return the page's path.

    Args:
        out: the study's directory.
        methods: the methods to train.
        seeds: the training seeds of each method.
        command: the command for the page.
        model: a checkpoint folder or hub id; None for SmolLM2.
        steps: the length of training, an even number.
        overrides: further options of `simko train`.
    """
    if steps < 2 or steps % 2:
        raise ValueError(f"steps must be even and at least 2, got {steps}")
    plan = StudyPlan(
        title="GRPO and SimKO on SmolLM2-135M-Instruct",
        task="multiplication",
        setting=_SETTING,
        command=command,
        recipe=find_recipe("smollm2.yaml"),
        base_model=model or str(smollm2()),
        base_label=model or "SmolLM2-135M-Instruct (from its Q4_1 rounding)",
        methods=methods,
        seeds=seeds,
        steps=(steps // 2, steps),
        headline_step=steps,
        samples=128,
        ks=(1, 2, 4, 8, 16, 32, 64, 128),
        other_temperatures=(),
        samples_there=32,
        batch_size=256,
        overrides=("--save_steps", str(steps // 2), *overrides),
    )
    return run_study(plan, out, workers=os.cpu_count() or 1)
