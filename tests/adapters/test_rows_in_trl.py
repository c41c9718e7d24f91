"""TRL's features around rows of METHODS that ride TRL's own loss: by their advantages, by a token link, and by both.

Each test trains for real. Just before each optimizer step the parameters' gradient is compared with that of Method.loss
on full logits, where the row has the links that TRL's option stands for, and of what TRL adds to it.
"""

from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from methods import method_trainer, right
from paper import completion_logits, gradient, load_balancing, relative_error
from test_trl_features import MIXTURES
from tiny import LORA, fixed_rollout, tiny_model
from transformers import TrainerCallback

from simko.adapters.trl.loss import Candidates, core_metrics, link_loss, tokens_of
from simko.objectives import METHODS, candidate_gap
from simko.objectives import surrogate as sur
from simko.objectives.reduction import reduce_loss
from simko.objectives.tokens import entropy_reward

BOTH = replace(
    METHODS["simko"].with_options(alpha=0.3, top_penalty=1.5, gate_quantile=0.5),
    name="simko_passk",
    estimator=METHODS["passk_training"].with_options(k=2).estimator,
    binary=True,
)
ROWS = {
    "rloo": METHODS["rloo"],
    "ucpo": METHODS["ucpo"].with_options(tau=0.8),
    "entropy_advantage": METHODS["entropy_advantage"],
    "simko_passk": BOTH,
}


def clip(low, high=None):
    return partial(sur.clip_ratio, clip_low=low, clip_high=low if high is None else high)


@dataclass
class Feature:
    """What TRL is told, what that makes of a row, and what it multiplies each token's loss with."""

    options: dict
    row: dict
    weights: object = None


def high_entropy(t, share):
    return t["entropy"] >= t["entropy"][t["mask"]].quantile(1 - share)


def near_the_old_policy(t, threshold):
    """0 for worse responses that have drifted away from what sampled them."""
    old_logp = t.get("sampling_per_token_logps", t["old_logp"])
    drift = ((old_logp - t["logp"].detach()) * t["mask"]).sum(1) / t["mask"].sum(1)
    return ((t["rewards"] == 1) | (drift <= threshold))[:, None]


FEATURES = {
    "as it is": Feature({}, {}),
    "accumulation": Feature({"accumulate": 4}, {}),
    "temperature": Feature({"temperature": 0.7}, {}),
    "another clip": Feature({"epsilon": 0.05, "epsilon_high": 0.1, "learning_rate": 0.2}, {"surrogate": clip(0.05, 0.1)}),
    "loss of grpo": Feature({"loss_type": "grpo"}, {"reduction": partial(reduce_loss, reduction="sequence_mean")}),
    "loss of dr_grpo": Feature(
        {"loss_type": "dr_grpo", "max_completion_length": 13},
        {"reduction": partial(reduce_loss, reduction="constant", length=13)},
    ),
    "loss of cispo": Feature(
        {"loss_type": "cispo", "epsilon_high": 1.6, "learning_rate": 0.5}, {"surrogate": partial(sur.cap_weight, ratio_cap=1.6)}
    ),
    "entropy_coef": Feature(
        {"entropy_coef": 0.2, "accumulate": 1}, {"auxiliary": partial(entropy_reward, entropy_coef=0.2)}
    ),
    "top_entropy_quantile": Feature(
        {"top_entropy_quantile": 0.4, "accumulate": 1}, {}, partial(high_entropy, share=0.4)
    ),
    "off_policy_mask_threshold": Feature(
        {"off_policy_mask_threshold": 2e-3}, {}, partial(near_the_old_policy, threshold=2e-3)
    ),
    "vLLM's corrections": Feature(
        {"off_policy_mask_threshold": 2e-3}, {},
        lambda t: t["importance_sampling_ratio"] * near_the_old_policy(t, threshold=2e-3),
    ),
    "kl": Feature({"beta": 0.5}, {}),
    "kl per response": Feature(
        {"beta": 0.5, "loss_type": "grpo"}, {"reduction": partial(reduce_loss, reduction="sequence_mean")}
    ),
    "LoRA": Feature({"trainer": {"peft_config": LORA()}}, {}),
    "LoRA with kl": Feature({"trainer": {"peft_config": LORA()}, "beta": 0.5, "learning_rate": 1.0}, {}),
    "tool tokens": Feature({"trainer": {"rollout_func": fixed_rollout(env_mask=True)}}, {}),
    "mixture of experts": Feature({"router_aux_loss_coef": 0.5}, {}),
}  # fmt: skip


QUICK = (
    "off_policy_mask_threshold",
    "vLLM's corrections",
    "kl",
    "tool tokens",
    "LoRA",
)  # of all rows; the others of two
CASES = [
    pytest.param(
        name, feature, marks=() if name in ("rloo", "entropy_advantage") or feature in QUICK else pytest.mark.slow
    )
    for name in ROWS
    for feature in FEATURES
]

NOTHING = Feature({}, {})
UNSEEN = ("as it is", "accumulation", "temperature", "LoRA", "tool tokens")  # the plain loss knows of these anyway


class RowLoss(TrainerCallback):
    """Just before each optimizer step: how far the gradient is from that of a row under a feature, from GRPO's under it,
    and from the row's without it."""

    def __init__(self, trainer, row, feature):
        self.trainer, self.batches, self.drift = trainer, [], []
        self.cases = {"row": (row, feature), "grpo": (METHODS["grpo"], feature), "without it": (row, NOTHING)}
        self.errors = {name: [] for name in self.cases}
        loss = trainer._compute_loss
        trainer._compute_loss = lambda model, inputs: self.batches.append(dict(inputs)) or loss(model, inputs)
        trainer.add_callback(self)

    def loss(self, row, feature, first):
        trainer, model, row = self.trainer, self.trainer.model, replace(row, **feature.row)
        joined = {k: torch.cat([b[k] for b in self.batches]) for k in self.batches[0] if k != "num_items_in_batch"}
        logits, ids = completion_logits(model, joined, trainer.args.temperature), joined["completion_ids"]
        every = logits.log_softmax(-1)
        t = joined | {"logp": every.gather(-1, ids[..., None]).squeeze(-1), "first": first}
        t["entropy"], t["mask"] = -(every.exp() * every).sum(-1), joined["completion_mask"].bool()
        if "tool_mask" in joined:
            t["mask"] = t["mask"] & joined["tool_mask"].bool()
        t["old_logp"] = t["logp"].detach() if first else joined["old_per_token_logps"]
        t["rewards"] = torch.tensor(right(trainer.processing_class.batch_decode(ids, skip_special_tokens=True)))
        self.drift.append(float((t["logp"] - t["old_logp"]).detach()[t["mask"]].abs().max()))
        if feature.weights is not None:  # after the row's links, as if it were one more
            weights = feature.weights(t).float()
            weigh = partial(lambda tokens: (tokens._replace(advantages=tokens.advantages * weights), {}))
            row = replace(row, token_links=(*row.token_links, weigh))
        topk = logits.detach().topk(row.top_k or 1, -1).indices
        gap = candidate_gap(every.gather(-1, topk), t["logp"], row.candidate_weights or "uniform")
        groups = torch.unique(joined["prompt_ids"], dim=0, return_inverse=True)[1]
        loss, _ = row.loss(
            t["rewards"], groups, t["logp"], t["old_logp"], t["entropy"], gap, topk[..., 0] == ids, t["mask"]
        )
        if feature is NOTHING:
            return loss
        if trainer.beta:
            above = joined["ref_per_token_logps"] - t["logp"]
            loss = loss + trainer.beta * row.reduction(above.exp() - above - 1, t["mask"])
        if trainer.aux_loss_enabled:
            balance = [load_balancing(model, b) for b in self.batches]
            loss = loss + trainer.router_aux_loss_coef * sum(balance) / len(balance)
        return loss

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        model = self.trainer.model
        kept = {name: p.grad for name, p in model.named_parameters()}
        applied = gradient(model)
        for name, (row, feature) in self.cases.items():
            model.zero_grad()
            self.loss(row, feature, state.global_step % 2 == 0).backward()
            self.errors[name].append(relative_error(applied, gradient(model)))
        self.batches.clear()
        for name, p in model.named_parameters():
            p.grad = kept[name]


def with_reference(folder):
    """The tiny model, whose reference is another one."""
    tiny_model(seed=5).save_pretrained(folder)
    model = tiny_model()
    model.config._name_or_path = str(folder)
    return model


def as_if_sampled_by_vllm(trainer):
    """The loss with what TRL makes of a sampler whose log-probabilities differ from the trainer's."""
    change, loss = trainer.change_rollout, trainer._compute_loss

    def change_rollout(rollout):
        change(rollout)
        draw = torch.rand(rollout["completion_ids"].shape)
        rollout["importance_sampling_ratio"] = 0.5 + draw
        rollout["sampling_per_token_logps"] = rollout["old_per_token_logps"] + draw - 0.5

    def compute_loss(model, inputs):
        trainer.use_vllm = True
        try:
            return loss(model, inputs)
        finally:
            trainer.use_vllm = False

    trainer.change_rollout, trainer._compute_loss = change_rollout, compute_loss


@pytest.mark.parametrize(("name", "feature"), CASES)
@pytest.mark.few(10)
def test_gradient_is_the_row_s_under_a_feature_of_trl_s(tmp_path, monkeypatch, name, feature):
    """Two updates of a rollout: the first on-policy, the second off."""
    monkeypatch.setitem(METHODS, name, ROWS[name])
    how = FEATURES[feature]
    options = {"accumulate": 2, "num_iterations": 2, "max_steps": 2, "learning_rate": 0.05} | how.options
    if feature == "mixture of experts":
        torch.manual_seed(0)
        options["model"] = MIXTURES["qwen3_moe"]()
    elif feature.startswith("kl"):
        options["model"] = with_reference(tmp_path / "reference")
    trainer = method_trainer(tmp_path, name, **options)
    assert trainer.plan.way().startswith("TRL's loss with its ")
    row = ROWS[name] if trainer.plan.own_advantages else ROWS[name].with_options(eps=1e-4)  # TRL's
    check = RowLoss(trainer, row, how)
    if feature == "vLLM's corrections":
        as_if_sampled_by_vllm(trainer)
    trainer.train()
    assert len(check.errors["row"]) == 2
    assert max(check.errors["row"]) < 1e-5
    assert min(check.errors["grpo"]) > 1e-3  # what a gradient of plain GRPO would miss
    assert feature in UNSEEN or max(check.errors["without it"]) > 1e-3
    assert check.drift[-1] > 1e-3


def test_tokens_that_do_not_count_keep_their_log_probabilities():
    """A tool's may be of any size: a ratio of another than its own would overflow, and 0 times infinity trains nan."""
    logp, counted = torch.full((2, 6), -200.0), torch.tensor([[1, 1, 0, 1, 0, 0], [1, 0, 0, 1, 1, 1]])
    inputs = {
        "completion_mask": torch.ones(2, 6), "tool_mask": counted, "advantages": torch.tensor([1.0, -1.0]),
        "old_per_token_logps": logp - 0.1, "ref_per_token_logps": logp - 0.2, "left_out": torch.tensor(0),
        "candidates": Candidates(torch.rand(2, 6), counted != 0, counted != 0),
    }  # fmt: skip
    before = dict(inputs)
    after, _ = link_loss(BOTH.with_options(gate_quantile=None), logp, torch.ones(2, 6), inputs)
    assert torch.equal(after, logp)
    for name in ("old_per_token_logps", "ref_per_token_logps"):
        assert torch.equal(inputs[name][counted == 0], before[name][counted == 0])
    assert inputs["old_per_token_logps"][1, 0] < before["old_per_token_logps"][1, 0]
    assert torch.equal(inputs["sampling_per_token_logps"], before["old_per_token_logps"])


def test_advantages_that_a_link_changes_without_saying_so_count_as_changed():
    double = partial(lambda tokens: (tokens._replace(advantages=2 * tokens.advantages), {}))
    inputs = {
        "completion_mask": torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]]), "left_out": torch.tensor(2),
        "advantages": torch.tensor([-1.0, 0.5, 0.0]),
    }  # fmt: skip
    logp = -torch.rand(3, 4)
    _, metrics = link_loss(replace(METHODS["grpo"], token_links=(double,)), logp, torch.ones(3, 4), inputs)
    assert metrics["changed"].value() == pytest.approx(5 / 8)
    assert metrics["raised"].value() == pytest.approx(2 / 8)


def test_clipped_tokens_of_an_own_loss_are_a_share_of_those_left_out_too():
    inputs = {
        "completion_mask": torch.ones(2, 4), "left_out": torch.tensor(8), "advantages": torch.tensor([-1.0, 1.0]),
    }  # fmt: skip
    logp, old_logp = torch.zeros(2, 4), torch.tensor([[-1.0, 1, 1, 0], [-1, -1, 0, 1]])
    tokens = tokens_of(inputs, logp, old_logp, torch.ones(2, 4))
    core = core_metrics(tokens, METHODS["entropy_bonus"].policy_terms(tokens)[1])
    assert core["clip_ratio/region_mean"].value() == pytest.approx(4 / 16)
