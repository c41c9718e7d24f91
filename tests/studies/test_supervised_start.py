"""The supervised start of a pretrained model, on a tiny one."""

import shutil
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from simko.studies.bfloat16 import in_bfloat16
from simko.studies.loop import sample, score
from simko.studies.puzzles import PUZZLES
from simko.studies.supervised_start import SupervisedStart, as_rollout, pretrained_model, supervised_model


@pytest.fixture
def settings(tmp_path, tiny_base, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return SupervisedStart(
        task="operator_puzzle", model=str(tiny_base), steps=12, batch=40, learning_rate=1e-2, unsolved=0.5, seed=1
    )


def traces_loss(folder, traces):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    rollout = as_rollout(tokenizer, traces)
    with torch.no_grad():
        return -float(score(model, rollout, 1).logp[rollout.mask].mean())


def test_it_learns_the_traces_and_repeats_bit_for_bit(settings, tmp_path):
    folder = supervised_model(settings, threads=1)
    traces = PUZZLES["operator_puzzle"].traces(50, 2, 0.5)
    assert traces_loss(folder, traces) < traces_loss(settings.model, traces) - 0.3
    first = (folder / "model.safetensors").read_bytes()
    assert supervised_model(settings, threads=1) == folder  # cached
    shutil.rmtree(folder)
    assert supervised_model(settings, threads=1) == folder
    assert (folder / "model.safetensors").read_bytes() == first
    assert [path.name for path in (tmp_path / "cache" / "simko").iterdir()] == [folder.name]


def test_another_setting_or_another_model_is_another_base(settings, tmp_path):
    folders = {supervised_model(s, threads=1) for s in (replace(settings, steps=1), replace(settings, steps=2))}
    model = AutoModelForCausalLM.from_pretrained(settings.model)
    with torch.no_grad():
        model.lm_head.weight[0] += 1
    shutil.copytree(settings.model, tmp_path / "other")
    model.save_pretrained(tmp_path / "other")
    other = replace(settings, steps=1, model=str(tmp_path / "other"))
    assert len(folders | {supervised_model(other, threads=1)}) == 3


def test_an_interrupted_start_leaves_nothing(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        supervised_model(settings, threads=1)
    assert list((tmp_path / "cache" / "simko").iterdir()) == []


def test_responses_end_with_the_end_token_and_prompts_are_padded_on_the_left(tiny_base):
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    rollout = as_rollout(tokenizer, [("6 6 5 = 10", "+ 12 - 7"), ("1 2 = 3", "+ 3")])
    for tokens, mask, text in zip(rollout.tokens, rollout.mask, ("+ 12 - 7", "+ 3"), strict=True):
        assert tokens[mask][-1] == tokenizer.eos_token_id
        assert tokenizer.decode(tokens[mask][:-1]) == text
    assert rollout.prompt_mask.tolist()[1] == [False, True, True, True, True]


def test_a_folder_is_taken_as_it_is(tiny_base):
    assert pretrained_model(str(tiny_base)) == tiny_base


def test_bfloat16_keeps_weights_logits_and_gradients_in_float32(tiny_base):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_base).eval(), AutoTokenizer.from_pretrained(tiny_base)
    rollout = sample(model, tokenizer, ["6 6 5 4 1 = 10"], 20, 9, torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.lm_head.weight *= 200  # logits as large as those of language models
        large = score(model, rollout, 1).logp
    in_bfloat16(model)
    rounded = score(model, rollout, 1).logp
    rounded.sum().backward()
    assert {p.grad.dtype for p in model.parameters()} == {p.dtype for p in model.parameters()} == {torch.float32}
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, large)  # the layers are rounded
    again = sample(model, tokenizer, ["6 6 5 4 1 = 10"], 20, 9, torch.Generator().manual_seed(0))
    assert (score(model, again, 1).logp - again.logp)[again.mask].abs().max() < 0.5
    hidden = torch.randn(4, model.config.hidden_size).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model.lm_head(hidden)
    assert torch.equal(logits, hidden.float() @ model.lm_head.weight.T)  # the head is not
