"""Shared by the tests of METHODS: a small batch, and options with which each row has an effect on it."""

from dataclasses import dataclass, replace

import torch

from simko.objectives import METHODS, candidate_gap
from simko.token_stats import token_stats

SIMKO = {"alpha": 0.3, "top_penalty": 1.5, "gate_quantile": 0.5}
STRONG = {
    "gspo": {"clip_low": 0.05, "clip_high": 0.05},
    "cispo": {"ratio_cap": 1.2},
    "passk_training": {"k": 2},
    "pkpo": {"k": 2},
    "ordergrad": {"k": 2},
    "ds_grpo": {"gamma_right": 0.05, "gamma_wrong": 0.02},
    "clip_cov": {"cov_share": 0.2, "cov_low": 0.0123},  # covariances of 0 are common, and rounded to either side
    "kl_cov": {"cov_share": 0.2},
    "simko": SIMKO,
    "simko_softmax": SIMKO,
    "simko_reference": SIMKO,
    "simko_adaptive": SIMKO,
    "simko_by_success": SIMKO,
    "simko_adaptive_by_success": SIMKO,
    "simko_positive": {"alpha": 0.3, "gate_quantile": 0.5},
    "simko_negative": {"top_penalty": 1.5, "gate_quantile": 0.5},
}
NAMES = list(METHODS)
SELECTING = [name for name in NAMES if METHODS[name].selects]


def ready(name, **options):
    return METHODS[name].with_options(**STRONG.get(name, {}) | options)


@dataclass
class Case:
    logits: torch.Tensor
    tokens: torch.Tensor
    old: torch.Tensor
    mask: torch.Tensor
    rewards: torch.Tensor
    groups: torch.Tensor

    def __getitem__(self, rows):
        return Case(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def stats(self, method):
        """logp, old_logp, entropy, gap, is_top1."""
        s = token_stats(self.logits, self.tokens, top_k=method.top_k or 1, impl="eager")
        gap = candidate_gap(s.topk_logp, s.logp, method.candidate_weights) if method.candidate_weights else None
        return s.logp, self.old, s.entropy, gap, s.is_top1

    def advantages(self, method):
        return method.advantages(self.rewards, self.groups, old_logp=self.old, mask=self.mask)

    def marked(self, method, advantages, seed=0):
        if not method.selects:
            return None
        logp, old, entropy, _, _ = self.stats(method)
        generator = torch.Generator().manual_seed(seed)
        return method.select(logp, old, entropy, advantages, self.mask, generator=generator)[1]

    def loss(self, method, advantages=None, marked=None, **kw):
        """policy_loss. Advantages and selection default to the method's own."""
        advantages = self.advantages(method) if advantages is None else advantages
        marked = self.marked(method, advantages) if marked is None else marked
        return method.policy_loss(*self.stats(method), advantages, self.mask, marked=marked, **kw)

    def gradient(self, method, *args, **kw):
        case = replace(self, logits=self.logits.detach().requires_grad_())
        loss, _ = case.loss(method, *args, **kw)
        return loss.detach(), torch.autograd.grad(loss, case.logits)[0]


def case(seed=0, groups=2, per_group=4, T=5, V=6, spread=0.25):
    """Groups of correct and incorrect responses of several lengths. The first token of each has rank 1."""
    g = torch.Generator().manual_seed(seed)
    B = groups * per_group
    logits = 1.5 * torch.randn(B, T, V, generator=g, dtype=torch.float64)
    tokens = torch.randint(V, (B, T), generator=g)
    tokens[:, 0] = logits[:, 0].argmax(-1)
    logp = logits.log_softmax(-1).gather(-1, tokens[..., None]).squeeze(-1)
    old = logp + spread * torch.randn(B, T, generator=g, dtype=torch.float64)
    mask = torch.arange(T)[None] < torch.randint(2, T + 1, (B, 1), generator=g)
    rewards = (torch.rand(B, generator=g) < 0.5).double()
    rewards[::per_group], rewards[1::per_group] = 1.0, 0.0
    labels = 3 * torch.arange(groups).repeat_interleave(per_group) - 1
    order = torch.randperm(B, generator=g)
    return Case(logits, tokens, old, mask, rewards, labels)[order]
