"""What the tests of MethodTrainer share: small runs of a row on fixed responses, and the row's loss on full logits."""

from typing import ClassVar

import torch
from paper import completion_logits, gradient, relative_error
from tiny import fixed_rollout, make_trainer, tiny_model
from transformers import TrainerCallback

from simko.adapters.trl import MethodTrainer
from simko.objectives import METHODS

IN_TRL = ("grpo", "dapo", "dr_grpo", "gspo", "cispo")
SIMKO = ("simko", "simko_softmax", "simko_reference", "simko_positive", "simko_negative", "simko_adaptive", "simko_by_success", "simko_adaptive_by_success")  # fmt: skip
BY_ADVANTAGE = (
    "rloo", "w_reinforce", "passk_training", "pkpo", "ordergrad", "maxrl", "f_grpo", "best_of_k", "unlikeliness", "ucpo", "ds_grpo",
)  # fmt: skip
OWN = tuple(name for name in METHODS if name not in (*IN_TRL, *SIMKO, *BY_ADVANTAGE, "entropy_advantage"))
SELECTING = ("forking_tokens", "clip_cov", "kl_cov")

OPTIONS = {
    "passk_training": {"k": 2},
    "pkpo": {"k": 2},
    "ordergrad": {"k": 2},
    "ds_grpo": {"gamma_right": 0.05, "gamma_wrong": 0.1},
    "clip_cov": {"cov_share": 0.2, "cov_low": -5.0, "cov_high": 5.0},
    "kl_cov": {"cov_share": 0.2},
    "entropy_bonus": {"entropy_coef": 0.1},
}


def right(completions, **_):
    """1 where the response begins with a digit: the fixed ones do in 3 cases of 7."""
    return [float(c[:1].isdigit()) for c in completions]


def some_decided(completions, prompts, **_):
    """`right`, but every response to a prompt with an x is."""
    return [1.0 if "x" in p else r for p, r in zip(prompts, right(completions), strict=True)]


def update_options(*, accumulate=1, **options):
    """Options of a run of 16 fixed responses an update, in `accumulate` micro-batches, with SGD."""
    return {
        "reward": right,
        "model": tiny_model(),
        "per_device_train_batch_size": 16 // accumulate,
        "gradient_accumulation_steps": accumulate,
        "optim": "sgd",
        "learning_rate": 0.3,
        "lr_scheduler_type": "constant",
        "max_steps": 3,
        "max_grad_norm": 0.0,
        "trainer": {"rollout_func": fixed_rollout()},
    } | options


def method_trainer(tmp_path, name, *, accumulate=1, trainer=None, fixed=True, **options):
    """A MethodTrainer of 16 responses an update, SGD, on fixed responses (or sampled ones)."""
    cls = options.pop("cls", MethodTrainer)
    given = update_options(accumulate=accumulate, **{"method": name, "method_options": OPTIONS.get(name)} | options)
    given["trainer"] = (given["trainer"] if fixed else {}) | (trainer or {})
    return make_trainer(tmp_path, cls, **given)


def weights(trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()]).clone()


def trained(tmp_path, name, **options):
    """The trainer after its run."""
    trainer = method_trainer(tmp_path, name, **options)
    before = weights(trainer)
    trainer.train()
    assert not torch.equal(before, weights(trainer))
    return trainer


def assert_same_weights(a, b, tolerance=1e-6):
    assert relative_error(weights(a), weights(b)) < tolerance


def log(trainer) -> list[dict]:
    return [row for row in trainer.state.log_history if "loss" in row]


def scores(model, batch, temperature=1.0):
    """log pi and entropy [B, T] of the completions from full logits, and the counted tokens."""
    logp = completion_logits(model, batch, temperature).log_softmax(-1)
    entropy = -(logp.exp() * logp).sum(-1)
    return logp.gather(-1, batch["completion_ids"][..., None]).squeeze(-1), entropy, batch["completion_mask"].bool()


class PlainLoss(TrainerCallback):
    """Just before each optimizer step: how far the gradient is from that of policy_loss on the whole update at once.

    keep: rows of the update that the plain loss is taken over, all if None.
    """

    keys: ClassVar = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "advantages")

    def __init__(self, trainer, method, keep=None):
        self.trainer, self.method, self.keep = trainer, method, keep
        self.batches, self.errors, self.drift, self.rows = [], [], [], []
        self.first_of_rollout = lambda step: step % trainer.num_iterations == 0
        original = trainer._compute_loss

        def compute_loss(model, inputs):
            self.batches.append(dict(inputs))
            return original(model, inputs)

        trainer._compute_loss = compute_loss
        trainer.add_callback(self)

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        model, method = self.trainer.model, self.method
        kept_gradients = {name: p.grad for name, p in model.named_parameters()}
        applied = gradient(model)
        model.zero_grad()
        joined = {k: torch.cat([b[k] for b in self.batches]) for k in self.batches[0] if k != "num_items_in_batch"}
        if "row" in joined:  # the selections take the rollout's order
            order = joined["row"].argsort()
            joined = {k: v[order] for k, v in joined.items()}
        if self.keep is not None:
            rows = self.keep(joined)
            self.rows.append(int(rows.sum()))
            joined = {k: v[rows] for k, v in joined.items()}
        logp, entropy, mask = scores(model, joined, args.temperature)
        old_logp = joined.get("old_per_token_logps", logp.detach())
        if self.first_of_rollout(state.global_step):  # the rollout's own policy
            old_logp = logp.detach()
        marked = None
        if method.selects:
            generator = self.trainer._generator()
            chosen = method.select(logp, old_logp, entropy, joined["advantages"], mask, generator=generator)
            marked = chosen[1]
            assert 0 < marked.sum() < mask.sum()
        loss, _ = method.policy_loss(logp, old_logp, entropy, None, None, joined["advantages"], mask, marked=marked)
        loss.backward()
        self.errors.append(relative_error(applied, gradient(model)))
        self.drift.append(float((logp - old_logp).detach()[mask].abs().max()))
        self.batches.clear()
        for name, p in model.named_parameters():
            p.grad = kept_gradients[name]
