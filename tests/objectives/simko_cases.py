"""Random batches, and simko_loss and GRPO's loss as functions of their logits."""

import torch

from simko.objectives import simko_loss
from simko.token_stats import token_stats


def case(B=4, T=6, V=9, seed=0, spread=0.5):
    """Logits, sampled tokens, old log-probabilities, advantages and a mask. Each response's first token has rank 1."""
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(B, T, V, generator=g, dtype=torch.float64).mul_(2).requires_grad_()
    tokens = torch.randint(V, (B, T), generator=g)
    tokens[:, 0] = logits[:, 0].argmax(-1)
    logp = logits.detach().log_softmax(-1).gather(-1, tokens[..., None]).squeeze(-1)
    old = logp + spread * torch.randn(B, T, generator=g, dtype=torch.float64)
    advantages = torch.tensor([1.5, -0.8, 0.0, -2.0, 0.7])[torch.arange(B) % 5].double()
    mask = torch.arange(T)[None] < torch.randint(3, T + 1, (B, 1), generator=g)
    return logits, tokens, old, advantages, mask


def loss_of(logits, tokens, old, advantages, mask, top_k=3, **options):
    s = token_stats(logits, tokens, top_k=top_k, impl="eager")
    return simko_loss(s.logp, old, s.entropy, s.topk_logp, s.is_top1, advantages, mask, **options)


def gradient_of(logits, *args, **options):
    loss, _ = loss_of(logits, *args, **options)
    return torch.autograd.grad(loss, logits)[0]


def one_hot(tokens, V):
    return torch.nn.functional.one_hot(tokens, V).double()


def grpo_loss(logits, tokens, old, advantages, mask, low=0.2, high=0.2):
    logp = logits.log_softmax(-1).gather(-1, tokens[..., None]).squeeze(-1)
    ratio, A = (logp - old).exp(), advantages[:, None]
    loss = -torch.min(ratio * A, ratio.clamp(1 - low, 1 + high) * A)
    return torch.where(mask, loss, 0.0).sum() / mask.sum()
