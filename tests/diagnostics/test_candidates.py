import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simko.diagnostics import candidate_matrix, distinct_bounds, expected_distinct, sampled_rank
from simko.token_stats import token_stats


def logs(*p):
    return torch.tensor(p, dtype=torch.float64).log()


def test_distinct_tokens_in_closed_form():
    assert expected_distinct(logs(0.5, 0.5), [1, 2, 3]).tolist() == pytest.approx([1, 1.5, 1.75])
    assert expected_distinct(logs(*[0.1] * 10), [4]).tolist() == pytest.approx([10 * (1 - 0.9**4)])


def test_distinct_tokens_collapse_to_one():
    """The proposition: for every K the number goes to 1 as the first candidate's probability goes to 1."""
    rest = torch.tensor([0.5, 1e-2, 1e-4, 1e-8, 1e-12], dtype=torch.float64)
    found = expected_distinct(torch.stack([1 - rest, rest / 2, rest / 2], -1).log(), [1, 8, 256])
    assert found[:, 0].tolist() == pytest.approx([1.0] * 5)
    assert (found.diff(dim=0)[:, 1:] < 0).all()
    assert found[-1].tolist() == pytest.approx([1, 1, 1], abs=1e-9)
    assert float(found[-1, 2]) - 1 == pytest.approx(255e-12, rel=1e-2)  # not lost to rounding


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 6))
def test_distinct_tokens_against_all_draws(seed, k):
    """Against the sum over all 3^k sequences of draws."""
    p = torch.randn(3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).softmax(0)
    grids = torch.cartesian_prod(*[torch.arange(3)] * k).view(-1, k)
    brute = sum(float(p[row].prod()) * len(row.unique()) for row in grids)
    assert float(expected_distinct(p.log(), [k])[0]) == pytest.approx(brute)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), K=st.integers(1, 12), scale=st.floats(0.1, 8))
def test_bounds_of_distinct_tokens_hold_and_are_sharp_where_they_can_be(seed, K, scale):
    logits = scale * torch.randn(4, 12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    p = logits.softmax(-1).sort(-1, descending=True).values
    draws = [1, 2, 8, 64]
    low, high = distinct_bounds(p[:, :K].log(), draws)
    exact = expected_distinct(p.log(), draws)
    assert (low <= exact + 1e-9).all()
    assert (exact <= high + 1e-9).all()
    assert low[:, 0].tolist() == pytest.approx([1] * 4)  # one draw shows one token
    if K == 12:
        assert low.flatten().tolist() == pytest.approx(high.flatten().tolist())


def test_the_lower_bound_is_attained():
    """By the rest on as few tokens as possible: 0.4, 0.2, and then 0.2, 0.2."""
    low, _ = distinct_bounds(logs(0.4, 0.2), [5])
    assert low.tolist() == pytest.approx(expected_distinct(logs(0.4, 0.2, 0.2, 0.2), [5]).tolist())


def test_impossible_candidates_and_draws():
    low, high = distinct_bounds(logs(1.0, 0.0), [7])
    assert (low.tolist(), high.tolist()) == ([1.0], [1.0])
    with pytest.raises(ValueError, match="draws must be at least 1"):
        expected_distinct(logs(1.0), [0])


def test_rank_of_the_sampled_token():
    topk = logs(0.5, 0.3, 0.1)
    assert [int(sampled_rank(logs(p)[0], topk)) for p in (0.5, 0.3, 0.1, 0.05)] == [1, 2, 3, 4]
    tied = logs(0.4, 0.4, 0.1)
    assert int(sampled_rank(logs(0.4)[0], tied)) == 1
    logits = torch.randn(50, 20, generator=torch.Generator().manual_seed(0))
    tokens = torch.arange(50) % 20
    s = token_stats(logits, tokens, top_k=20)
    by_sort = (logits.argsort(-1, descending=True) == tokens[:, None]).int().argmax(-1) + 1
    assert sampled_rank(s.logp, s.topk_logp).tolist() == by_sort.tolist()


def test_candidate_matrix_in_closed_form():
    topk = torch.stack([logs(0.6, 0.3, 0.08), logs(0.97, 0.02, 0.01), logs(0.2, 0.2, 0.1)])
    ids = torch.tensor([[5, 6, 7], [1, 2, 3], [8, 9, 4]])
    found = candidate_matrix(torch.tensor([6, 2, 0]), topk, ids)
    assert found.shown.tolist() == [[True, True, True], [True, False, False], [True, True, True]]
    assert found.sampled.tolist() == [1, -1, -1]  # the second was sampled beyond the mass, the third beyond K
    assert found.rest.tolist() == pytest.approx([0.02, 0.03, 0.5])
    assert candidate_matrix(torch.tensor([6, 2, 0]), topk, ids, mass=0.5).shown.sum(-1).tolist() == [1, 1, 3]
    with pytest.raises(ValueError, match="mass"):
        candidate_matrix(torch.tensor([6]), topk[:1], ids[:1], mass=0.0)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), mass=st.floats(0.05, 1))
def test_candidate_matrix_against_a_loop(seed, mass):
    g = torch.Generator().manual_seed(seed)
    logits, tokens = 2 * torch.randn(6, 8, generator=g, dtype=torch.float64), torch.randint(8, (6,), generator=g)
    s = token_stats(logits, tokens, top_k=5)
    found = candidate_matrix(tokens, s.topk_logp, s.topk_ids, mass=mass)
    for t in range(6):
        total, shown = 0.0, []
        for n in range(5):
            if total >= mass - 1e-12:
                break
            total += math.exp(float(s.topk_logp[t, n]))
            shown.append(n)
        assert abs(int(found.shown[t].sum()) - len(shown)) <= (0 if abs(total - mass) > 1e-9 else 1)
        assert float(found.rest[t]) == pytest.approx(
            1 - sum(math.exp(float(s.topk_logp[t, n])) for n in range(int(found.shown[t].sum()))), abs=1e-9
        )
        at = int(found.sampled[t])
        assert at == -1 or int(s.topk_ids[t, at]) == int(tokens[t])
