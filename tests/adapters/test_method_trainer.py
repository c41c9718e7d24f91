"""MethodTrainer: each way of running a row in TRL against plain computations; advantages, warm-up, dropping."""

from collections import deque

import pytest
import torch
from methods import (
    BY_ADVANTAGE,
    IN_TRL,
    OPTIONS,
    OWN,
    SIMKO,
    PlainLoss,
    assert_same_weights,
    log,
    method_trainer,
    right,
    scores,
    some_decided,
    trained,
    weights,
)
from paper import GradientCheck
from tiny import digit_share, make_trainer, tiny_dataset, tiny_model
from transformers import TrainerCallback

from simko.adapters.trl import RLVRTrainer, SimKOTrainer
from simko.adapters.trl_rows import plan_row
from simko.objectives import METHODS


def row(name):
    return METHODS[name].with_options(**OPTIONS.get(name, {}))


# Gradients and accumulation.


@pytest.mark.parametrize("name", ["nsr", "pkpo", "forking_tokens", "clip_cov", "ucpo"])
@pytest.mark.few(2)
def test_accumulation_changes_neither_weights_nor_metrics(tmp_path, name):
    whole, split = (trained(tmp_path / str(n), name, accumulate=n) for n in (1, 4))
    assert_same_weights(whole, split)
    for a, b in zip(log(whole), log(split), strict=True):
        for metric in METHODS[name].metrics * whole.plan.own_loss:  # TRL's own means are of micro-batches
            assert a[f"{name}/{metric}"] == pytest.approx(b[f"{name}/{metric}"], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", ["psr", "entropy_bonus", "kl_cov"])
def test_gradient_is_that_of_the_plain_loss(tmp_path, name):
    """Two updates a rollout: the first on-policy, the second off."""
    trainer = method_trainer(tmp_path, name, accumulate=2, num_iterations=2, max_steps=2, learning_rate=0.05)
    check = PlainLoss(trainer, row(name))
    trainer.train()
    assert max(check.errors) < 1e-5
    assert check.drift[0] < 1e-5 < check.drift[1]


def own_way(monkeypatch):
    """Rows that TRL implements run their own loss too."""
    monkeypatch.setattr("simko.adapters.trl_rows._trl_loss", lambda method: None)


def in_both_ways(tmp_path, monkeypatch, name, **options):
    """The row by TRL's options, and by its own advantages and policy_loss."""
    theirs = trained(tmp_path / "theirs", name, **options)
    with monkeypatch.context() as patch:
        own_way(patch)
        held = {"length": 12} if name == "dr_grpo" else {"eps": 1e-4}
        ours = trained(tmp_path / "ours", name, method_options=held, **options)
    assert ours.plan.own_loss
    assert not theirs.plan.own_loss
    return theirs, ours


@pytest.mark.parametrize("name", ["dapo", "gspo"])
def test_what_trl_implements_is_the_row(tmp_path, monkeypatch, name):
    theirs, ours = in_both_ways(tmp_path, monkeypatch, name, accumulate=2, num_iterations=2, max_steps=4)
    assert_same_weights(theirs, ours)
    assert max(r[f"{name}/clipped"] for r in log(ours)) > 0


def test_metrics_are_means_over_the_tokens_of_the_update(tmp_path):
    """kept of all tokens, ratio of the kept ones: micro-batches of unequal size weigh by their tokens."""
    trainer = method_trainer(tmp_path, "psr", accumulate=4, num_iterations=2, max_steps=2)
    batches, original = [], trainer._compute_loss

    def compute_loss(model, inputs):
        if len(batches) < 4:
            batches.append(dict(inputs))
        return original(model, inputs)

    trainer._compute_loss = compute_loss
    trainer.train()
    counted = [(b["completion_mask"].sum(), b["completion_mask"][b["advantages"] != 0].sum()) for b in batches]
    tokens, kept = (sum(int(c[i]) for c in counted) for i in (0, 1))
    assert log(trainer)[0]["psr/kept"] == pytest.approx(kept / tokens, rel=1e-5)
    assert log(trainer)[0]["psr/ratio"] == pytest.approx(1.0, rel=1e-5)
    assert log(trainer)[1]["psr/ratio"] > 1 + 1e-4


def test_evaluation_scores_the_row(tmp_path):
    trainer = method_trainer(
        tmp_path, "forking_tokens", max_steps=1, trainer={"eval_dataset": tiny_dataset(8)}, eval_strategy="steps",
        eval_steps=1, per_device_eval_batch_size=8,
    )  # fmt: skip
    trainer.train()
    (logged,) = [r for r in trainer.state.log_history if "eval_loss" in r]
    assert logged["eval_forking_tokens/kept"] == pytest.approx(0.2, abs=0.01)


# Advantages.


class Rollouts:
    """The advantages that a rollout gets, beside what the row makes of the same responses from full logits."""

    def __init__(self, trainer, method, reward=right):
        self.seen, self.expected, self.old_logp_errors = [], [], []
        original = trainer.change_rollout

        def change_rollout(rollout):
            original(rollout)
            texts = trainer.processing_class.batch_decode(rollout["completion_ids"], skip_special_tokens=True)
            rewards = torch.tensor([float("nan") if r is None else r for r in reward(texts)])
            with torch.no_grad():
                logp, _, mask = scores(trainer.model, rollout, trainer.args.temperature)
            if "old_per_token_logps" in rollout:
                error = (rollout["old_per_token_logps"] - logp)[mask].abs().max()
                self.old_logp_errors.append(float(error))
            groups = torch.arange(len(rewards)) // trainer.num_generations
            self.seen.append(rollout["advantages"].clone())
            self.expected.append(method.advantages(rewards, groups, old_logp=logp, mask=mask))
            self.rewards = rewards

        trainer.change_rollout = change_rollout


@pytest.mark.parametrize("iterations", [1, 2])
@pytest.mark.parametrize("name", ["unlikeliness", "ucpo", "ds_grpo"])
@pytest.mark.few(3)
def test_advantages_from_the_log_probabilities_of_the_rollout(tmp_path, name, iterations):
    """On-policy TRL makes no old log-probabilities and the trainer scores; off-policy TRL's are taken."""
    trainer = method_trainer(tmp_path, name, num_iterations=iterations, max_steps=1 + iterations, temperature=0.8)
    rollouts = Rollouts(trainer, row(name))
    trainer.train()
    assert len(rollouts.seen) == 2
    assert len(rollouts.old_logp_errors) == 2 * (iterations > 1)
    assert max(rollouts.old_logp_errors, default=0) < 1e-4
    plain = METHODS["grpo"].advantages(rollouts.rewards, torch.arange(16) // 4)
    for seen, expected in zip(rollouts.seen, rollouts.expected, strict=True):
        torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(rollouts.seen[-1], plain, atol=1e-3)


@pytest.mark.parametrize("name", ["w_reinforce", "rloo"])
def test_an_unscorable_response_has_no_advantage_and_no_part_in_its_group(tmp_path, name):
    def judge(completions, **_):
        return [None if i % 4 == 1 else r for i, r in enumerate(right(completions))]

    trainer = method_trainer(tmp_path, name, reward=judge, max_steps=1)
    rollouts = Rollouts(trainer, row(name), judge)
    trainer.train()
    (seen,), (expected,) = rollouts.seen, rollouts.expected
    torch.testing.assert_close(seen, expected)
    assert seen[1::4].eq(0).all()
    assert seen.ne(0).any()
    if name == "rloo":  # over the other three alone
        assert seen.view(4, 4).sum(1).abs().max() < 1e-5


def test_correctness_is_the_reward_function_that_is_named(tmp_path):
    trainer = method_trainer(tmp_path, "nsr", reward=[digit_share, right], correctness="right", max_steps=1)
    rollouts = Rollouts(trainer, row("nsr"))
    trainer.train()
    torch.testing.assert_close(rollouts.seen[0], rollouts.expected[0])
    assert set(rollouts.seen[0].tolist()) == {0.0, -1.0}
    table = trainer._logs["advantages"]
    assert isinstance(table, deque)
    assert list(table) == rollouts.seen[0].tolist()


def test_rewards_of_several_functions_are_summed_for_a_method_on_shaped_rewards(tmp_path):
    trainer = method_trainer(
        tmp_path, "rloo", reward=[digit_share, right], reward_weights=[2.0, 0.5], max_steps=1, fixed=False
    )

    def total(texts):
        return [2 * a + 0.5 * b for a, b in zip(digit_share(texts), right(texts), strict=True)]

    rollouts = Rollouts(trainer, row("rloo"), total)
    trainer.train()
    torch.testing.assert_close(rollouts.seen[0], rollouts.expected[0])


def test_a_method_on_right_and_wrong_asks_which_reward_says_so(tmp_path):
    both = [digit_share, right]
    with pytest.raises(ValueError, match="by correctness, one of digit_share, right"):
        method_trainer(tmp_path, "maxrl", reward=both)
    with pytest.raises(ValueError, match="one of digit_share, right; got 'wrong'"):
        method_trainer(tmp_path, "maxrl", reward=both, correctness="wrong")
    with pytest.raises(ValueError, match="one of right; got 'wrong'"):
        method_trainer(tmp_path, "maxrl", correctness="wrong")
    assert method_trainer(tmp_path, "rloo", reward=both).plan.own_advantages
    with pytest.raises(ValueError, match=r"maxrl is defined for correct \(1\) and incorrect \(0\) only"):
        method_trainer(tmp_path, "maxrl", reward=digit_share).train()


# Skipping, warm-up, dropping, SimKO.


@pytest.mark.parametrize("name", ["psr", "entropy_advantage"])
def test_skipping_rows_of_no_advantage_keeps_the_gradient(tmp_path, name):
    whole = trained(tmp_path / "a", name, accumulate=2, max_steps=2)
    skipped = method_trainer(tmp_path / "b", name, accumulate=2, max_steps=2, skip_zero_advantage=True)
    rows, score = [], skipped._get_per_token_logps_and_entropies
    skipped._get_per_token_logps_and_entropies = lambda m, ids, *a, **k: rows.append(len(ids)) or score(m, ids, *a, **k)
    skipped.train()
    assert min(rows) < 8
    assert_same_weights(whole, skipped)


class Steps(TrainerCallback):
    def __init__(self):
        self.weights = []

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]).clone())


STRONG = {"alpha": 0.3, "top_penalty": 1.5}


def test_warm_up_is_grpo_bit_for_bit_and_then_simko(tmp_path):
    plain, warm = Steps(), Steps()
    method_trainer(tmp_path / "a", "grpo", max_steps=4, trainer={"callbacks": [plain]}).train()
    warmed = method_trainer(
        tmp_path / "b", "simko", method_options=STRONG, grpo_warmup_steps=2, max_steps=4, trainer={"callbacks": [warm]}
    )
    warmed.train()
    same = [torch.equal(a, b) for a, b in zip(plain.weights, warm.weights, strict=True)]
    assert same == [True, True, False, False]
    assert ["simko/gated" in r for r in log(warmed)] == [False, False, True, True]
    also = Steps()
    make_trainer(
        tmp_path / "c", SimKOTrainer, simko_alpha=0.3, simko_top_penalty=1.5, grpo_warmup_steps=2, max_steps=4,
        reward=right, model=tiny_model(), optim="sgd", learning_rate=0.3, lr_scheduler_type="constant",
        max_grad_norm=0.0, per_device_train_batch_size=16,
        trainer={"callbacks": [also], "rollout_func": warmed.rollout_func},
    ).train()  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(warm.weights, also.weights, strict=True))


FACES = {
    "simko": {},
    "simko_softmax": {"simko_weights": "softmax"},
    "simko_reference": {"simko_penalty": "advantage"},
    "simko_positive": {"simko_top_penalty": 1.0},
    "simko_negative": {"simko_alpha": 0.0},
}


@pytest.mark.parametrize("name", FACES)
def test_simko_rows_are_simko_trainer(tmp_path, name):
    own = {k: v for k, v in STRONG.items() if k in METHODS[name].options}
    ours = trained(tmp_path / "a", name, method_options=own, accumulate=2, num_iterations=2, max_steps=2)
    theirs = make_trainer(
        tmp_path / "b", SimKOTrainer, reward=right, model=tiny_model(), optim="sgd", learning_rate=0.3,
        lr_scheduler_type="constant", max_grad_norm=0.0, per_device_train_batch_size=8, gradient_accumulation_steps=2,
        num_iterations=2, max_steps=2, trainer={"rollout_func": ours.rollout_func}, **FACES[name],
    )  # fmt: skip
    theirs.train()
    assert torch.equal(weights(ours), weights(theirs))
    metrics = [k for k in log(theirs)[0] if k in log(ours)[0] and k.startswith("simko/")]
    assert len(metrics) == 2 + len(METHODS[name].token_links)
    assert all(a[k] == b[k] for a, b in zip(log(ours), log(theirs), strict=True) for k in metrics)


def undecided(joined):
    return joined["completion_mask"].any(1)


@pytest.mark.parametrize("name", ["grpo", "ds_grpo", "entropy_bonus"])
def test_dropping_groups_is_deleting_them(tmp_path, name):
    """ds_grpo and the entropy bonus would train on them; the denominator of all three counts them."""
    trainer = method_trainer(
        tmp_path, name, accumulate=2, reward=some_decided, drop_one_outcome_groups=True, num_iterations=2, max_steps=2
    )
    check, decided = PlainLoss(trainer, row(name), keep=undecided), []
    original = trainer.change_rollout
    trainer.change_rollout = lambda rollout: decided.append(trainer.scored_rewards()) or original(rollout)
    trainer.train()
    groups = decided[0].view(-1, 4)
    mixed = int((groups.amax(1) != groups.amin(1)).sum())
    assert 0 < mixed < 4
    assert check.rows == [4 * mixed] * 2
    assert max(check.errors) < 1e-5


def test_dropping_groups_under_simko(tmp_path):
    trainer = make_trainer(tmp_path, SimKOTrainer, drop_one_outcome_groups=True, reward=some_decided, max_steps=2,
                           per_device_train_batch_size=16, max_grad_norm=0.0)  # fmt: skip
    check = GradientCheck.watch(trainer)
    trainer.train()
    assert max(check.errors) < 1e-5


def test_groups_are_decided_by_their_scorable_responses(tmp_path):
    trainer = method_trainer(tmp_path, "grpo", drop_one_outcome_groups=True)
    nan = float("nan")
    trainer._rewards = torch.tensor([1, nan, 1, 1, 0, nan, 1, 0, nan, nan, nan, nan, 0, 0, 0, 0])[:, None]
    rollout = {"completion_ids": torch.zeros(16, 3, dtype=torch.long), "completion_mask": torch.ones(16, 3)}
    trainer._drop_one_outcome_groups(rollout)
    assert rollout["completion_mask"].any(1).view(4, 4).tolist() == [[False] * 4, [True] * 4, [False] * 4, [False] * 4]
    assert rollout["num_items_in_batch"] == 12


def test_a_binary_method_drops_by_correctness(tmp_path):
    """The total reward is mixed where correctness is not."""
    trainer = method_trainer(tmp_path, "nsr", reward=[digit_share, right], correctness="right")
    trainer._rewards = torch.rand(16, 2)
    assert torch.equal(trainer.scored_rewards(), trainer._rewards[:, 1])
    plain = make_trainer(tmp_path, RLVRTrainer, reward=[digit_share, right], reward_weights=[1.0, 0.5])
    plain._rewards = torch.tensor([[1.0, 1.0], [float("nan"), 1.0], [float("nan"), float("nan")]])
    assert plain.scored_rewards().nan_to_num(-1).tolist() == [1.5, 0.5, -1.0]


def test_rows_by_how_they_run():
    ways = {name: plan_row(METHODS[name]).way() for name in METHODS}
    assert {name for name, way in ways.items() if way == "TRL's options"} == set(IN_TRL)
    assert {name for name, way in ways.items() if way == "TRL's loss with its token links"} == {
        *SIMKO,
        "entropy_advantage",
    }
    assert {name for name, way in ways.items() if way == "TRL's loss with its own advantages"} == set(BY_ADVANTAGE)
    assert {name for name, way in ways.items() if way == "own advantages and own loss"} == set(OWN)
