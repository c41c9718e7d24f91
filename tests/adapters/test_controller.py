"""Rows whose options change from update to update, in real runs: each update trains with what the controller said."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from methods import OPTIONS, log, method_trainer, right, weights
from resume_ranks import weights_after
from test_compositions import GATE, WholeLoss
from tiny import TRAINING, fixed_rollout

from simko.adapters.trl import MethodTrainer
from simko.adapters.trl.config import MethodConfig
from simko.adapters.trl.resume import needed_files
from simko.objectives import METHODS
from simko.objectives import tokens as tok


def decay(state, metrics, *, option, values):
    """The next of `values` at each update, the last one from then on."""
    updates = state.get("updates", 0) + 1
    return {"updates": updates}, {option: values[min(updates, len(values)) - 1]}


def follow(state, metrics, *, option, metric, start):
    """An option that moves by a metric of every update so far."""
    value = state.get("value", start) * (0.5 + metrics[metric])
    return {"value": value}, {option: value}


def changing(name, option, *values, base=None, **changes):
    """A row whose option is values[0] in the first update, values[1] in the second, and so on."""
    row = (base or METHODS[name]).with_options(**OPTIONS.get(name, {}) | {option: values[0]})
    return replace(row, name="changing", controller=partial(decay, option=option, values=values[1:]), **changes)


@pytest.fixture
def run(tmp_path, monkeypatch):
    def build(row, **options):
        monkeypatch.setitem(METHODS, row.name, row)
        return method_trainer(tmp_path, row.name, **{"learning_rate": 0.05} | options)

    return build


class Followed(WholeLoss):
    """The gradient beside that of Method.loss with the options of each update, and with those of the first."""

    def __init__(self, trainer, row, option, values):
        super().__init__(trainer, row)
        self.first, self.option, self.values = row, option, list(values)
        self.from_first = []

    def loss(self, method, joined, first):
        return super().loss(method, joined, True)  # one update a rollout

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        batches = list(self.batches)
        self.method = self.first
        super().on_pre_optimizer_step(args, state, control, **kwargs)
        self.from_first.append(self.errors.pop())
        self.batches, self.method = batches, self.first.with_options(**{self.option: self.values.pop(0)})
        super().on_pre_optimizer_step(args, state, control, **kwargs)


SIMKO = METHODS["simko"].with_options(alpha=0.3, top_penalty=1.5, gate_quantile=0.5)


def beyond(tokens, *, alpha):
    """Reads candidates of every token, and none while alpha is 0."""
    if alpha == 0:
        return tokens, {}
    return tokens._replace(logp=tokens.logp + alpha * (tokens.gap - tokens.gap.detach())), {}


CHANGING = {
    "token links": (changing("simko", "alpha", 0.4, 0.1, 0.25, base=SIMKO), "alpha"),
    "links that begin with nothing": (changing("simko_positive", "alpha", 0.0, 0.4, 0.2), "alpha"),
    "the gate": (changing("simko", "gate_quantile", 0.9, 0.2, None, base=SIMKO), "gate_quantile"),
    "number of candidates": (changing("simko", "top_k", 1, 5, 2, base=SIMKO), "top_k"),
    "links that begin to read everywhere": (
        changing("simko", "alpha", 0.0, 0.3, 0.2, base=replace(SIMKO, token_links=(GATE, partial(beyond, alpha=0.0)))),
        "alpha",
    ),
    "a link without candidates": (changing("entropy_advantage", "kappa", 2.0, 1.2, 4.0), "kappa"),
    "advantages": (changing("ucpo", "tau", 0.2, 0.9, 0.5), "tau"),
    "advantages of subsets": (changing("pkpo", "k", 2, 3, 1), "k"),
    "a loss of the row's own": (changing("entropy_bonus", "entropy_coef", 0.1, 0.9, 0.0), "entropy_coef"),
    "a clip of a loss of the row's own": (changing("psr", "clip_high", 0.2, 0.0, 0.3), "clip_high"),
    "links in a loss of the row's own": (
        changing("simko", "top_penalty", 1.5, 3.0, 1.0, base=replace(SIMKO, token_mask=METHODS["nsr"].token_mask)),
        "top_penalty",
    ),
    "a selection": (changing("forking_tokens", "top_share", 0.2, 0.6, 0.4), "top_share"),
}


@pytest.mark.parametrize("name", CHANGING)
def test_each_update_trains_with_the_options_that_the_controller_gave(run, name):
    row, option = CHANGING[name]
    trainer = run(row, accumulate=2, max_steps=3)
    held = {} if trainer.plan.own_advantages or "eps" not in row.options else {"eps": 1e-4}  # TRL's
    check = Followed(trainer, row.with_options(**held), option, [row.options[option], *row.controller.keywords["values"]])
    trainer.train()
    assert len(check.errors) == 3
    assert max(check.errors) < 1e-5
    assert check.from_first[0] < 1e-5
    assert option == "clip_high" or min(check.from_first[1:]) > 1e-3
    assert trainer.method.options[option] == row.controller.keywords["values"][-1]
