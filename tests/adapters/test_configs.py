"""What configurations refuse at construction, how they follow the machine, and when sampling is not what is scored."""

import logging

import pytest
import torch
from tiny import TRAINING, make_trainer, tiny_model
from trl import GRPOConfig

from simko.adapters.trl import MethodConfig, RLVRConfig, RLVRTrainer, SimKOConfig
from simko.training.recipe import RunArguments, TrainingConfig

LEAST = {"probe_every": 0, "probe_rows": 1, "grpo_warmup_steps": 0, "simko_top_k": 1}
CONFIGS = [RLVRConfig, SimKOConfig, MethodConfig, TrainingConfig]


@pytest.mark.parametrize("option", LEAST)
@pytest.mark.parametrize("config", CONFIGS)
def test_counts_are_whole_and_large_enough(tmp_path, option, config):
    if option not in config.__dataclass_fields__:
        return
    unset = () if config.__dataclass_fields__[option].default is None else (None,)
    for value in (LEAST[option] - 1, -7, 2.5, True, "3", *unset):
        with pytest.raises(ValueError, match=f"{option} must be a whole number of at least {LEAST[option]}"):
            config(str(tmp_path), **{option: value})
    assert getattr(config(str(tmp_path), **{option: LEAST[option]}), option) == LEAST[option]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("alpha", -0.1),
        ("alpha", 2.0),
        ("top_penalty", 0.6),
        ("gate_quantile", 1.2),
        ("weights", "hard"),
        ("penalty", "x"),
    ],
)
def test_simkos_numbers_are_checked_at_construction(tmp_path, option, value):
    with pytest.raises(ValueError, match=f"^simko_{option}"):
        SimKOConfig(str(tmp_path), **{f"simko_{option}": value})


@pytest.mark.parametrize(
    ("option", "least"), [("train_problems", 1), ("passk_every", 0), ("passk_samples", 1), ("passk_problems", 1)]
)
def test_counts_of_a_run(option, least):
    for value in (least - 1, -5, 1.5, "2"):
        with pytest.raises(ValueError, match=f"{option} must be a whole number of at least {least}"):
            RunArguments(**{option: value})


WITHOUT_GPU = pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator here")


@WITHOUT_GPU
@pytest.mark.parametrize("config", CONFIGS)
def test_a_machine_without_an_accelerator(tmp_path, config, caplog):
    with pytest.raises(ValueError, match="bf16"):
        GRPOConfig(str(tmp_path))  # what TRL's own defaults do here
    args = config(str(tmp_path))
    assert (args.use_cpu, args.bf16, args.fp16) == (True, False, False)
    assert args.device.type == "cpu"
    assert len(caplog.records) == 1
    assert "use_cpu=True and bf16=False (float32), since it trains on the CPU" in caplog.text


@WITHOUT_GPU
def test_what_the_user_sets_stays(tmp_path, caplog):
    asked = {"bf16": True}, {"bf16": False}, {"fp16": True}, {"bf16": True, "use_cpu": True}
    found = [RLVRConfig(str(tmp_path), **words) for words in asked]
    assert [(a.bf16, a.fp16) for a in found] == [(True, False), (False, False), (False, True), (True, False)]
    assert [a.mixed_precision for a in found] == ["bf16", "no", "fp16", "bf16"]
    assert all(a.use_cpu for a in found)
    caplog.clear()
    RLVRConfig(str(tmp_path), bf16=False, use_cpu=True)
    assert not caplog.records


SHIFTED = {
    "top_p": {"top_p": 0.9},
    "top_k": {"top_k": 5},
    "min_p": {"min_p": 0.1},
    "repetition_penalty": {"repetition_penalty": 1.1},
    "generation_kwargs": {"generation_kwargs": {"top_p": 0.9}},
    "another temperature": {"temperature": 1.0, "generation_kwargs": {"temperature": 0.7}},
    "greedy": {"generation_kwargs": {"do_sample": False}},
    "typical_p": {"generation_kwargs": {"typical_p": 0.9}},
    "no_repeat_ngram_size": {"generation_kwargs": {"no_repeat_ngram_size": 2}},
    "min_new_tokens": {"generation_kwargs": {"min_new_tokens": 3}},
    "suppress_tokens": {"generation_kwargs": {"suppress_tokens": [7]}},
    "one of many": {"generation_kwargs": {"max_time": 9.0, "bad_words_ids": [[5]], "top_k": 0}},
}
NOT_SHIFTED = {
    "defaults": {},
    "neutral values": {"generation_kwargs": {"top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0, "typical_p": 1.0}},
    "back to neutral": {"top_p": 0.9, "generation_kwargs": {"top_p": 1.0}},
    "the same temperature": {"temperature": 0.7, "generation_kwargs": {"temperature": 0.7}},
    "where it ends": {"generation_kwargs": {"eos_token_id": 7, "max_new_tokens": 5, "stop_strings": ["="]}},
}


@pytest.mark.parametrize("name", [*SHIFTED, *NOT_SHIFTED])
def test_sampling_that_is_not_what_is_scored_is_said(tmp_path, caplog, name):
    options = (SHIFTED | NOT_SHIFTED)[name]
    with caplog.at_level(logging.WARNING, "simko"):
        make_trainer(tmp_path, RLVRTrainer, **options)
    assert ("rollouts are sampled with" in caplog.text) == (name in SHIFTED)
    for key in (options.get("generation_kwargs", options)) if name in SHIFTED else ():
        assert f"{key}=" in caplog.text or key in ("max_time", "top_k")


def test_the_models_own_generation_config_counts(tmp_path, caplog):
    model = tiny_model()
    model.generation_config.top_p = 0.8  # TRL's own option wins over it
    with caplog.at_level(logging.WARNING, "simko"):
        make_trainer(tmp_path / "a", RLVRTrainer, model=model)
        assert "rollouts are sampled with" not in caplog.text
        model = tiny_model()
        model.generation_config.no_repeat_ngram_size = 3
        make_trainer(tmp_path / "b", RLVRTrainer, model=model)
    assert "rollouts are sampled with no_repeat_ngram_size=3" in caplog.text


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf"), 1e300])
def test_a_time_limit_that_cannot_be_waited_for_is_refused(tmp_path, seconds):
    with pytest.raises(ValueError, match=r"reward_timeout must be a number of seconds above 0, at most \d+"):
        RLVRConfig(str(tmp_path), reward_timeout=seconds, **TRAINING)
