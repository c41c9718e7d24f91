"""Rows whose options change from update to update, in real runs: each update trains with what the controller said."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from methods import OPTIONS, log, method_trainer, right, weights
from resume_ranks import weights_after
from test_compositions import GATE, WholeLoss
from tiny import TRAINING, fixed_rollout, tiny_dataset

from simko.adapters.trl import MethodTrainer
from simko.adapters.trl.config import MethodConfig
from simko.adapters.trl.resume import needed_files
from simko.evaluate.checkpoint_files import described_run, seal, step_of
from simko.objectives import METHODS
from simko.objectives.controllers import BASE_UPDATES


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
@pytest.mark.few(4)
def test_each_update_trains_with_the_options_that_the_controller_gave(run, name):
    row, option = CHANGING[name]
    trainer = run(row, accumulate=2, max_steps=3)
    held = {} if trainer.plan.own_advantages or "eps" not in row.options else {"eps": 1e-4}  # TRL's
    check = Followed(
        trainer, row.with_options(**held), option, [row.options[option], *row.controller.keywords["values"]]
    )
    trainer.train()
    assert len(check.errors) == 3
    assert max(check.errors) < 1e-5
    assert check.from_first[0] < 1e-5
    assert option == "clip_high" or min(check.from_first[1:]) > 1e-3
    assert trainer.method.options[option] == row.controller.keywords["values"][-1]


FOLLOWING = {
    "token links": replace(
        SIMKO, controller=partial(follow, option="alpha", metric="penalised", start=0.3), name="changing"
    ),
    "a loss of the row's own": replace(
        METHODS["entropy_bonus"].with_options(entropy_coef=0.1),
        controller=partial(follow, option="entropy_coef", metric="entropy", start=0.01),
        name="changing",
    ),
}


@pytest.mark.parametrize("name", FOLLOWING)
def test_the_controller_sees_the_metrics_of_the_update_however_it_is_split(run, name):
    row, values = FOLLOWING[name], []
    option, metric, start = (row.controller.keywords[k] for k in ("option", "metric", "start"))
    for accumulate in (1, 4):
        trainer = run(row, accumulate=accumulate, max_steps=3)
        trainer.train()
        prefix = "simko" if row.needs_candidates else "changing"
        expected = start
        for logged in log(trainer):
            expected *= 0.5 + logged[f"{prefix}/{metric}"]
        values.append(trainer.method.options[option])
        assert values[-1] == pytest.approx(expected, rel=1e-3)  # logged with four digits
        assert values[-1] != start
    assert values[0] == pytest.approx(values[1], rel=1e-4)


def test_the_controller_waits_for_the_end_of_the_warm_up(run):
    row = changing("simko", "alpha", 0.4, 0.1, 0.2, 0.3, base=SIMKO)
    trainer = run(row, grpo_warmup_steps=2, max_steps=3)
    trainer.train()
    assert trainer.method.options["alpha"] == 0.1


def test_evaluation_does_not_count_as_an_update(run):
    row = changing("simko", "alpha", 0.4, 0.1, 0.2, base=SIMKO)
    options = {"eval_strategy": "steps", "eval_steps": 1, "per_device_eval_batch_size": 8}
    trainer = run(row, max_steps=1, trainer={"eval_dataset": tiny_dataset(8)}, **options)
    trainer.train()
    assert trainer.method.options["alpha"] == 0.1


ONCE = "changing's controller changes options that TRL acts on"
REFUSED = {
    "clip of TRL's loss": (changing("simko", "clip_high", 0.2, 0.4, base=SIMKO), {}, ONCE),
    "clip of TRL's loss, by advantage": (changing("rloo", "clip_low", 0.2, 0.1), {}, ONCE),
    "eps of TRL's advantages": (changing("simko", "eps", 1e-6, 0.5, base=SIMKO), {}, ONCE),
    "eps of TRL's advantages, under TRL's options": (changing("grpo", "eps", 1e-6, 0.5), {}, ONCE),
    "length of TRL's reduction": (changing("dr_grpo", "length", 12, 6), {}, "length=6 has no effect"),
    "lambda above a cap": (
        changing("simko", "top_penalty", 1.5, 4.0, base=SIMKO), {"loss_type": "cispo", "epsilon_high": 2.0},
        "epsilon_high=2, which swallows lambda",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.few(2)
def test_what_trl_could_not_follow_is_refused_before_it_trains(run, name):
    row, options, said = REFUSED[name]
    trainer = run(row, max_steps=3, **options)
    before = weights(trainer)
    with pytest.raises(ValueError, match=said) as refused:
        trainer.train()
    assert "\n" not in str(refused.value)
    assert trainer.state.global_step == 0
    assert torch.equal(weights(trainer), before)


@pytest.mark.parametrize(
    "name", ["simko", "psr", *(pytest.param(n, marks=pytest.mark.slow) for n in ("grpo", "dr_grpo", "gspo", "rloo"))]
)
def test_a_controller_that_changes_nothing_is_the_fixed_row(run, name):
    held = {"length": 12} if name == "dr_grpo" else {"eps": 0.01} if "eps" in METHODS[name].options else {}
    row = replace(METHODS[name], name="changing", controller=partial(lambda state, metrics: ({"n": 1}, {})))
    found = []
    for each in (row, replace(row, controller=None)):
        trainer = run(each, max_steps=2, method_options=held)
        trainer.train()
        found.append(weights(trainer))
    assert torch.equal(*found)


# Checkpoints.

CARRIED = {
    "by place": changing("simko", "alpha", 0.4, 0.1, 0.25, 0.05, base=SIMKO),
    "by metrics": FOLLOWING["token links"],
    "advantages": CHANGING["advantages"][0],
    "a loss of the row's own": FOLLOWING["a loss of the row's own"],
}


def rewrite_method(checkpoint, content):
    """As a run would have written it."""
    (checkpoint / "method.json").write_text(json.dumps(content))
    seal(checkpoint, step_of(checkpoint), described_run(checkpoint))


@pytest.mark.parametrize(
    "name", [n if n in FOLLOWING or n == "by metrics" else pytest.param(n, marks=pytest.mark.slow) for n in CARRIED]
)
def test_a_continued_run_is_the_one_that_was_never_stopped(tmp_path, monkeypatch, name):
    row = CARRIED[name]
    monkeypatch.setitem(METHODS, "changing", row)
    options = {
        "cls": MethodTrainer, "method": "changing", "reward": right, "max_steps": 4,
        "trainer": {"rollout_func": fixed_rollout()}, "per_device_train_batch_size": 8, "max_completion_length": 12,
    }  # fmt: skip
    whole = weights_after(tmp_path, **options)
    checkpoint = tmp_path / "out" / "checkpoint-2"
    assert torch.equal(weights_after(tmp_path, step=2, **options), whole)

    kept = json.loads((checkpoint / "method.json").read_text())
    forgotten = {"state": {}, "options": row.options}
    rewrite_method(checkpoint, forgotten)
    assert not torch.equal(weights_after(tmp_path, step=2, **options), whole)
    (checkpoint / "method.json").unlink()
    with pytest.raises(ValueError, match=r"checkpoint-2 cannot be continued \(method\.json is missing"):
        weights_after(tmp_path, step=2, **options)
    assert kept != forgotten


@pytest.mark.parametrize("name", ["simko_adaptive", pytest.param("simko_adaptive_by_success", marks=pytest.mark.slow)])
def test_adaptive_simko_continues_its_base_and_its_alpha(tmp_path, name):
    """From a checkpoint in which the base is half measured, and from one in which alpha has moved."""
    options = {
        "cls": MethodTrainer, "method": name, "reward": right, "max_steps": BASE_UPDATES + 3,
        "method_options": {"alpha": 0.3, "top_penalty": 1.5, "gate_quantile": 0.5, "alpha_max": 1.0, "alpha_rate": 9.0},
        "per_device_train_batch_size": 8, "max_completion_length": 12,
    }  # fmt: skip
    whole = weights_after(tmp_path, **options)
    for step in (BASE_UPDATES - 2, BASE_UPDATES + 1):
        assert torch.equal(weights_after(tmp_path, step=step, **options), whole)
        file = tmp_path / "out" / f"checkpoint-{step}" / "method.json"
        kept = json.loads(file.read_text())
        assert kept["state"]["updates"] == min(step, BASE_UPDATES)
        assert ("alpha" in kept["options"]) == (step > BASE_UPDATES)
        rewrite_method(file.parent, {"state": {}, "options": {}})
        assert not torch.equal(weights_after(tmp_path, step=step, **options), whole)


def test_only_a_row_with_a_controller_needs_its_state(tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, "changing", CARRIED["by place"])
    for name, needed in (("simko", False), ("changing", True)):
        args = MethodConfig(str(tmp_path), method=name, **TRAINING)
        assert ("method.json" in needed_files(args)) == needed
