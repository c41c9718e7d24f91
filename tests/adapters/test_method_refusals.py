"""What MethodTrainer refuses, with the way out, what it accepts, and the line that says what it trains."""

import logging

import pytest
import torch
from methods import OPTIONS, method_trainer, right
from tiny import tiny_model
from trl import GRPOConfig

from simko.adapters.trl import MethodConfig, MethodTrainer, plan_method
from simko.objectives import METHODS

REFUSED = {
    "method": ("ppo", {}, "unknown method 'ppo': choose from grpo, dr_grpo"),
    "option": ("nsr", {"method_options": {"k": 8}}, "nsr has no option 'k'; its options: clip_high, clip_low"),
    "value": ("pkpo", {"method_options": {"k": 0}}, "k must be a whole number of at least 1"),
    "no mapping": ("pkpo", {"method_options": "[8]"}, "method_options must be a mapping"),
    "missing option": ("pkpo", {"method_options": None}, "pkpo has no default for k.*method_options to {'k': '...'}"),
    "both missing": ("ds_grpo", {"method_options": None}, "gamma_right and gamma_wrong"),
    "kl": ("nsr", {"beta": 0.1}, "does not know beta"),
    "loss": ("nsr", {"loss_type": "grpo"}, "does not know loss_type"),
    "clip": ("nsr", {"epsilon": 0.1}, "does not know epsilon"),
    "upper clip": ("nsr", {"epsilon_high": 0.28}, "epsilon_high.*method_options"),
    "per sequence": ("nsr", {"importance_sampling_level": "sequence"}, "importance_sampling_level"),
    "two upper clips": ("rloo", {"epsilon_high": 0.28, "method_options": {"clip_high": 0.3}}, "rloo sets epsilon_high=0.3"),
    "entropy bonus": ("entropy_bonus", {"entropy_coef": 0.01}, "does not know entropy_coef"),
    "entropy mask": ("forking_tokens", {"top_entropy_quantile": 0.2}, "does not know top_entropy_quantile"),
    "scale": ("rloo", {"scale_rewards": "none"}, "do not know scale_rewards: leave scale_rewards out, or change"),
    "aggregation": ("rloo", {"multi_objective_aggregation": "normalize_then_sum"}, "multi_objective_aggregation"),
    "two clips": ("dapo", {"epsilon_high": 0.3}, r"dapo sets epsilon_high=0.28, you set 0.3: .*method_options"),
    "two losses": ("gspo", {"loss_type": "dr_grpo"}, "gspo sets loss_type='grpo'"),
    "two scales": ("dr_grpo", {"scale_rewards": "batch"}, "dr_grpo sets scale_rewards='none'"),
    "another length": ("dr_grpo", {"method_options": {"length": 3000}}, "max_completion_length"),
    "per sequence with a penalty": ("simko", {"importance_sampling_level": "sequence"}, "token"),
    "correctness without an effect": ("rloo", {"correctness": "right"}, "correctness has no effect: rloo takes rewards"),
    "warm-up": ("nsr", {"grpo_warmup_steps": 5}, "grpo_warmup_steps delays a row's token links.*set it to 0 for nsr"),
    "skipping what counts": ("kl_cov", {"skip_zero_advantage": True}, "advantage 0 count in kl_cov"),
    "skipping in gspo": ("gspo", {"skip_zero_advantage": True}, "loss_type dapo or cispo"),
    "dropping in dr_grpo": ("dr_grpo", {"drop_one_outcome_groups": True}, "divides by responses.*set drop_one_outcome_groups to False$"),
    "steps": ("nsr", {"accumulate": 4, "steps_per_generation": 6}, "steps_per_generation=6 must be a multiple"),
    "windows over rollouts": ("clip_cov", {"accumulate": 4, "steps_per_generation": 2}, "must be a multiple"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_say_the_way_out(tmp_path, case):
    name, options, way_out = REFUSED[case]
    with pytest.raises(ValueError, match=way_out):
        method_trainer(tmp_path, name, **options)


ACCEPTED = {
    "trl's own eps": ("grpo", {"method_options": {"eps": 1e-4}}),
    "trl's own length": ("dr_grpo", {"method_options": {"length": 12}}),
    "trl's own value": ("dapo", {"epsilon_high": 0.28}),
    "another clip": ("grpo", {"method_options": {"clip_high": 0.3}}),
    "a SimKO row on another loss": ("simko", {"loss_type": "grpo", "epsilon": 0.1}),
    "another eps": ("grpo", {"method_options": {"eps": 1e-6}}),
    "clip of a SimKO row": ("simko", {"method_options": {"clip_high": 0.28}}),
    "a row by advantages on another loss": ("rloo", {"loss_type": "cispo", "epsilon_high": 5.0}),
    "options as JSON": ("pkpo", {"method_options": '{"k": 2}'}),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_and_the_way_out_works(tmp_path, case):
    name, options = ACCEPTED[case]
    assert isinstance(method_trainer(tmp_path, name, **options), MethodTrainer)


def with_attention_dropout():
    model = tiny_model()
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.1
    return model


def with_dropout_module():
    model = tiny_model()
    model.model.layers[0].mlp.add_module("dropout", torch.nn.Dropout(0.1))
    return model


@pytest.mark.parametrize("model", [with_attention_dropout, with_dropout_module])
def test_dropout_is_refused_where_tokens_are_selected(tmp_path, model):
    with pytest.raises(ValueError, match="set the model's dropout to 0"):
        method_trainer(tmp_path, "forking_tokens", model=model())
    assert method_trainer(tmp_path, "nsr", model=model()).method.name == "nsr"


def test_needs_its_own_configuration(tmp_path):
    with pytest.raises(ValueError, match="needs a MethodConfig"):
        MethodTrainer(tiny_model(), right, GRPOConfig(str(tmp_path), use_cpu=True, bf16=False))


def test_kl_cov_says_once_that_it_does_nothing_on_policy(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "simko"):
        method_trainer(tmp_path / "a", "kl_cov", max_steps=2).train()
    assert len([r for r in caplog.records if "kl_cov's penalty" in r.getMessage()]) == 1
    caplog.clear()
    with caplog.at_level(logging.WARNING, "simko"):
        method_trainer(tmp_path / "b", "kl_cov", num_iterations=2)
    assert not [r for r in caplog.records if "kl_cov's penalty" in r.getMessage()]


def test_the_objective_in_one_line(tmp_path):
    def line(name, **options):
        args = MethodConfig(str(tmp_path), method=name, use_cpu=True, bf16=False, max_completion_length=12, **options)
        return plan_method(args).objective(args)

    assert line("nsr") == "nsr (clip_high=0.2, clip_low=0.2; its own loss)"
    assert line("dapo", beta=0.1) == "dapo (clip_high=0.28, clip_low=0.2, eps=0.0001, beta=0.1; TRL’s dapo loss)"
    pkpo = line("pkpo", method_options={"k": 8}, loss_type="dr_grpo", epsilon=0.1)
    assert pkpo == "pkpo (clip_high=0.1, clip_low=0.1, k=8, beta=0; TRL’s dr_grpo loss)"
    assert "length=12" in line("dr_grpo")
    assert line("simko_softmax").startswith("simko_softmax (alpha=0.01, clip_high=0.2")
    for name in METHODS:
        assert line(name, method_options=OPTIONS.get(name)).startswith(name)
