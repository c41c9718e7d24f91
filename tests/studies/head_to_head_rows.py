"""Rows of the head-to-head with known pass rates."""

import json

import numpy as np

from simko.studies.head_to_head.rows import Row

SAMPLES = 128
RATES = {  # (a, b) of Beta, and the share of problems that are lost
    "base": (1.2, 14, 0.0),
    "grpo": (0.25, 0.8, 0.05),
    "simko": (0.6, 2.2, 0.02),
}
OTHERS = ("nsr", "entropy_bonus", "passk_training", "unlikeliness")
SIMKO = {"learning_rate": 2e-4, "alpha": 0.1, "top_penalty": 1.5, "top_k": 3, "gate_quantile": 0.8}


def rates(method: str, problems: int, part: float = 1.0) -> np.ndarray:
    """The pass rates of a method's model after this part of training: alike for all seeds, ordered by the problems' ease."""
    a, b, lost = RATES.get(method, (0.4, 1.5, 0.03))
    ease = np.random.default_rng(0).permutation(problems) / problems
    rng = np.random.default_rng(1)
    end = np.sort(rng.beta(a, b, problems) * (rng.random(problems) >= lost))[(ease * problems).astype(int)]
    start = np.sort(rng.beta(*RATES["base"][:2], problems))[(ease * problems).astype(int)]
    return (1 - part) * start + part * end


def row(
    method,
    rate,
    *,
    task="sums",
    stage="final",
    seed=1,
    step=80,
    split="test",
    temperature=1.0,
    setting=None,
    part=1.0,
    **more,
):
    rng = np.random.default_rng([seed, step, len(method), int(10 * temperature), len(split), len(task)])
    correct = rng.binomial(SAMPLES, rate)
    described = {
        "task": task,
        "method": method,
        "setting": json.dumps(setting if setting is not None else {"learning_rate": 2e-4}),
        "stage": stage,
        "seed": seed,
        "step": step,
        "split": split,
        "temperature": temperature,
        "samples": SAMPLES,
        "protocol": "0",
        "correct": tuple(int(c) for c in correct),
        "entropy": 1.2 - part + rng.normal(0, 0.02),
        "concentration": tuple(-0.4 + 0.3 * part if n == 0 else -2.0 - n - part for n in range(6)),
        "sampled": -0.8 + 0.5 * part,
        "rank1_gated": 0.4 + 0.4 * part + rng.normal(0, 0.02),
        "distinct": 60 - 40 * part,
        "distinct_correct": 2 - part,
        "reward": float(np.mean(rate)) + rng.normal(0, 0.01),
        "seconds": step * (2.0 if method == "grpo" else 2.4),
    }
    return Row(**described | more)


def finals(task="sums", methods=("grpo", "simko", *OTHERS), seeds=(1, 2, 3), steps=(20, 40, 60, 80), problems=64):
    """The rows of the first landing: base and finals, followed over training, and three temperatures at the end."""
    rows = []
    for split in ("validation", "test"):
        for t in (0.6, 1.0, 1.2):
            rate = np.clip(rates("base", problems) * (1.4 - 0.4 * t), 0, 1)
            rows.append(
                row("base", rate, task=task, stage="base", seed=0, step=0, split=split, temperature=t, part=0.0)
            )
        for method in methods:
            setting = SIMKO if method == "simko" else None
            for seed in seeds:
                for step in steps:
                    part = step / max(steps)
                    for t in (0.6, 1.0, 1.2) if step == max(steps) else (1.0,):
                        rate = np.clip(rates(method, problems, part) * (1.3 - 0.3 * t), 0, 1)
                        where = {"task": task, "seed": seed, "step": step, "split": split, "temperature": t}
                        rows.append(row(method, rate, setting=setting, part=part, **where))
    return rows


def tuning(task="sums", methods=("grpo", "simko"), problems=64):
    """Two learning rates a method, on validation problems and a seed of their own."""
    found = []
    for method in methods:
        for rate in (1e-4, 2e-4):
            setting = (SIMKO if method == "simko" else {}) | {"learning_rate": rate}
            where = {"task": task, "stage": "tuning", "seed": 101, "split": "validation"}
            found.append(row(method, rates(method, problems), setting=setting, **where))
    return found


def sensitivity(task="sums", problems=64):
    """Each option of SimKO at two values beside that of the finals."""
    values = {"alpha": (0.03, 0.3), "top_penalty": (1.1, 2.0), "top_k": (2, 6), "gate_quantile": (None, 0.9)}
    return [
        row("simko", rates("simko", problems), task=task, stage="sensitivity", seed=seed, setting=SIMKO | {name: value})
        for name, both in values.items()
        for value in both
        for seed in (1, 2)
    ]


PROTOCOL = {
    "title": "SimKO head to head",
    "methods": {name: {"learning_rate": [1e-4, 2e-4]} for name in ("grpo", "simko", *OTHERS)},
    "tasks": {"sums": {"problems": 64}, "chains": {"problems": 64}},
    "finals": {"seeds": [1, 2, 3]},
    "temperatures": [0.6, 1.0, 1.2],
    "evaluation": {"samples": SAMPLES, "every": 20},
}
