"""A study directory as a study run leaves it, small or life-size."""

import json
from pathlib import Path

import numpy as np
import pytest

from simko.evaluate import SampleStore
from simko.records import Problem, Sample, Verdict

LOG10 = np.log(10)


def evaluation_row(name, method, seed=None, step=0, temperature=1.0):
    run = None if method == "base" else f"{method}-seed{seed}"
    return {"name": name, "method": method, "run": run, "seed": seed, "step": step, "temperature": temperature}


def write_evaluation(folder: Path, correct: dict[str, int], n: int, response="the answer is", prompt="What is it?"):
    problems = [Problem(i, f"{prompt} ({i})", "42") for i in correct]
    graded = [
        (
            Sample(i, s, f"{response} {s % 5 if s >= c else 42}", 12, "stop"),
            Verdict("correct" if s < c else "wrong", "42" if s < c else str(s % 5)),
        )
        for i, c in correct.items()
        for s in range(n)
    ]
    with SampleStore(folder / "samples.db") as store:
        setting = store.begin("small-sums", "T=1", {}, "last_integer", problems, n)
        store.add(setting, [s for s, _ in graded], [v for _, v in graded])


def write_run(folder: Path, config, steps=80, sharpen=1.0, reward=0.2):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "versions.json").write_text(json.dumps({"torch": "2.8.0", "trl": "1.16.0", "python": "3.11.9"}))
    rng = np.random.default_rng(len(folder.name))
    with (folder / "metrics.jsonl").open("w") as file:
        for step in range(1, steps + 1):
            at = step / steps
            row = {"step": step, "reward": 0.08 + reward * at**0.5 + rng.normal(0, 0.015), "loss": 0.0}
            row["entropy"] = 1.2 - 0.9 * sharpen * at**0.5 + rng.normal(0, 0.02)
            if "simko" in folder.name:
                row["simko/gated"] = 0.04 + 0.03 * at
                row["simko/penalised"] = 0.5 + 0.1 * at
            file.write(json.dumps(row) + "\n")
    with (folder / "diagnostics.jsonl").open("w") as file:
        for step in np.linspace(0, steps, 8).astype(int).tolist():
            at = sharpen * (step / steps) ** 0.5
            share = np.array([0.3 + 0.5 * at, 0.2, 0.2 - 0.1 * at, 0.15 - 0.1 * at, 0.1 - 0.08 * at, 0.05 - 0.04 * at])
            row = {
                "step": step,
                "entropy": 1.2 - 0.9 * at,
                "concentration": [
                    LOG10 * x for x in (-0.3 + 0.22 * at, *(-1.2 - 0.5 * n - (1 + n / 3) * at for n in range(5)))
                ],
                "sampled": LOG10 * (-0.55 + 0.42 * at),
                "gated_rank_probability": [0.45 + 0.3 * at, 0.2 - 0.08 * at, 0.1 - 0.06 * at, 0.06 - 0.045 * at],
                "entropy_histogram": {"edges": [0, 0.3, 0.6, 1, 1.5, 2, None], "share": (share / share.sum()).tolist()},
            }
            file.write(json.dumps(row) + "\n")


def beta_counts(a, b, problems, n, seed, none=0.0):
    rng = np.random.default_rng(seed)
    p = rng.beta(a, b, size=problems) * (rng.random(problems) >= none)
    return {f"q{i:03d}": int(c) for i, c in enumerate(rng.binomial(n, p))}


def study_json(runs, evaluations, ks=(1, 2, 4, 8, 16, 32), headline=80, **words):
    described = {
        "title": "GRPO and SimKO on small sums",
        "task": "small-sums",
        "task_description": "Reach a target number with four given ones; graded by exact arithmetic.",
        "base_model": "tiny-base-0.1B",
        "setting": "Short training of a small model on one task: a study of direction, not of size.",
        "command": "simko study quickstart --seed 1",
        "headline_step": headline,
        "ks": list(ks),
        "runs": runs,
        "evaluations": evaluations,
    }
    return json.dumps(described | words)


@pytest.fixture
def make_study(tmp_path):
    """make_study({method: {id: c}}, n) -> a small study directory with one run and evaluation a method."""

    def make(correct, n=32, runs=True, **words) -> Path:
        evaluations, rows = [], []
        for method, counts in correct.items():
            trained = method != "base"
            name = f"{method}-seed1-step80" if trained else "base"
            evaluations.append(evaluation_row(name, method, 1 if trained else None, 80 if trained else 0))
            write_evaluation(tmp_path / "evaluations" / name, counts, n)
            if trained and runs:
                rows.append({"name": f"{method}-seed1", "method": method, "seed": 1, "objective": f"{method} loss"})
                write_run(tmp_path / "runs" / f"{method}-seed1", {"method": method, "learning_rate": 1e-6}, steps=8)
        (tmp_path / "study.json").write_text(study_json(rows, evaluations, **words))
        return tmp_path

    return make


def life_size_study(root: Path, seeds=1, problems=128, n=128) -> Path:
    """Base .08/.94 at pass@1/64, GRPO .19/.65, SimKO .18/.83, three steps, three temperatures."""
    shapes = {"grpo": (0.2, 0.75, 0.05), "simko": (0.55, 2.2, 0.02)}
    evaluations, runs = [], []

    def add(name, method, counts, samples, **where):
        evaluations.append(evaluation_row(name, method, **where))
        write_evaluation(root / "evaluations" / name, counts, samples)

    add("base", "base", beta_counts(1.5, 17, problems, n, 0), n)
    for t, mean in ((0.5, 0.105), (0.25, 0.11)):
        add(f"base-T{t}", "base", beta_counts(0.6, 0.6 / mean - 0.6, problems, 32, 1), 32, temperature=t)
    for method, (a, b, none) in shapes.items():
        for seed in range(1, seeds + 1):
            run = f"{method}-seed{seed}"
            runs.append(
                {"name": run, "method": method, "seed": seed, "objective": f"{method}: clipped ratio, token mean"}
            )
            config = {"method": method, "seed": seed, "learning_rate": 1e-6, "group_size": 16, "beta": 0.0}
            config |= {"alpha": 0.01, "lambda": 1.1, "candidates": 3} if method == "simko" else {}
            write_run(root / "runs" / run, config, sharpen=1.0 if method == "grpo" else 0.65)
            for step in (20, 40, 80):
                part = step / 80
                shape = (1.5 + (a - 1.5) * part, 17 + (b - 17) * part**0.4)
                counts = beta_counts(*shape, problems, n, 10 * seed + step, none * part)
                add(f"{run}-step{step}", method, counts, n, seed=seed, step=step)
            counts = beta_counts(a, b, problems, 32, seed, none)
            add(f"{run}-T0.5", method, counts, 32, seed=seed, step=80, temperature=0.5)
    (root / "study.json").write_text(study_json(runs, evaluations, ks=(1, 2, 4, 8, 16, 32, 64, 128)))
    return root


@pytest.fixture(scope="session")
def big_study(tmp_path_factory) -> Path:
    return life_size_study(tmp_path_factory.mktemp("big"), problems=40, n=64)


@pytest.fixture
def life_size():
    return life_size_study


@pytest.fixture(scope="session")
def trained(tiny_base, tmp_path_factory) -> Path:
    """A folder of real runs: grpo, simko, seven (simko's second seed), nsr, all with held-out problems; and plain, of nsr
    and one step, without held-out problems or probes."""
    from page_runs import held_out, train_run

    root = tmp_path_factory.mktemp("trained")
    words = held_out(root / "held-out.jsonl")
    for name, method, *more in (
        ("grpo", "grpo"),
        ("simko", "simko"),
        ("seven", "simko", "--seed", "7"),
        ("nsr", "nsr"),
    ):
        train_run(tiny_base, root / name, method, 4, *words, *more)
    train_run(tiny_base, root / "plain", "nsr", 1, "--probe_every", "0")
    return root
