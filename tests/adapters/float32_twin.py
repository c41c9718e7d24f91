"""Compares the gradient that a training step in bfloat16 is about to apply with float32's."""

import copy

import torch
from transformers import TrainerCallback

from simko.objectives import candidate_gap
from simko.token_stats import token_stats


class Twin(TrainerCallback):
    """Relative errors (L2) against float32: of the gradient that is about to be applied, and of the same formula worked
    on the model's own logits in the run's precision."""

    def __init__(self, trainer, method):
        self.trainer, self.method, self.errors, self.plain_errors = trainer, method, [], []
        original = trainer.base_loss

        def base_loss(model, inputs):
            self.inputs = dict(inputs)
            return original(model, inputs)

        trainer.base_loss = base_loss
        trainer.add_callback(self)

    def gradient(self, model, args):
        """Of the row's policy_loss on full logits, old log-probabilities being the model's own."""
        x, width = self.inputs, self.inputs["completion_ids"].size(1)
        ids = torch.cat([x["prompt_ids"], x["completion_ids"]], 1)
        attention = torch.cat([x["prompt_mask"], x["completion_mask"]], 1)
        model.zero_grad()
        for module in model.modules():
            vars(module).pop("forward", None)  # TRL's, which calls the model that it was made for
        logits = model(input_ids=ids, attention_mask=attention, use_cache=False).logits[:, -width - 1 : -1]
        stats = token_stats(logits.float() / args.temperature, x["completion_ids"], top_k=3, impl="eager")
        gap = candidate_gap(stats.topk_logp, stats.logp) if self.method.candidate_weights else None
        top1 = stats.is_top1 if self.method.needs_top1 else None
        loss, _ = self.method.policy_loss(
            stats.logp, stats.logp.detach(), stats.entropy, gap, top1, x["advantages"], x["completion_mask"]
        )
        loss.backward()
        return [p.grad for p in model.parameters() if p.requires_grad]

    def on_pre_optimizer_step(self, args, state, control, model=None, **_):
        applied = [p.grad for p in model.parameters() if p.requires_grad]
        with self.trainer.accelerator.autocast():
            plain = self.gradient(copy.deepcopy(model), args)
        exact = self.gradient(copy.deepcopy(model).float(), args)
        self.errors.append(relative_error(applied, exact))
        self.plain_errors.append(relative_error(plain, exact))


def relative_error(found, exact):
    differ = sum((a.double() - b.double()).square().sum() for a, b in zip(found, exact, strict=True))
    return float((differ / sum(b.double().square().sum() for b in exact)).sqrt())
