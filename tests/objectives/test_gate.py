import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simko.objectives import entropy_gate


def by_quantile(entropy, mask, q):
    gate = torch.zeros(mask.shape, dtype=torch.bool)
    for i, counted in enumerate(mask != 0):
        if counted.any():
            gate[i] = counted & (entropy[i] > torch.quantile(entropy[i][counted], q))
    return gate


@settings(max_examples=60, deadline=None)
@given(
    B=st.integers(1, 4),
    T=st.integers(1, 40),
    q=st.one_of(st.sampled_from([0.0, 0.2, 0.35, 0.5, 0.7, 0.8, 0.9, 1.0]), st.floats(0, 1)),
    levels=st.sampled_from([2, 5, 0]),
    double=st.booleans(),
    seed=st.integers(0, 10**6),
)
@example(B=1, T=2, q=1 - 2**-53, levels=0, double=True, seed=0)  # rounds to the largest entropy
def test_is_torch_quantile_of_each_response(B, T, q, levels, double, seed):
    g = torch.Generator().manual_seed(seed)
    entropy = torch.rand(B, T, generator=g, dtype=torch.float64 if double else torch.float32)
    if levels:  # many equal entropies
        entropy = (entropy * levels).floor()
    mask = torch.rand(B, T, generator=g) < 0.7
    assert torch.equal(entropy_gate(entropy, mask, q), by_quantile(entropy, mask, q))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounds_like_torch_quantile(dtype):
    for n in range(1, 200):  # 0.7 x 180 is not 126 in every precision
        entropy, mask = torch.rand(1, n, dtype=dtype), torch.ones(1, n)
        assert torch.equal(entropy_gate(entropy, mask, 0.7), by_quantile(entropy, mask, 0.7))


def test_strictly_above():
    entropy = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
    all_counted = torch.ones(1, 6)
    assert entropy_gate(entropy, all_counted, 0.8).tolist() == [[False] * 5 + [True]]  # the quantile is 5 itself
    assert entropy_gate(entropy, all_counted, 0.0).tolist() == [[False] + [True] * 5]
    assert entropy_gate(entropy, all_counted, 1.0).tolist() == [[False] * 6]
    assert entropy_gate(torch.full((1, 6), 0.3), all_counted, 0.0).sum() == 0


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_no_gate_is_the_mask(dtype):
    mask = torch.tensor([[1, 0, 1]]).to(dtype)
    assert entropy_gate(torch.zeros(1, 3), mask, None).tolist() == [[True, False, True]]


def test_what_is_masked_does_not_move_the_quantile():
    entropy, mask = torch.rand(3, 9), torch.ones(3, 9)
    mask[:, 4:6] = 0
    for garbage in (1e9, -1e9, float("inf"), float("nan")):
        spoilt = entropy.masked_fill(mask == 0, garbage)
        assert torch.equal(entropy_gate(spoilt, mask, 0.6), by_quantile(entropy, mask, 0.6))


def test_empty_responses():
    assert entropy_gate(torch.zeros(2, 0), torch.ones(2, 0), 0.8).shape == (2, 0)
    assert not entropy_gate(torch.rand(2, 5), torch.zeros(2, 5), 0.8).any()


def test_no_gradient():
    assert not entropy_gate(torch.rand(2, 5, requires_grad=True), torch.ones(2, 5), 0.5).requires_grad


@pytest.mark.parametrize("q", [-0.01, 1.01, float("nan")])
def test_quantile_out_of_range(q):
    with pytest.raises(ValueError, match="quantile"):
        entropy_gate(torch.rand(1, 3), torch.ones(1, 3), q)
