"""MethodTrainer: each way of running a row in TRL against plain computations; advantages, refusals, warm-up, dropping."""

import logging
from collections import deque

import pytest
import torch
from methods import (
    IN_TRL,
    OPTIONS,
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
from trl import GRPOConfig

from simko.adapters.trl import MethodConfig, MethodTrainer, RLVRTrainer, SimKOTrainer
from simko.adapters.trl import method_config as method_config_module
from simko.adapters.trl.method_config import plan_method
from simko.objectives import METHODS


def row(name):
    return METHODS[name].with_options(**OPTIONS.get(name, {}))


# Gradients and accumulation.


@pytest.mark.parametrize("name", ["nsr", "pkpo", "forking_tokens", "clip_cov", "ucpo"])
def test_accumulation_changes_neither_weights_nor_metrics(tmp_path, name):
    whole, split = (trained(tmp_path / str(n), name, accumulate=n) for n in (1, 4))
    assert_same_weights(whole, split)
    for a, b in zip(log(whole), log(split), strict=True):
        for metric in METHODS[name].metrics:
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
    monkeypatch.setattr(method_config_module, "_trl_options", lambda method: None)


def in_both_ways(tmp_path, monkeypatch, name, **options):
    """The row by TRL's options, and by its own advantages and policy_loss."""
    theirs = trained(tmp_path / "theirs", name, **options)
    with monkeypatch.context() as patch:
        own_way(patch)
        held = {"length": 12} if name == "dr_grpo" else {"eps": 1e-4}
        ours = trained(tmp_path / "ours", name, method_options=held, **options)
    assert ours._runs_own_loss
    assert not theirs._runs_own_loss
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
    assert method_trainer(tmp_path, "rloo", reward=both)._runs_own_loss
    with pytest.raises(ValueError, match=r"maxrl is defined for right \(1\) and wrong \(0\) only"):
        method_trainer(tmp_path, "maxrl", reward=digit_share).train()


# Refusals.

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
    "upper clip": ("rloo", {"epsilon_high": 0.28}, "epsilon_high.*method_options"),
    "per sequence": ("rloo", {"importance_sampling_level": "sequence"}, "importance_sampling_level"),
    "entropy bonus": ("entropy_bonus", {"entropy_coef": 0.01}, "does not know entropy_coef"),
    "entropy mask": ("forking_tokens", {"top_entropy_quantile": 0.2}, "does not know top_entropy_quantile"),
    "scale": ("rloo", {"scale_rewards": "none"}, "does not know scale_rewards"),
    "aggregation": ("rloo", {"multi_objective_aggregation": "normalize_then_sum"}, "multi_objective_aggregation"),
    "two clips": ("dapo", {"epsilon_high": 0.3}, r"dapo sets epsilon_high=0.28, you set 0.3: .*method_options"),
    "two losses": ("gspo", {"loss_type": "dr_grpo"}, "gspo sets loss_type='grpo'"),
    "two scales": ("dr_grpo", {"scale_rewards": "batch"}, "dr_grpo sets scale_rewards='none'"),
    "another eps": ("grpo", {"method_options": {"eps": 1e-6}}, "eps 0.0001, which no option changes"),
    "another length": ("dr_grpo", {"method_options": {"length": 3000}}, "max_completion_length"),
    "clip of a SimKO row": ("simko", {"method_options": {"clip_high": 0.28}}, "set TRL's epsilon_high"),
    "per sequence with a penalty": ("simko", {"importance_sampling_level": "sequence"}, "token"),
    "warm-up": ("nsr", {"grpo_warmup_steps": 5}, "grpo_warmup_steps delays SimKO's rows only"),
    "skipping what counts": ("kl_cov", {"skip_zero_advantage": True}, "advantage 0 count in kl_cov"),
    "skipping in gspo": ("gspo", {"skip_zero_advantage": True}, "loss_type dapo or cispo"),
    "dropping in dr_grpo": ("dr_grpo", {"drop_one_outcome_groups": True}, "divides by responses"),
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

    assert line("pkpo", method_options={"k": 8}) == "pkpo (clip_high=0.2, clip_low=0.2, k=8; its own loss)"
    assert line("dapo", beta=0.1) == "dapo (clip_high=0.28, clip_low=0.2, eps=0.0001, beta=0.1; TRL’s loss)"
    assert "length=12" in line("dr_grpo")
    assert line("simko_softmax").startswith("simko_softmax on dapo (alpha=0.01, K=3, softmax weights, lambda=1.1")
    for name in METHODS:
        assert line(name, method_options=OPTIONS.get(name)).startswith(name)


# Skipping, warm-up, dropping, SimKO.


@pytest.mark.parametrize("name", ["psr", "entropy_advantage"])
def test_skipping_rows_of_no_advantage_keeps_the_gradient(tmp_path, name):
    whole = trained(tmp_path / "a", name, accumulate=2, max_steps=2)
    skipped = method_trainer(tmp_path / "b", name, accumulate=2, max_steps=2, skip_zero_advantage=True)
    rows, original = [], skipped._score
    skipped._score = lambda batch, *a, **k: rows.append(len(batch["advantages"])) or original(batch, *a, **k)
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
    "simko_negative": {"simko_alpha": 0.0, "simko_top_k": 1},  # no candidates beyond rank 1 to report a gap of
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
    metrics = [k for k in log(theirs)[0] if k.startswith("simko/")]
    assert len(metrics) == 4
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
    config = {name: method_config_module._trl_options(METHODS[name]) is not None for name in METHODS}
    assert {name for name, in_trl in config.items() if in_trl} == set(IN_TRL)
