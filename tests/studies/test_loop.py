"""The loop in one file: what it samples, and the gradient it trains with."""

import sys
from pathlib import Path

import pytest
import torch
from torch.overrides import TorchFunctionMode
from transformers import AutoModelForCausalLM, AutoTokenizer

from simko.objectives import METHODS, candidate_gap
from simko.objectives.update import Adaptation
from simko.records import Problem
from simko.studies.head_to_head.measure import measure
from simko.studies.loop import Rollout, Run, Training, grade, next_problems, sample, score, train, update
from simko.studies.saved_run import load_run, save_run
from simko.tasks import get_task
from simko.token_stats import token_stats

PROMPTS = ["6 6 5 4 1 = 10", "1 2 3 4 5 = 15", "9 9 9 1 1 = 9"]


@pytest.fixture
def policy(tiny_base):
    return AutoModelForCausalLM.from_pretrained(tiny_base).eval(), AutoTokenizer.from_pretrained(tiny_base)


def rollout_of(policy, n=4, prompts=PROMPTS, length=7):
    return sample(*policy, prompts, n, length, torch.Generator().manual_seed(0))


def test_sampled_log_probabilities_are_those_of_the_whole_text(policy):
    rollout = rollout_of(policy)
    scored = score(policy[0], rollout, 1)
    assert torch.allclose(rollout.logp[rollout.mask], scored.logp[rollout.mask], atol=1e-5)


def test_padding_on_the_left_changes_nothing(policy):
    mixed = rollout_of(policy, prompts=["6 6 5 4 1 = 10", "1 2 = 3"])
    assert not mixed.prompt_mask.all()
    alone = rollout_of(policy, prompts=["1 2 = 3"])
    short = Rollout(alone.prompts, alone.prompt_mask, mixed.tokens[4:], mixed.mask[4:], mixed.logp[4:])
    scored = score(policy[0], short, 1)
    assert torch.allclose(short.logp[short.mask], scored.logp[short.mask], atol=1e-5)
    assert torch.allclose(score(policy[0], mixed, 1).logp[4:][short.mask], scored.logp[short.mask], atol=1e-5)


def test_samples_follow_the_policy_at_its_temperature(policy):
    model, tokenizer = policy
    rollout = sample(model, tokenizer, PROMPTS[:1], 20_000, 1, torch.Generator().manual_seed(1), temperature=0.5)
    logits = model(tokenizer(PROMPTS[:1], return_tensors="pt")["input_ids"]).logits[0, -1]
    wanted = (logits / 0.5).softmax(-1)
    found = rollout.tokens[:, 0].bincount(minlength=len(wanted)) / 20_000
    assert (found - wanted).abs().max() < 5 * (wanted.max() / 20_000) ** 0.5


def test_a_response_ends_with_its_end_token(policy):
    model, tokenizer = policy
    with torch.no_grad():
        model.lm_head.weight[tokenizer.eos_token_id] *= 0
        model.lm_head.weight[tokenizer.eos_token_id] += 0.2
    rollout = rollout_of((model, tokenizer), n=64, length=12)
    ended = (rollout.tokens == tokenizer.eos_token_id).any(1)
    assert ended.any()
    assert not ended.all()
    for tokens, mask in zip(rollout.tokens, rollout.mask, strict=True):
        assert tokens[mask].tolist()[:-1].count(tokenizer.eos_token_id) == 0
        assert (tokens[~mask] == tokenizer.pad_token_id).all()


@pytest.mark.parametrize("name", ["grpo", "simko", "simko_softmax", "entropy_bonus", "psr", "kl_cov", "forking_tokens"])
@pytest.mark.parametrize("micro_batch", [5, 100])
def test_an_update_follows_the_row_on_full_logits(policy, name, micro_batch):
    model, _ = policy
    method, rollout = METHODS[name], rollout_of(policy, n=8)
    options = {"alpha": 0.2, "top_penalty": 2.0} if name.startswith("simko") else {}
    method = method.with_options(**options)
    old = rollout.logp + 0.1 * torch.randn(rollout.logp.shape, generator=torch.Generator().manual_seed(2))
    rollout = rollout._replace(logp=old)
    rewards, groups = (torch.arange(24) % 3 == 0).float(), torch.arange(3).repeat_interleave(8)
    rewards[:8] = 0  # a group without an advantage
    advantages = method.advantages(rewards, groups, old_logp=old, mask=rollout.mask)

    ids, width = torch.cat([rollout.prompts, rollout.tokens], 1), rollout.prompts.shape[1]
    s = token_stats(model(ids).logits[:, width - 1 : -1], rollout.tokens, top_k=method.top_k or 1, impl="eager")
    gap = candidate_gap(s.topk_logp, s.logp, method.candidate_weights) if method.candidate_weights else None
    loss, _ = method.loss(
        rewards,
        groups,
        s.logp,
        old,
        s.entropy,
        gap,
        s.is_top1,
        rollout.mask,
        generator=torch.Generator().manual_seed(3),
    )
    wanted = torch.autograd.grad(loss, list(model.parameters()))
    model.zero_grad()

    seen: list[torch.Tensor] = []
    run = Run(model, method, Training(micro_batch=micro_batch, max_grad_norm=1e9), seed=3)
    run.optimizer.register_step_pre_hook(lambda *_: seen.extend(p.grad.clone() for p in model.parameters()))
    update(run, rollout, advantages)
    error = sum((a - b).norm() ** 2 for a, b in zip(seen, wanted, strict=True)) ** 0.5
    assert error < 1e-5 * sum(b.norm() ** 2 for b in wanted) ** 0.5


def test_training_repeats_bit_for_bit_and_differs_by_seed(tiny_base):
    task = get_task("operator_puzzle")
    settings = Training(rollouts=3, problems=4, responses=4)

    def trained(seed):
        model = AutoModelForCausalLM.from_pretrained(tiny_base)
        tokenizer = AutoTokenizer.from_pretrained(tiny_base)
        nsr = METHODS["nsr"]  # trains where nothing is correct
        run = Run(model, nsr, settings, seed)
        metrics = list(train(run, tokenizer, task.load("train", 50), task.verifier))
        assert [set(m) for m in metrics] == [{"reward", "kept", "ratio", "clipped"}] * 3
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    first = trained(1)
    assert torch.equal(first, trained(1))
    assert not torch.equal(first, trained(2))


def test_every_problem_comes_once_before_any_comes_twice(policy):
    run = Run(policy[0], METHODS["grpo"], Training(problems=5), seed=1)
    drawn = [p for _ in range(4) for p in next_problems(run, list(range(10)))]
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))


def test_responses_are_graded_against_their_own_prompts(policy):
    _, tokenizer = policy
    problems = get_task("operator_puzzle").load("train", 2)
    answers = tokenizer(["+ 1", "+ 1"], return_tensors="pt")["input_ids"]
    rollout = Rollout(answers, answers > 0, answers, answers > 0, answers.float())
    assert grade(tokenizer, rollout, problems, "operator_puzzle").tolist() == [0.0, 0.0]


def test_a_gradient_that_is_not_finite_stops_the_loop(policy):
    model, _ = policy
    rollout = rollout_of(policy)
    with torch.no_grad():
        model.lm_head.weight[3] = torch.nan
    with pytest.raises(RuntimeError, match="non-finite"):
        update(Run(model, METHODS["nsr"], Training(), seed=1), rollout, -torch.ones(12))


class Placed(TorchFunctionMode):
    """Records the lines of the loop and its evaluation that make a tensor without saying on which device."""

    MAKERS = (torch.arange, torch.randperm, torch.tensor, torch.zeros, torch.ones, torch.empty, torch.full, torch.rand)

    def __init__(self):
        super().__init__()
        self.unplaced, self.made = set(), 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        caller = sys._getframe(1)
        if function in self.MAKERS and Path(caller.f_code.co_filename).name in ("loop.py", "measure.py"):
            self.made += 1
            if "device" not in (kwargs or {}):
                self.unplaced.add(f"{caller.f_code.co_name}:{caller.f_lineno}")
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["grpo", "simko_adaptive"])
def test_every_tensor_is_made_on_the_models_device(policy, name):
    """A stand-in for a GPU: on one, a tensor that is made without a device meets others elsewhere, and fails."""
    task = get_task("operator_puzzle")
    run = Run(policy[0], METHODS[name], Training(rollouts=1, problems=4, responses=8), seed=1)
    with Placed() as placed:
        list(train(run, policy[1], task.load("train", 20), task.verifier))
        options = {"samples": 8, "max_new_tokens": 9, "temperature": 1.0, "seed": 1}
        measure(*policy, task.load("test", 4), task.verifier, **options)
    assert placed.made > 3
    assert not placed.unplaced


def test_a_saved_run_is_the_run(policy, tiny_base, tmp_path):
    problems = [Problem(str(i), PROMPTS[0], str(i)) for i in range(9)]  # an untrained model solves some
    settings = Training(rollouts=2, problems=4, responses=64)
    run = Run(policy[0], METHODS["simko_adaptive"], settings, seed=1)
    assert next(train(run, policy[1], problems, "last_integer"))["reward"] > 0
    assert run.adaptation.state_dict() != Adaptation(METHODS["simko_adaptive"]).state_dict()
    save_run(tmp_path / "run.pt", run, seconds=3.5)
    again = Run(AutoModelForCausalLM.from_pretrained(tiny_base), METHODS["simko_adaptive"], settings, seed=2)
    assert load_run(tmp_path / "run.pt", again) == {"seconds": 3.5}
    assert again.adaptation.state_dict() == run.adaptation.state_dict()
    assert again.adaptation.method.options == run.adaptation.method.options
    assert (again.order, again.rollouts) == (run.order, 1)
    assert torch.equal(again.draw.get_state(), run.draw.get_state())
    assert repr(again.optimizer.state_dict()) == repr(run.optimizer.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(again.model.parameters(), run.model.parameters(), strict=True))
