"""Properties of every row. A row that does not have one has a test of its own."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from method_cases import NAMES, SELECTING, Case, case, ready

from simko.objectives import METHODS

every_method = pytest.mark.parametrize("name", NAMES)
few = settings(max_examples=8, deadline=None)
seeds = st.integers(0, 10**6)


def close(found, expected, atol=1e-13):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=atol)


def random_case(seed, **kw):
    groups, others, T = torch.randint(2, 5, (3,), generator=torch.Generator().manual_seed(seed)).tolist()
    return case(seed=seed, groups=groups - 1, per_group=1 + others, T=T + 1, **kw)


# ---- order


@every_method
@few
@given(seed=seeds)
def test_permuted_samples(name, seed):
    """Advantages and selections are permuted too, and the loss stays the same. For Clip-Cov's draw see the next test."""
    method, c = ready(name), random_case(seed)
    order = torch.randperm(len(c.rewards), generator=torch.Generator().manual_seed(seed))
    A = c.advantages(method)
    close(c[order].advantages(method), A[order])
    marked = c.marked(method, A)
    if method.selects and name != "clip_cov":
        assert torch.equal(c[order].marked(method, A[order]), marked[order])
    value, gradient = c.gradient(method, A, marked)
    moved, moved_gradient = c[order].gradient(method, A[order], None if marked is None else marked[order])
    close(moved, value)
    close(moved_gradient, gradient[order])


def test_clip_cov_draws_by_position():
    """A generator draws positions in the list of eligible tokens. In another order other tokens stand there."""
    method, c = ready("clip_cov"), case(groups=4)
    A, order = c.advantages(method), torch.arange(len(c.rewards)).flip(0)
    marked, moved = c.marked(method, A), c[order].marked(method, A[order])
    assert marked.sum() == moved.sum() > 0
    assert not torch.equal(moved, marked[order])


@every_method
@few
@given(seed=seeds)
def test_groups_are_only_names(name, seed):
    method, c = ready(name), random_case(seed)
    renamed = replace(c, groups=1000 - 17 * c.groups)
    assert torch.equal(renamed.advantages(method), c.advantages(method))


@every_method
@few
@given(seed=seeds)
def test_groups_do_not_touch_each_other(name, seed):
    method, c = ready(name), random_case(seed)
    other = random_case(seed + 1)
    T = min(c.mask.shape[1], other.mask.shape[1])
    both = Case(
        *(torch.cat([cut(a, T), cut(b, T)]) for a, b in zip(vars(c).values(), vars(other).values(), strict=True))
    )
    both.groups[len(c.groups) :] += 1000
    alone = Case(*(cut(a, T) for a in vars(c).values()))
    close(both.advantages(method)[: len(c.groups)], alone.advantages(method))


def cut(x, T):
    return x[:, :T] if x.dim() > 1 else x


# ---- masking is deletion, padding is nothing


def sure(name):
    """The row, with Dr. GRPO's length fixed: None is the width of the batch."""
    return ready(name, length=7) if name == "dr_grpo" else ready(name)


@every_method
@few
@given(seed=seeds, pad=st.integers(1, 4))
def test_padding(name, seed, pad):
    method, c = sure(name), random_case(seed)
    B, T, V = c.logits.shape
    g = torch.Generator().manual_seed(seed)
    wide = Case(
        torch.cat([c.logits, torch.randn(B, pad, V, generator=g).double()], 1),
        torch.cat([c.tokens, torch.randint(V, (B, pad), generator=g)], 1),
        torch.cat([c.old, torch.randn(B, pad, generator=g).double()], 1),
        torch.cat([c.mask, torch.zeros(B, pad, dtype=torch.bool)], 1),
        c.rewards,
        c.groups,
    )
    A = c.advantages(method)
    close(wide.advantages(method), A)
    marked = c.marked(method, A)
    if method.selects:
        assert torch.equal(wide.marked(method, A)[:, :T], marked)
    value, gradient = c.gradient(method, A, marked)
    found, found_gradient = wide.gradient(method, A)
    close(found, value)
    close(found_gradient[:, :T], gradient)
    assert found_gradient[:, T:].eq(0).all()


def test_padding_changes_dr_grpo_without_a_length():
    """Its constant is then the width of the batch. Setting length, or the denominator, avoids that."""
    c = case()
    wide = replace(
        c,
        **{n: torch.cat([x, torch.zeros_like(x)], 1) for n, x in vars(c).items() if n in ("logits", "tokens", "old", "mask")},
    )  # fmt: skip
    A = c.advantages(METHODS["dr_grpo"])
    close(2 * wide.loss(METHODS["dr_grpo"], A)[0], c.loss(METHODS["dr_grpo"], A)[0])
    close(wide.loss(sure("dr_grpo"), A)[0], c.loss(sure("dr_grpo"), A)[0])


@every_method
@few
@given(seed=seeds)
def test_a_masked_token_is_a_deleted_token(name, seed):
    """Responses with masked tokens in the middle, compared with the same responses without these tokens."""
    method, c = sure(name), random_case(seed)
    B, T = c.mask.shape
    g = torch.Generator().manual_seed(seed)
    mask = c.mask & (torch.rand(B, T, generator=g) < 0.7)
    mask[:, 0] = True
    holes = replace(c, mask=mask)
    order = (~mask).long().argsort(dim=1, stable=True)
    closed = Case(
        c.logits.gather(1, order[..., None].expand_as(c.logits)), c.tokens.gather(1, order), c.old.gather(1, order),
        mask.gather(1, order), c.rewards, c.groups,
    )  # fmt: skip
    A = holes.advantages(method)
    close(closed.advantages(method), A)
    value, gradient = holes.gradient(method, A)
    found, found_gradient = closed.gradient(method, A)
    close(found, value)
    close(found_gradient, gradient.gather(1, order[..., None].expand_as(gradient)))


@every_method
@few
@given(seed=seeds)
def test_a_masked_response_is_a_deleted_response(name, seed):
    """In policy_loss. Dr. GRPO's constant counts rows, masked or not: see the next test."""
    method, c = ready(name), random_case(seed)
    gone = torch.arange(len(c.rewards)) % 3 == 1
    A = c.advantages(method)
    masked, kept = replace(c, mask=c.mask & ~gone[:, None]), c[~gone]
    denominator = 11.0 if name == "dr_grpo" else None
    marked = masked.marked(method, A)
    value, gradient = masked.gradient(method, A, marked, denominator=denominator)
    found, found_gradient = kept.gradient(
        method, A[~gone], None if marked is None else marked[~gone], denominator=denominator
    )
    close(found, value)
    close(found_gradient, gradient[~gone])
    if method.selects:
        assert torch.equal(kept.marked(method, A[~gone]), marked[~gone])


def test_a_masked_response_still_counts_in_dr_grpo():
    c, method = case(), sure("dr_grpo")
    A = c.advantages(method)
    c.mask[3] = False
    B = len(A)
    others = c[torch.arange(B) != 3]
    close(c.loss(method, A)[0] * B, others.loss(method, A[torch.arange(B) != 3])[0] * (B - 1))


# ---- scale


BY_SUCCESS = ("simko_by_success", "simko_adaptive_by_success")  # whose alpha depends on A: test_adaptive.py
SCALES = [n for n in NAMES if n not in ("entropy_bonus", "entropy_advantage", "kl_cov", *BY_SUCCESS)]


@pytest.mark.parametrize("name", SCALES)
@few
@given(seed=seeds, factor=st.floats(0.1, 10))
def test_advantages_scale_the_loss(name, seed, factor):
    method, c = ready(name), random_case(seed)
    A = c.advantages(method)
    marked = c.marked(method, A)
    value, gradient = c.gradient(method, A, marked)
    found, found_gradient = c.gradient(method, factor * A, marked)
    close(found, factor * value, 1e-11)
    close(found_gradient, factor * gradient, 1e-11)


@pytest.mark.parametrize(
    ("name", "option"),
    [("entropy_bonus", "entropy_coef"), ("entropy_advantage", "entropy_scale"), ("kl_cov", "kl_coef")],
)
def test_where_advantages_do_not_scale_the_loss(name, option):
    """Their second term is in nats and does not scale with A. If its weight is scaled too, the whole loss scales."""
    method, c = ready(name), case(seed=3)
    A = c.advantages(method)
    marked = c.marked(method, A)
    value = c.loss(method, A, marked)[0]
    assert (c.loss(method, 3 * A, marked)[0] - 3 * value).abs() > 1e-4
    stronger = ready(name, **{option: 3 * method.options[option]})
    close(c.loss(stronger, 3 * A, marked)[0], 3 * value)


def test_where_scale_moves_the_selection():
    """Clip-Cov's bounds on the covariance are absolute. Selecting a share of the tokens does not depend on scale."""
    c = case(seed=3, groups=4)
    for name in SELECTING:
        method = ready(name, **({"cov_low": 0.2, "cov_high": 0.6} if name == "clip_cov" else {}))
        A = c.advantages(method)
        moved = not torch.equal(c.marked(method, 5 * A), c.marked(method, A))
        assert moved == (name == "clip_cov")


LINEAR = ["dr_grpo", "rloo", "ordergrad", "best_of_k"]


@pytest.mark.parametrize("name", [n for n in NAMES if not METHODS[n].binary])
@few
@given(seed=seeds, scale=st.floats(0.1, 10), shift=st.floats(-5, 5))
def test_scale_and_origin_of_the_reward(name, seed, scale, shift):
    """Adding a constant to the rewards changes nothing. A factor scales the advantage, unless a std divides it out."""
    c = random_case(seed)
    c = replace(c, rewards=torch.randn(len(c.rewards), generator=torch.Generator().manual_seed(seed)).double())
    method = ready(name, **({"eps": 0.0} if "eps" in METHODS[name].options else {}))
    expected = c.advantages(method) * (scale if name in LINEAR else 1)
    close(replace(c, rewards=scale * c.rewards + shift).advantages(method), expected, 1e-10)


# ---- splits


@every_method
@few
@given(seed=seeds, processes=st.sampled_from([1, 2]))
@pytest.mark.few(8)
def test_micro_batches_with_a_global_denominator_add_up(name, seed, processes):
    """Any split into micro-batches and processes gives the value and the gradient of the whole update."""
    method, c = ready(name), random_case(seed)
    A = c.advantages(method)
    marked = c.marked(method, A)
    value, gradient = c.gradient(method, A, marked)
    B = len(A)
    parts = torch.arange(B).tensor_split([1, B // 2]) if B > 2 else torch.arange(B).split(1)
    shares = [method.denominator(A[p], c.mask[p], marked=None if marked is None else marked[p]) for p in parts]
    D = sum(shares) / processes
    split = [c[p].gradient(method, A[p], None if marked is None else marked[p], denominator=D) for p in parts]
    close(sum(s for s, _ in split) / processes, value)
    close(torch.cat([g for _, g in split]) / processes, gradient)


@every_method
def test_the_denominator_is_the_one_used_by_default(name):
    method, c = ready(name), case(seed=2)
    A = c.advantages(method)
    marked = c.marked(method, A)
    D = method.denominator(A, c.mask, marked=marked)
    assert torch.equal(c.loss(method, A, marked)[0], c.loss(method, A, marked, denominator=D)[0])
    assert torch.equal(c.loss(method, A, marked)[0], c.loss(method, A, marked, denominator=int(D))[0])
    assert torch.equal(c.loss(method, A, marked)[0], c.loss(method, A, marked, denominator=float(D))[0])


# ---- rows without an advantage


@every_method
@few
@given(seed=seeds)
def test_rows_that_may_be_left_out(name, seed):
    """inert_zero_rows: responses with advantage 0 can be left out, if the denominator still counts them."""
    method, c = ready(name), random_case(seed)
    A = c.advantages(method).clone()
    A[::3] = 0.0
    kept = A != 0
    marked = c.marked(method, A)
    D = method.denominator(A, c.mask, marked=marked)
    value, gradient = c.gradient(method, A, marked, denominator=D)
    left = c[kept]
    found, found_gradient = left.gradient(method, A[kept], denominator=D)
    if method.inert_zero_rows:
        close(found, value)
        close(found_gradient, gradient[kept])
        assert gradient[~kept].eq(0).all()


@pytest.mark.parametrize("name", [n for n in NAMES if not METHODS[n].inert_zero_rows])
def test_rows_that_may_not_be_left_out(name):
    """Their entropy is rewarded, or they take part in what is selected."""
    method, c = ready(name), case(seed=3, groups=4)
    A = c.advantages(method).clone()
    A[::3] = 0.0
    kept = A != 0
    marked = c.marked(method, A)
    D = method.denominator(A, c.mask, marked=marked)
    gradient = c.gradient(method, A, marked, denominator=D)[1]
    assert (c[kept].gradient(method, A[kept], denominator=D)[1] - gradient[kept]).abs().max() > 1e-5 or (
        gradient[~kept].abs().max() > 1e-5
    )
