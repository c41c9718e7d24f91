"""SimKO's equations (arXiv 2510.14807) on full logits, written as the paper writes them, with one surrogate for each
of TRL's loss types; and a callback that compares them with the gradient that a real training step is about to apply."""

import copy
from dataclasses import dataclass

import torch
from transformers import TrainerCallback


@dataclass
class Terms:
    """What the equations make of one micro-batch, all [B, T]."""

    logp: torch.Tensor
    old_logp: torch.Tensor
    ratio: torch.Tensor
    advantages: torch.Tensor
    mask: torch.Tensor
    raised: torch.Tensor
    penalised: torch.Tensor


def completion_logits(model, inputs, temperature):
    """[B, T, V] by the model's own forward pass."""
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
    attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
    logits = model(input_ids=ids, attention_mask=attention, use_cache=False).logits
    return logits[:, inputs["prompt_ids"].size(1) - 1 : -1].float() / temperature


def quantile_gate(entropy, mask, quantile):
    """Token by token: above the quantile of its own response."""
    gate = mask.clone()
    if quantile is not None:
        for row, counted in enumerate(mask):
            if counted.any():
                gate[row] &= entropy[row] > torch.quantile(entropy[row][counted], quantile)
    return gate


def paper_terms(model, inputs, a) -> Terms:
    """gamma+ and gamma- of section 3; `a` is a SimKOConfig."""
    logits = completion_logits(model, inputs, a.temperature)
    every_logp = logits.log_softmax(-1)
    tokens = inputs["completion_ids"]
    mask = inputs["completion_mask"].bool()
    if "tool_mask" in inputs:
        mask = mask & inputs["tool_mask"].bool()
    logp = every_logp.gather(-1, tokens[..., None]).squeeze(-1)
    entropy = -(every_logp.exp() * every_logp).sum(-1).detach()
    gate = quantile_gate(entropy, mask, a.simko_gate_quantile)
    old_logp = inputs.get("old_per_token_logps")
    old_logp = logp.detach() if old_logp is None else old_logp
    gamma = (logp - old_logp).exp()

    candidates = logits.detach().topk(a.simko_top_k, -1).indices
    candidate_logp = every_logp.gather(-1, candidates)
    # any old policy will do on the candidates: it cancels in sg(gamma / gamma_n) gamma_n
    old_candidate_logp = candidate_logp.detach() + torch.linspace(-1, 1, a.simko_top_k)
    gamma_n = (candidate_logp - old_candidate_logp).exp()
    share = torch.full_like(gamma_n, 1 / a.simko_top_k)
    if a.simko_weights == "softmax":
        share = candidate_logp.exp().detach()
        share = share / share.sum(-1, keepdim=True)
    spread = (share * (gamma[..., None] / gamma_n).detach() * gamma_n).sum(-1)

    A = inputs["advantages"]
    A = (A[:, None] if A.dim() == 1 else A).expand_as(logp)
    raised = gate & (A > 0)
    penalised = gate & (A < 0) & (candidates[..., 0] == tokens)
    ratio = torch.where(raised, (1 - a.simko_alpha) * gamma + a.simko_alpha * spread, gamma)
    if a.simko_penalty == "ratio":
        ratio = torch.where(penalised, a.simko_top_penalty * ratio, ratio)
    else:
        A = torch.where(penalised, a.simko_top_penalty * A, A)
    return Terms(logp, old_logp, ratio, A, mask, raised, penalised)


def token_loss(t: Terms, inputs, a) -> torch.Tensor:
    """The surrogate of a.loss_type. cispo and vespo weight log pi: log gamma has its gradient."""
    r, A = t.ratio, t.advantages
    low, high = a.epsilon, a.epsilon if a.epsilon_high is None else a.epsilon_high
    if a.importance_sampling_level == "sequence":
        m = t.mask.float()
        r = ((r.log() * m).sum(-1, keepdim=True) / m.sum(-1, keepdim=True).clamp(min=1)).exp()
    if a.loss_type == "cispo":
        loss = -r.detach().clamp(max=high) * A * t.ratio.log()
    elif a.loss_type == "sapo":
        tau = torch.where(A > 0, a.sapo_temperature_pos, a.sapo_temperature_neg)
        loss = -4 / tau * torch.sigmoid(tau * (r - 1)) * A
    elif a.loss_type == "vespo":
        w = (r.detach().log() * t.mask).sum(-1, keepdim=True).exp()
        k = torch.where(A >= 0, a.vespo_k_pos, a.vespo_k_neg)
        lam = torch.where(A >= 0, a.vespo_lambda_pos, a.vespo_lambda_neg)
        loss = -(lam * (1 - w)).exp() * w**k * A * r.log()
    else:
        loss = torch.max(-r * A, -r.clamp(1 - low, 1 + high) * A)
    if a.off_policy_mask_threshold is not None:
        drift = ((t.old_logp - t.logp.detach()) * t.mask).sum(-1, keepdim=True) / t.mask.sum(-1, keepdim=True)
        loss = loss * ((A >= 0) | (drift <= a.off_policy_mask_threshold))
    if a.beta:
        gap = inputs["ref_per_token_logps"] - t.logp
        loss = loss + a.beta * (gap.exp() - gap - 1)
    return loss


def paper_loss(model, inputs, a, accumulation=1, processes=1):
    """One micro-batch's share of the loss of an update, and the terms it was made of."""
    t = paper_terms(model, inputs, a)
    loss, mask = token_loss(t, inputs, a), t.mask
    loss = torch.where(mask, loss, 0.0)
    if a.loss_type in ("dapo", "cispo", "vespo"):
        items = inputs["num_items_in_batch"] * accumulation / a.steps_per_generation
        return loss.sum() / (items / processes), t
    if a.loss_type in ("grpo", "sapo"):
        value = (loss.sum(-1) / mask.sum(-1).clamp(min=1)).mean()
    elif a.loss_type == "bnpo":
        value = loss.sum() / mask.sum()
    elif a.loss_type == "dr_grpo":
        value = loss.sum() / (len(loss) * a.max_completion_length)
    else:
        assert a.loss_type == "luspo"
        value = loss.sum(-1).mean()
    return value / accumulation, t


def load_balancing(model, inputs):
    """The auxiliary loss of a mixture of experts, by the model's own forward pass."""
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
    attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
    return model(input_ids=ids, attention_mask=attention, use_cache=False, output_router_logits=True).aux_loss


def gradient(model) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad and p.grad is not None]).clone()


def relative_error(x, reference) -> float:
    return float((x - reference).norm() / reference.norm())


class GradientCheck(TrainerCallback):
    """Just before each optimizer step: how far the gradient is from the equations', and from plain GRPO's.

    Attach with `watch(trainer)`. Counts tokens so that a test can tell that what it checks took place.
    """

    def __init__(self):
        self.batches, self.errors, self.from_grpo, self.applied = [], [], [], []
        self.raised = self.penalised = self.clipped = self.off_policy = 0
        self.fresh = {}

    @classmethod
    def watch(cls, trainer):
        check = cls()
        check.trainer, original = trainer, trainer._compute_loss

        def compute_loss(model, inputs):
            if trainer.model.training:  # a buffered batch comes again in the next iteration: as it was at first
                fresh = check.fresh.setdefault(id(inputs["completion_ids"]), dict(inputs))
                check.batches.append(fresh)
            return original(model, inputs)

        trainer._compute_loss = compute_loss
        trainer.add_callback(check)
        return check

    def reference(self, config):
        """The equations' gradient over the update's micro-batches, and their terms."""
        trainer, model = self.trainer, self.trainer.model
        model.zero_grad()
        every_terms = []
        for inputs in self.batches:
            loss, terms = paper_loss(
                model, inputs, config, trainer.current_gradient_accumulation_steps, trainer.accelerator.num_processes
            )
            if trainer.aux_loss_enabled:
                loss = loss + load_balancing(model, inputs) * trainer.router_aux_loss_coef / len(self.batches)
            loss.backward()
            every_terms.append(terms)
        return gradient(model), every_terms

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        model = self.trainer.model
        kept = {name: p.grad for name, p in model.named_parameters()}
        applied = gradient(model)
        self.applied.append(applied)
        plain = copy.copy(args)
        plain.simko_alpha, plain.simko_top_penalty = 0.0, 1.0
        self.from_grpo.append(relative_error(applied, self.reference(plain)[0]))
        paper, every_terms = self.reference(args)
        self.errors.append(relative_error(applied, paper))
        for t in every_terms:
            ratio, A = t.ratio.detach(), t.advantages
            self.raised += int(t.raised.sum())
            self.penalised += int(t.penalised.sum())
            self.clipped += int(((ratio > 1.2) & (A > 0) & t.mask).sum() + ((ratio < 0.8) & (A < 0) & t.mask).sum())
            self.off_policy += int((((t.logp - t.old_logp).detach().abs() > 0.02) & t.mask).sum())
        self.batches.clear()
        for name, p in model.named_parameters():
            p.grad = kept[name]
