"""policy_loss of every row: values worked out by hand, and gradients compared with a second implementation in numpy."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from method_cases import NAMES, SELECTING, case, ready

from simko.objectives import METHODS

# Two responses of two tokens: ratios 1.5 and 0.5 in both, advantages 2 and -1, pi_old = 0.2.
GAMMA = torch.tensor([[1.5, 0.5], [1.5, 0.5]], dtype=torch.float64)
OLD = torch.full((2, 2), math.log(0.2), dtype=torch.float64)
ENTROPY = torch.tensor([[1.0, 0.5], [0.25, 2.0]], dtype=torch.float64)
TOP1 = torch.tensor([[True, False], [True, True]])
LN3, LN1 = math.log(0.3), math.log(0.1)  # log pi of the first and the second token
S = math.sqrt(0.75)  # GSPO's ratio
GRPO = (-2.4 - 1.0 + 1.5 + 0.8) / 4  # -min(3, 2.4), -min(1, 1.6), -min(-1.5, -1.2), -min(-0.5, -0.8)
SIMKO = {"gate_quantile": None}

BY_HAND = {  # value; options, advantages, marked tokens where they are not as above
    "dapo": (-2.56 - 1.0 + 1.5 + 0.8) / 4,
    "gspo": (-2 * S + 0.9997) / 2,  # -min(2 s, 2 (1 - 3e-4)), -min(-s, -(1 - 3e-4))
    "cispo": (-3.0 * LN3 - 1.0 * LN1 + 1.5 * LN3 + 0.5 * LN1) / 4,
    "psr": ((-1.2 - 0.5) / 2, {}, [1.0, 0.0]),
    "nsr": ((1.5 + 0.8) / 2, {}, [0.0, -1.0]),
    "w_reinforce": ((-0.12 - 0.05 + 1.5 + 0.8) / 4, {}, [0.1, -1.0]),
    "entropy_bonus": GRPO - 0.01 * 3.75 / 4,
    # A + min(0.4 H, |A| / 2): 2 + 0.4, 2 + 0.2, -1 + 0.1, -1 + 0.5
    "entropy_advantage": (-1.2 * 2.4 - 0.5 * 2.2 + 1.5 * 0.9 + 0.8 * 0.5) / 4,
    "forking_tokens": ((-2.56 + 0.8) / 2, {}, [2.0, -1.0], [[True, False], [False, True]]),
    "clip_cov": ((-3.0 + 1.5 + 0.5) / 4, {}, [2.0, -1.0], [[False, True], [False, False]]),  # clip to [0, 2]
    "kl_cov": ((-3 - 1 + 1.5 + 0.5 + math.log(1.5)) / 4, {}, [2.0, -1.0], [[True, False], [False, False]]),
    "simko": ((-2.4 - 1.0 + 1.65 + 0.8) / 4, SIMKO),  # 1.1 gamma: 1.65, and 0.55 clipped at 0.8
    "simko_softmax": ((-2.4 - 1.0 + 1.65 + 0.8) / 4, SIMKO),
    "simko_reference": ((-2.4 - 1.0 + 1.65 + 0.88) / 4, SIMKO),  # 1.1 A after the clip
    "simko_positive": (GRPO, SIMKO),
    **dict.fromkeys(
        ("simko_adaptive", "simko_by_success", "simko_adaptive_by_success"),
        ((-2.4 - 1.0 + 1.65 + 0.8) / 4, SIMKO | {"top_penalty": 1.1}),
    ),
    "simko_negative": ((-2.4 - 1.0 + 1.65 + 0.8) / 4, SIMKO),
}


def by_hand(name, options=None, advantages=(2.0, -1.0), marked=((False, False), (False, False)), **kw):
    method = METHODS[name].with_options(**options or {})
    chosen = torch.tensor(marked) if method.selects else None
    return method.policy_loss(
        GAMMA.log() + OLD, OLD, ENTROPY, torch.ones_like(OLD), TOP1, torch.tensor(advantages, dtype=torch.float64),
        torch.ones(2, 2), marked=chosen, **kw,
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_value_by_hand(name):
    expected, *given = BY_HAND[name] if isinstance(BY_HAND.get(name), tuple) else (BY_HAND.get(name, GRPO),)
    assert by_hand(name, *given)[0].item() == pytest.approx(expected, abs=1e-12)


def test_more_values_by_hand():
    assert by_hand("dr_grpo", {"length": 10})[0].item() == pytest.approx(-1.1 / 20)  # rows x length
    assert by_hand("dr_grpo", denominator=8)[0].item() == pytest.approx(-1.1 / 8)
    capped = (-1.2 * 2 * LN3 - 0.5 * 2 * LN1 + 1.2 * LN3 + 0.5 * LN1) / 4
    assert by_hand("cispo", {"ratio_cap": 1.2})[0].item() == pytest.approx(capped)
    assert by_hand("entropy_bonus", {"entropy_coef": 0.5})[0].item() == pytest.approx(GRPO - 0.5 * 3.75 / 4)
    doubled = (-3 - 1 + 1.5 + 0.5 + 2 * math.log(2)) / 4
    found = by_hand("kl_cov", {"kl_coef": 2}, (2.0, -1.0), ((False, False), (False, True)))
    assert found[0].item() == pytest.approx(doubled)


METRICS = {
    "grpo": {"ratio": 1.0, "clipped": 0.5},  # 1.5 under A = 2, 0.5 under A = -1
    "gspo": {"ratio": S, "clipped": 0.5},
    "cispo": {"ratio": 1.0, "clipped": 0.0},
    "psr": {"kept": 0.5, "ratio": 1.0, "clipped": 0.5},
    "entropy_bonus": {"entropy": 0.9375, "ratio": 1.0, "clipped": 0.5},
    "entropy_advantage": {"bonus": (0.4 + 0.2 + 0.1 + 0.5) / 4, "bonus_capped": 0.25, "ratio": 1.0, "clipped": 0.5},
    "forking_tokens": {"kept": 0.5, "ratio": 1.0, "clipped": 1.0},
    "clip_cov": {"marked": 0.25, "ratio": 1.0, "clipped": 0.0},
    "kl_cov": {"marked": 0.25, "log_ratio": math.log(1.5), "ratio": 1.0},
    "simko": {
        "gated": 1.0,
        "rank1": 0.75,
        "gap": 1.0,
        "penalised": 0.5,
        "ratio": (2 + 1.65 + 0.55) / 4,
        "clipped": 0.5,
    },
    "simko_reference": {"gated": 1.0, "rank1": 0.75, "gap": 1.0, "penalised": 0.5, "ratio": 1.0, "clipped": 0.5},
    "simko_positive": {"gated": 1.0, "rank1": 0.75, "gap": 1.0, "ratio": 1.0, "clipped": 0.5},
    "simko_negative": {"gated": 1.0, "rank1": 0.75, "penalised": 0.5, "ratio": (2 + 1.65 + 0.55) / 4, "clipped": 0.5},
}


@pytest.mark.parametrize("name", list(METRICS))
def test_metrics_by_hand(name):
    given = BY_HAND[name][1:] if isinstance(BY_HAND.get(name), tuple) else ()
    found = by_hand(name, *given)[1]
    assert {key: value.item() for key, value in found.items()} == pytest.approx(METRICS[name])


# ---- every row's loss, written in numpy from docs/methods.md; what is under sg is computed from z0 and stays fixed


def log_softmax(z):
    return z - z.max(-1, keepdims=True) - np.log(np.exp(z - z.max(-1, keepdims=True)).sum(-1, keepdims=True))


class Written:
    """The loss of one row as a function of the logits z, with every stop-gradient quantity taken at z0."""

    def __init__(self, name, c, advantages, marked):
        self.name, self.o = name, ready(name).options
        self.z0, self.y, self.old = c.logits.numpy(), c.tokens.numpy(), c.old.numpy()
        self.mask = c.mask.numpy()
        A = advantages.numpy()
        self.A = np.broadcast_to(A[:, None], self.mask.shape) if A.ndim == 1 else A
        self.marked = None if marked is None else marked.numpy()
        self.logp0, self.H0 = self.logp(self.z0), self.entropy(self.z0)

    def logp(self, z):
        return np.take_along_axis(log_softmax(z), self.y[..., None], -1)[..., 0]

    def entropy(self, z):
        return -(np.exp(log_softmax(z)) * log_softmax(z)).sum(-1)

    def ppo(self, ratio, A):
        return -np.minimum(ratio * A, np.clip(ratio, 1 - self.o["clip_low"], 1 + self.o["clip_high"]) * A)

    def token_mean(self, token_loss, mask=None):
        mask = self.mask if mask is None else mask
        return token_loss[mask].sum() / mask.sum()

    def __call__(self, z):
        return getattr(self, self.name, self.grpo)(z)

    def grpo(self, z):
        return self.token_mean(self.ppo(np.exp(self.logp(z) - self.old), self.A))

    def dr_grpo(self, z):
        return self.ppo(np.exp(self.logp(z) - self.old), self.A)[self.mask].sum() / self.mask.size

    def gspo(self, z):
        rows = []
        for logp, old, mask, A in zip(self.logp(z), self.old, self.mask, self.A, strict=True):
            rows.append(self.ppo(np.exp((logp - old)[mask].mean()), A[mask]).mean())
        return np.mean(rows)

    def cispo(self, z):
        weight = np.minimum(np.exp(self.logp0 - self.old), self.o["ratio_cap"])
        return self.token_mean(-weight * self.A * self.logp(z))

    def psr(self, z):
        return self.token_mean(self.ppo(np.exp(self.logp(z) - self.old), self.A), self.mask & (self.A != 0))

    nsr = psr

    def entropy_bonus(self, z):
        return self.grpo(z) - self.o["entropy_coef"] * self.entropy(z)[self.mask].mean()

    def entropy_advantage(self, z):
        A = self.A + np.minimum(self.o["entropy_scale"] * self.H0, np.abs(self.A) / self.o["kappa"])
        return self.token_mean(self.ppo(np.exp(self.logp(z) - self.old), A))

    def forking_tokens(self, z):
        return self.token_mean(self.ppo(np.exp(self.logp(z) - self.old), self.A), self.marked)

    def clip_cov(self, z):
        return self.token_mean(np.where(self.marked, 0, self.ppo(np.exp(self.logp(z) - self.old), self.A)))

    def kl_cov(self, z):
        far = np.abs(self.logp(z) - self.old)
        return self.token_mean(-np.exp(self.logp(z) - self.old) * self.A + self.o["kl_coef"] * far * self.marked)

    def simko(self, z):
        """An option that the row does not have is off. The name decides the weights and where lambda acts."""
        top = np.argsort(-self.z0, -1, kind="stable")[..., :3]
        p = np.exp(np.take_along_axis(log_softmax(self.z0), top, -1))
        w = p / p.sum(-1, keepdims=True) if self.name == "simko_softmax" else np.full(p.shape, 1 / 3)

        def gap(z):
            return (w * np.take_along_axis(log_softmax(z), top, -1)).sum(-1) - self.logp(z)

        gate = np.zeros_like(self.mask)
        for g, H, mask in zip(gate, self.H0, self.mask, strict=True):
            g[:] = mask & (np.quantile(H[mask], self.o["gate_quantile"]) < H)
        alpha = self.o.get("alpha", 0) / (1 + self.A**2 if self.name.endswith("by_success") else 1)
        shift = alpha * gate * (self.A > 0) * (gap(z) - gap(self.z0))
        lam = np.where(gate & (self.A < 0) & (top[..., 0] == self.y), self.o.get("top_penalty", 1), 1)
        ratio = np.exp(self.logp(z) + shift - self.old)
        if self.name == "simko_reference":
            return self.token_mean(self.ppo(ratio, self.A * lam))
        return self.token_mean(self.ppo(ratio * lam, self.A))

    simko_softmax = simko_reference = simko_positive = simko_negative = simko
    simko_adaptive = simko_by_success = simko_adaptive_by_success = simko


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("per_token", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_gradient_against_finite_differences_with_stop_gradients_held(name, per_token, seed):
    method, c = ready(name), case(seed=seed, groups=3)
    A = c.advantages(method)
    if per_token:
        A = A[:, None] * torch.linspace(0.5, 1.5, c.mask.shape[1]).double()
    marked = c.marked(method, A)
    value, gradient = c.gradient(method, A, marked)
    written, z0 = Written(name, c, A, marked), c.logits.numpy()
    assert value.item() == pytest.approx(written(z0), abs=1e-12)
    rng, h = np.random.default_rng(seed), 1e-5
    for _ in range(6):
        d = rng.standard_normal(z0.shape)
        numeric = (written(z0 + h * d) - written(z0 - h * d)) / (2 * h)
        assert float((gradient * torch.from_numpy(d)).sum()) == pytest.approx(numeric, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", [n for n in NAMES if BY_HAND.get(n, GRPO) != GRPO and not METHODS[n].binary])
def test_the_gradient_is_not_grpos(name):
    """Rows with another loss than GRPO, with the same advantages."""
    c = case(seed=2, groups=3, spread=0.6)
    A = c.advantages(METHODS["grpo"])
    ours, grpo = c.gradient(ready(name), A)[1], c.gradient(METHODS["grpo"], A)[1]
    assert (ours - grpo).abs().max() > (1e-4 if name == "entropy_bonus" else 1e-3)


def test_no_gradient_but_through_logp_gap_and_a_rewarded_entropy():
    for name in NAMES:
        method, c = ready(name), case(seed=1)
        A = c.advantages(method)
        marked = c.marked(method, A)
        logp, old, entropy, gap, top1 = c.stats(method)
        leaves = {"logp": logp, "old": old, "entropy": entropy, "gap": gap, "A": A}
        leaves = {k: v.clone().requires_grad_() for k, v in leaves.items() if v is not None}
        loss, _ = method.policy_loss(
            leaves["logp"],
            leaves["old"],
            leaves["entropy"],
            leaves.get("gap"),
            top1,
            leaves["A"],
            c.mask,
            marked=marked,
        )
        loss.backward()
        reached = {key for key, x in leaves.items() if x.grad is not None and x.grad.abs().sum() > 0}
        spreads = {"gap"} if method.candidate_weights else set()
        assert reached == {"logp"} | spreads | ({"entropy"} if name == "entropy_bonus" else set()), name


@pytest.mark.parametrize("name", NAMES)
def test_old_logp_may_be_logp_itself(name):
    """On the first update all ratios are 1. KL-Cov's penalty then has no gradient. Other gradients do not change."""
    c = case(seed=6, spread=0.0)
    method, A = ready(name), c.advantages(ready(name))
    marked = c.marked(method, A)
    on_policy = c.gradient(method, A, marked)[1]
    z = c.logits.clone().requires_grad_()
    logp, _, entropy, gap, top1 = replace(c, logits=z).stats(method)
    loss, _ = method.policy_loss(logp, logp, entropy, gap, top1, A, c.mask, marked=marked)
    torch.testing.assert_close(torch.autograd.grad(loss, z)[0], on_policy, rtol=0, atol=1e-14)
    if name == "kl_cov":
        free = c.gradient(ready(name, kl_coef=0), A, marked)[1]
        torch.testing.assert_close(on_policy, free, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_counted(name):
    """A micro-batch or an update without a counted token has loss 0 and no gradient, whatever the denominator."""
    c = case(seed=1)
    method, A = ready(name), c.advantages(ready(name))
    nothing = replace(c, mask=torch.zeros_like(c.mask))
    for denominator in (None, 0, 5.0, torch.tensor(0)):
        value, gradient = nothing.gradient(method, A, nothing.marked(method, A), denominator=denominator)
        assert value == 0
        assert gradient.eq(0).all()
    _, metrics = nothing.loss(method, A)
    assert all(m.isfinite() for m in metrics.values())


@pytest.mark.parametrize(("name", "reward"), [("psr", 0.0), ("nsr", 1.0)])
def test_every_row_dropped(name, reward):
    c = case(seed=1)
    c = replace(c, rewards=torch.full_like(c.rewards, reward))
    value, gradient = c.gradient(METHODS[name])
    assert value == 0
    assert gradient.eq(0).all()
    assert METHODS[name].denominator(c.advantages(METHODS[name]), c.mask) == 0


@pytest.mark.parametrize("garbage", [float("inf"), float("-inf"), float("nan"), 1e300])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_masked_may_be_anything(name, garbage):
    method, c = ready(name), case(seed=1)
    c.mask[2] = False
    A = c.advantages(method)
    marked = c.marked(method, A)
    inputs = [x if x is None or x.dtype == torch.bool else x.detach() for x in c.stats(method)]
    wide = A[:, None].expand_as(c.mask).contiguous()
    spoilt = [x if x is None or x.dtype == torch.bool else x.masked_fill(~c.mask, garbage) for x in inputs]
    loss, metrics = method.policy_loss(*inputs, wide, c.mask, marked=marked)
    logp = spoilt[0].requires_grad_()
    found, spoilt_metrics = method.policy_loss(*spoilt, wide.masked_fill(~c.mask, garbage), c.mask, marked=marked)
    torch.testing.assert_close(found, loss, rtol=0, atol=1e-15)
    assert torch.autograd.grad(found, logp)[0].masked_select(~c.mask).eq(0).all()
    assert {k: v.item() for k, v in spoilt_metrics.items()} == pytest.approx({k: v.item() for k, v in metrics.items()})
    if method.selects:
        generator = torch.Generator().manual_seed(0)
        again = method.select(*spoilt[:3], wide.masked_fill(~c.mask, garbage), c.mask, generator=generator)[1]
        assert torch.equal(again, marked)


@pytest.mark.parametrize("name", SELECTING)
def test_marked_outside_the_mask_is_ignored(name):
    method, c = ready(name), case(seed=1)
    A = c.advantages(method)
    marked = c.marked(method, A)
    assert torch.equal(c.loss(method, A, marked | ~c.mask)[0], c.loss(method, A, marked)[0])


@pytest.mark.parametrize("name", NAMES)
def test_method_loss_composes_the_calls(name):
    method, c = ready(name), case(seed=5)
    loss, metrics = method.loss(
        c.rewards, c.groups, *c.stats(method), c.mask, generator=torch.Generator().manual_seed(0)
    )
    expected, expected_metrics = c.loss(method)
    assert torch.equal(loss, expected)
    assert metrics == expected_metrics
