import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simko.token_stats import token_stats, top_candidates


def naive(logits, tokens, K, temperature=1.0):
    """Log-probability, entropy and the K largest log-probabilities by the book; ids by a sort that keeps the order."""
    logp = (logits / temperature).log_softmax(-1)
    ids = torch.tensor(
        [sorted(range(len(row)), key=lambda v, row=row: (-row[v], v))[:K] for row in logits.flatten(0, -2).tolist()]
    ).view(*logits.shape[:-1], K)
    p = logp.exp()
    return (
        logp.gather(-1, tokens[..., None]).squeeze(-1),
        -torch.where(p > 0, p * logp, 0.0).sum(-1),
        logp.gather(-1, ids),
        ids,
        ids[..., 0] == tokens,
    )


def sample(shape=(3, 7), V=50, seed=0, scale=3.0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(*shape, V, generator=g, dtype=dtype)
    tokens = torch.randint(V, shape, generator=g)
    tokens[0] = logits[0].argmax(-1)
    return logits, tokens


@pytest.mark.parametrize("shape", [(5,), (3, 7), (2, 3, 4)])
@pytest.mark.parametrize("K", [1, 3, 50])
@pytest.mark.parametrize("temperature", [0.6, 1.0, 3.0])
def test_against_a_plain_log_softmax(shape, K, temperature):
    logits, tokens = sample(shape)
    found, expected = (
        token_stats(logits, tokens, top_k=K, temperature=temperature),
        naive(logits, tokens, K, temperature),
    )
    for a, b in zip(found[:3], expected[:3], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-13)
    assert torch.equal(found.topk_ids, expected[3])
    assert torch.equal(found.is_top1, expected[4])
    assert found.is_top1.any()


def test_all_candidates_are_the_whole_distribution():
    logits, tokens = sample()
    s = token_stats(logits, tokens, top_k=50)
    torch.testing.assert_close(s.topk_logp.exp().sum(-1), torch.ones(3, 7).double())
    assert s.topk_ids.sort(-1).values.eq(torch.arange(50)).all()
    assert s.topk_logp.diff(dim=-1).le(0).all()


@pytest.mark.parametrize("output", ["logp", "entropy", "topk_logp"])
@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_gradients_against_autograd(output, temperature):
    logits, tokens = sample()
    logits.requires_grad_()
    index = ["logp", "entropy", "topk_logp"].index(output)
    found, expected = token_stats(logits, tokens, top_k=4, temperature=temperature)[index], None
    expected = naive(logits, tokens, 4, temperature)[index]
    weights = torch.randn_like(found)
    a = torch.autograd.grad((weights * found).sum(), logits)[0]
    b = torch.autograd.grad((weights * expected).sum(), logits)[0]
    torch.testing.assert_close(a, b, rtol=0, atol=1e-13)
    assert a.abs().max() > 1e-2


def test_gradient_of_entropy_in_closed_form():
    logits, tokens = sample()
    logits.requires_grad_()
    H = token_stats(logits, tokens, top_k=1).entropy
    logp = logits.detach().log_softmax(-1)
    found = torch.autograd.grad(H.sum(), logits)[0]
    torch.testing.assert_close(found, -logp.exp() * (logp + H.detach()[..., None]), rtol=0, atol=1e-13)


def budget(logits, tokens, outputs, offset=0.0):
    """The error of a plain float32 log_softmax, against float64, of the same logits."""
    exact = naive(logits.double() + offset, tokens, 4)
    plain = naive(logits.float() + offset, tokens, 4)
    return [float((plain[i].double() - exact[i]).abs().max()) for i in outputs], [exact[i] for i in outputs]


def test_float32_within_the_budget_of_its_twin():
    logits, tokens = sample((4, 32), V=1000, dtype=torch.float32, scale=4.0)
    budgets, exact = budget(logits, tokens, (0, 1, 2))
    found = token_stats(logits, tokens, top_k=4)
    for i in range(3):
        assert found[i].dtype == torch.float32
        assert (found[i].double() - exact[i]).abs().max() <= budgets[i] + 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_worked_in_float32(dtype):
    logits, tokens = sample(V=2000, dtype=torch.float32)
    halves = logits.to(dtype).requires_grad_()
    s = token_stats(halves, tokens, top_k=4, temperature=0.7)
    twin = token_stats(halves.detach().float(), tokens, top_k=4, temperature=0.7)
    assert s.logp.dtype == s.entropy.dtype == s.topk_logp.dtype == torch.float32
    for a, b in zip(s, twin, strict=True):
        assert torch.equal(a, b)
    s.logp.sum().backward()
    assert halves.grad.dtype == dtype


@pytest.mark.parametrize("offset", [1000.0, -1000.0])
def test_logits_far_from_zero(offset):
    """Shifting all logits changes nothing, and float32 keeps what the shift leaves of them."""
    logits, tokens = sample(V=500, dtype=torch.float32)
    moved = logits + offset
    exact = token_stats(moved.double(), tokens, top_k=4)
    found = token_stats(moved, tokens, top_k=4)
    for a, b in zip(found[:3], exact[:3], strict=True):
        assert (a.double() - b).abs().max() < 3e-6
    base = token_stats(logits.double(), tokens, top_k=4)
    far = token_stats(logits.double() + offset, tokens, top_k=4)
    for a, b in zip(far[:3], base[:3], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


@settings(max_examples=60, deadline=None)
@given(N=st.integers(1, 6), V=st.integers(1, 30), levels=st.integers(1, 4), seed=st.integers(0, 10**6), data=st.data())
def test_equal_logits_rank_by_id(N, V, levels, seed, data):
    K = data.draw(st.integers(1, V))
    logits = torch.randint(levels, (N, V), generator=torch.Generator().manual_seed(seed)).float()
    tokens = torch.zeros(N, dtype=torch.long)
    assert torch.equal(token_stats(logits, tokens, top_k=K).topk_ids, naive(logits, tokens, K)[3])


def test_ties_at_the_boundary_and_at_the_top():
    logits = torch.tensor([[1.0, 3.0, 2.0, 3.0, 2.0, 2.0], [5.0, 5.0, 5.0, 5.0, 5.0, 5.0]])
    s = token_stats(logits, torch.tensor([3, 0]), top_k=3)
    assert s.topk_ids.tolist() == [[1, 3, 2], [0, 1, 2]]
    assert s.is_top1.tolist() == [False, True]  # rank 1 of equals is the lowest id


def test_rows_without_ties_beside_rows_with_them():
    logits = torch.randn(4, 300)
    logits[2] = 0.0
    logits[3, 100:] = 9.0
    assert torch.equal(top_candidates(logits, 5), naive(logits, torch.zeros(4, dtype=torch.long), 5)[3])


def test_forbidden_tokens():
    logits, tokens = sample((4,), V=6)
    logits[:, 2:] = -torch.inf
    tokens = tokens % 2
    logits.requires_grad_()
    s = token_stats(logits, tokens, top_k=4)
    p = logits.detach()[:, :2].softmax(-1)
    torch.testing.assert_close(s.entropy, -(p * p.log()).sum(-1))
    assert s.topk_ids[:, 2:].tolist() == [[2, 3]] * 4
    assert s.topk_logp[:, 2:].eq(-torch.inf).all()
    found = torch.autograd.grad((s.logp + s.entropy + s.topk_logp[:, :2].sum(-1)).sum(), logits)[0]
    assert torch.isfinite(found).all()
    assert found[:, 2:].eq(0).all()


def test_one_certain_token():
    logits = torch.full((1, 5), -torch.inf)
    logits[0, 3] = 0.0
    s = token_stats(logits, torch.tensor([3]), top_k=1)
    assert (s.logp.item(), s.entropy.item(), s.topk_ids.item(), s.is_top1.item()) == (0.0, 0.0, 3, True)


def test_no_positions():
    s = token_stats(torch.zeros(0, 5), torch.zeros(0, dtype=torch.long), top_k=2)
    assert s.topk_logp.shape == (0, 2)


@pytest.mark.parametrize("K", [0, -1, 51])
def test_top_k_out_of_range(K):
    with pytest.raises(ValueError, match=r"top_k must lie in 1\.\.50"):
        token_stats(*sample(), top_k=K)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_temperature_out_of_range(temperature):
    with pytest.raises(ValueError, match="temperature"):
        token_stats(*sample(), top_k=1, temperature=temperature)


def test_shapes_that_do_not_match():
    logits, tokens = sample()
    unchecked = getattr(token_stats, "__wrapped__", token_stats)
    with pytest.raises(ValueError, match="shape"):
        unchecked(logits, tokens[:, :-1], top_k=1)
