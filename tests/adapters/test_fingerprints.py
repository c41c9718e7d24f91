"""What a continued run is compared by: every value of the data, every frozen number, the source and values of a reward."""

import datetime
import math
import os
import shutil
import subprocess
import sys
from decimal import Decimal
from functools import partial, wraps

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Image, Value
from tiny import LORA, make_trainer, tiny_dataset, tiny_model
from trl import GRPOTrainer

from simko.adapters.trl import Checkpoints, RLVRTrainer, checked_rewards, reward_function
from simko.adapters.trl.fingerprints import data_digest, function_digest, model_digest


class Mine(Checkpoints, GRPOTrainer):
    """TRL's own trainer with the mix-in."""


def of_length(weight, least=3, names=("a",), state=None):
    def shorter(completions, *, power=1, **_):
        return [weight * len(c) ** power for c in completions]

    return shorter


def both(weight):
    """Two functions of one name."""
    return [of_length(weight), of_length(3.0)]


def of_length_again(weight):
    def shorter(completions, *, power=1, **_):
        return [-weight * len(c) ** power for c in completions]

    return shorter


def with_a_default(least):
    def shorter(completions, least=least, **_):
        return [float(len(c) < least) for c in completions]

    return shorter


def scaled(function, by):
    @wraps(function, assigned=())
    def shorter(completions, **words):
        return [by * r for r in function(completions, **words)]

    return shorter


def lengths(completions, power=1, **_):
    return [float(len(c) ** power) for c in completions]


class Judge:
    """A reward that is an object."""

    def __init__(self, weight):
        self.weight, self.seen = weight, []

    def __call__(self, completions, **_):
        self.seen.append(len(completions))
        return [self.weight * len(c) for c in completions]

    def grade(self, completions, **_):
        return [self.weight for _ in completions]


class Reverse(Judge):
    """Another one."""

    def __call__(self, completions, **_):
        return [-self.weight * len(c) for c in completions]


def made_without_a_file(code):
    space = {}
    exec(code, space)
    return space["r"]


FUNCTIONS = {
    "its source": lambda: (of_length(1.0), of_length_again(1.0)),
    "a closure": lambda: (of_length(1.0), of_length(2.0)),
    "a default": lambda: (with_a_default(3), with_a_default(4)),
    "what it wraps": lambda: (scaled(of_length(1.0), 2.0), scaled(of_length_again(1.0), 2.0)),
    "what wraps it": lambda: (scaled(of_length(1.0), 2.0), scaled(of_length(1.0), 3.0)),
    "a partial's argument": lambda: (partial(lengths, power=1), partial(lengths, power=2)),
    "a partial's function": lambda: (partial(of_length(1.0), power=2), partial(of_length_again(1.0), power=2)),
    "a builtin": lambda: (scaled(math.fsum, 1.0), scaled(math.prod, 1.0)),
    "an attribute": lambda: (Judge(1.0), Judge(2.0)),
    "a class": lambda: (Judge(1.0), Reverse(1.0)),
    "a method's object": lambda: (Judge(1.0).grade, Judge(2.0).grade),
    "code without a file": lambda: (
        made_without_a_file("def r(completions, **_): return [len(c) for c in completions]"),
        made_without_a_file("def r(completions, **_): return [-len(c) for c in completions]"),
    ),
    "a constant without a file": lambda: (
        made_without_a_file("def r(completions, **_): return [1.0 for c in completions]"),
        made_without_a_file("def r(completions, **_): return [2.0 for c in completions]"),
    ),
    "a set without a file": lambda: (
        made_without_a_file("def r(completions, **_): return [c in {'a', 'b', 'c'} for c in completions]"),
        made_without_a_file("def r(completions, **_): return [c in {'a', 'b', 'd'} for c in completions]"),
    ),
    "lambdas on one line": lambda: (lambda completions, **_: [1.0], lambda completions, **_: [2.0]),
    "a class without a file": lambda: (
        made_without_a_file("class r:\n def __call__(self, completions, **_): return [len(c) for c in completions]")(),
        made_without_a_file("class r:\n def __call__(self, completions, **_): return [-len(c) for c in completions]")(),
    ),
    "a value of a class": lambda: (
        made_without_a_file("class r:\n scale = 1.0\n def __call__(self, completions, **_): return [self.scale]")(),
        made_without_a_file("class r:\n scale = 2.0\n def __call__(self, completions, **_): return [self.scale]")(),
    ),
    "a checked one": lambda: (checked_rewards(of_length(1.0)), checked_rewards(of_length(2.0))),
    "a verifier": lambda: (reward_function("last_integer", name="v"), reward_function("last_box", name="v")),
    "a reward model's weights": lambda: (tiny_model(seed=0), tiny_model(seed=1)),
}


@pytest.mark.parametrize("what", FUNCTIONS)
def test_another_reward_function_of_the_same_name(what):
    one, other = FUNCTIONS[what]()
    again, _ = FUNCTIONS[what]()
    assert function_digest(one) != function_digest(other)
    assert function_digest(one) == function_digest(again)
    assert function_digest(checked_rewards(one)) == function_digest(one)


def test_what_a_run_changes_in_its_reward_is_not_compared():
    judge = Judge(1.0)
    before = function_digest(judge)
    judge(["c"])
    assert function_digest(judge) == before


VALUES = {
    "bytes": (b"a\xff", b"a\xfe"),
    "dates": (datetime.date(2000, 1, 1), datetime.date(2020, 1, 1)),
    "times": (datetime.datetime(2000, 1, 1, 1), datetime.datetime(2000, 1, 1, 2)),
    "durations": (datetime.timedelta(1), datetime.timedelta(2)),
    "decimals": (Decimal("1.5"), Decimal("2.5")),
    "whole numbers": (1, 2),
    "numbers": (0.1, 0.1 + 1e-16),
    "nothing": (None, 0),
    "texts": ("a", "b"),
    "lists of bytes": ([b"a"], [b"b"]),
    "dicts of dates": ({"when": datetime.date(2000, 1, 1)}, {"when": datetime.date(2000, 1, 2)}),
    "arrays": (np.arange(2000.0), np.arange(2000.0) + (np.arange(2000) == 1000)),
}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("make", [Dataset.from_list, list])
def test_other_values_are_other_data(kind, make):
    rows = [[{"prompt": "1+1=", "x": value} for value in (VALUES[kind][0], last)] for last in VALUES[kind]]
    one, other = (data_digest(make(each)) for each in rows)
    assert one != other
    assert one == data_digest(make(list(rows[0])))


def test_other_images_are_other_data():
    features = Features({"prompt": Value("string"), "image": Image()})
    digests = set()
    for shade in (0, 0, 200):
        picture = np.full((4, 4, 3), shade, dtype=np.uint8)
        digests.add(data_digest(Dataset.from_dict({"prompt": ["p"], "image": [picture]}, features=features)))
    assert len(digests) == 2


PRINT = """
from test_fingerprints import FUNCTIONS, VALUES
from simko.adapters.trl.fingerprints import data_digest, function_digest
print([function_digest(FUNCTIONS[what]()[0]) for what in FUNCTIONS], [data_digest([{"x": v}]) for v, _ in VALUES.values()])
"""


@pytest.mark.slow
def test_processes_agree():
    found = set()
    for seed in "12":
        paths = os.pathsep.join([os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": paths}
        command = [sys.executable, "-c", PRINT]
        found.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(found) == 1


def test_any_number_of_a_frozen_base_counts(tmp_path):
    trainer = make_trainer(tmp_path, RLVRTrainer, trainer={"peft_config": LORA()}, max_steps=1)
    before = model_digest(trainer)
    weight = trainer.model.get_base_model().model.layers[1].mlp.up_proj.weight
    with torch.no_grad():
        weight[-1, -1] += 1e-3
    assert weight.numel() > 1024
    assert model_digest(trainer) != before


def test_a_run_on_other_data_is_refused_and_one_with_other_rewards_named(tmp_path, caplog):
    options = {"max_steps": 1, "save_strategy": "steps", "save_steps": 1, "lr_scheduler_type": "constant"}
    when = [{"when": datetime.date(2000, 1, day)} for day in (1, 2)]
    rows = [Dataset.from_list([row | w for row in tiny_dataset(4)]) for w in when]
    make_trainer(tmp_path, Mine, reward=both(1.0), dataset=rows[0], **options).train()
    run = {"reward": both(1.0), "dataset": rows[0], **options, "max_steps": 2}
    with pytest.raises(ValueError, match="checkpoint-1 was written by a run with another data"):
        make_trainer(tmp_path, Mine, **run | {"dataset": rows[1]}).train(resume_from_checkpoint=True)
    for weight, named in ((1.0, False), (2.0, True)):
        caplog.clear()
        copy = shutil.copytree(tmp_path / "out" / "checkpoint-1", tmp_path / f"copy-{named}")
        make_trainer(tmp_path / str(named), Mine, **run | {"reward": both(weight)}).train(
            resume_from_checkpoint=str(copy)
        )
        assert ("continued with other rewards" in caplog.text) == named
