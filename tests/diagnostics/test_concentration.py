import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simko.diagnostics import Concentration, concentration_summary, expected_distinct
from simko.token_stats import token_stats


def record(B=4, T=9, V=20, K=6, seed=0):
    g = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(B, T, V, generator=g, dtype=torch.float64)
    s = token_stats(logits, torch.randint(V, (B, T), generator=g), top_k=K)
    mask = torch.rand(B, T, generator=g) < 0.7
    mask[:, 0] = True
    return s.logp, s.entropy, s.topk_logp, mask


def test_against_a_loop():
    logp, entropy, topk, mask = record()
    mask[2] = False  # left out of the means, not counted as zero
    found = concentration_summary(logp, entropy, topk, mask, gate_quantile=0.5)
    rows, gated, hist = [], [], [0] * 7
    edges = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
    for i in (0, 1, 3):
        counted = [t for t in range(9) if mask[i, t]]
        rows.append([topk[i, counted].mean(0), logp[i, counted].mean(), entropy[i, counted]])
        cut = torch.quantile(entropy[i, counted], 0.5)
        gated += [topk[i, t].exp() for t in counted if entropy[i, t] > cut]
        for t in counted:
            hist[max(j for j, e in enumerate(edges) if float(entropy[i, t]) >= e)] += 1
    assert found["concentration"] == pytest.approx((sum(r[0] for r in rows) / 3).tolist())
    assert found["sampled"] == pytest.approx(float(sum(r[1] for r in rows) / 3))
    assert found["entropy"] == pytest.approx(float(torch.cat([r[2] for r in rows]).mean()))
    assert found["gated_rank_probability"] == pytest.approx(torch.stack(gated).mean(0)[:4].tolist())
    assert found["entropy_histogram"]["edges"] == [*edges, None]
    assert found["entropy_histogram"]["share"] == pytest.approx([h / sum(hist) for h in hist])


def test_every_response_weighs_the_same_however_long():
    topk = torch.tensor([[[-1.0], [-1.0], [-1.0]], [[-5.0], [0.0], [0.0]]])
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    found = concentration_summary(topk[..., 0], torch.rand(2, 3), topk, mask)
    assert found["concentration"] == pytest.approx([-3.0])
    assert found["sampled"] == pytest.approx(-3.0)


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), float("-inf")])
def test_what_is_masked_has_no_effect(garbage):
    logp, entropy, topk, mask = record()
    mask[1] = False
    clean = concentration_summary(logp, entropy, topk, mask)
    spoilt = concentration_summary(
        logp.masked_fill(~mask, garbage),
        entropy.masked_fill(~mask, garbage),
        topk.masked_fill(~mask[..., None], garbage),
        mask.long(),
    )
    assert spoilt == clean
    assert not math.isnan(clean["sampled"])


@settings(max_examples=30, deadline=None)
@given(B=st.integers(1, 4), T=st.integers(2, 9), seed=st.integers(0, 10**6))
def test_bounds(B, T, seed):
    """Histogram shares sum to 1; ranks come in order; no token beats rank 1."""
    found = concentration_summary(*record(B=B, T=T, seed=seed), gate_quantile=None)
    assert sum(found["entropy_histogram"]["share"]) == pytest.approx(1, abs=1e-5)
    ranks, probability = found["concentration"], found["rank_probability"]
    assert ranks == sorted(ranks, reverse=True)
    assert probability == sorted(probability, reverse=True)
    assert sum(probability) <= 1 + 1e-9
    assert found["sampled"] <= ranks[0]


def test_edges_belong_to_the_bin_above():
    entropy = torch.tensor([[0.0, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 100.0, 0.049]])
    zeros = torch.zeros_like(entropy)
    found = concentration_summary(zeros, entropy, zeros[..., None], zeros + 1)
    assert found["entropy_histogram"]["share"] == pytest.approx([n / 9 for n in (2, 1, 1, 1, 1, 1, 2)])


def test_impossible_candidates_are_floored():
    topk = torch.tensor([[[0.0, -torch.inf]]])
    found = concentration_summary(topk[..., 1], torch.zeros(1, 1), topk, torch.ones(1, 1), gate_quantile=None)
    assert found["concentration"] == [0.0, -100.0]
    assert found["sampled"] == -100.0
    assert found["gated_rank_probability"] == [1.0, 0.0]


def test_nothing_counted_is_nan_everywhere():
    logp, entropy, topk, mask = record()
    found = concentration_summary(logp, entropy, topk, torch.zeros_like(mask))
    numbers = [found["entropy"], found["sampled"], *found["concentration"], *found["gated_rank_probability"],
               *found["entropy_histogram"]["share"]]  # fmt: skip
    assert all(math.isnan(x) for x in numbers)


def test_another_number_of_candidates_is_refused():
    with pytest.raises(ValueError, match="6 candidates are summed here, got 2"):
        Concentration(6).add(*record(K=2))
    with pytest.raises(ValueError, match="at least 1"):
        Concentration(0)


def test_plain_numbers_without_gradient():
    logp, entropy, topk, mask = (x.requires_grad_() if x.is_floating_point() else x for x in record())
    found = concentration_summary(logp, entropy, topk, mask)
    assert all(isinstance(x, float) for x in [found["entropy"], found["sampled"], *found["concentration"]])


# ---- closed forms on a tiny distribution


def uniform_and_certain():
    """Two responses over a vocabulary of 4: one token each of a uniform and of a certain distribution, and a uniform one."""
    uniform, certain = [math.log(0.25)] * 4, [0.0, *[-math.inf] * 3]
    topk = torch.tensor([[uniform, certain], [uniform, certain]], dtype=torch.float64)
    logp = torch.tensor([[math.log(0.25), 0.0], [math.log(0.25), 0.0]], dtype=torch.float64)
    entropy = torch.tensor([[math.log(4), 0.0], [math.log(4), 0.0]], dtype=torch.float64)
    return logp, entropy, topk, torch.tensor([[1, 1], [1, 0]])


def test_closed_forms():
    found = concentration_summary(*uniform_and_certain(), correct=torch.tensor([True, False]), gate_quantile=0.8)
    quarter = math.log(0.25)
    assert found["concentration"] == pytest.approx(
        [(quarter / 2 + quarter) / 2, *[((quarter - 100) / 2 + quarter) / 2] * 3]
    )
    assert found["concentration_log10"] == pytest.approx([x / math.log(10) for x in found["concentration"]])
    assert found["sampled"] == pytest.approx(0.75 * quarter)
    assert found["sampled_log10"] == pytest.approx(0.75 * math.log10(0.25))
    assert (found["responses"], found["tokens"], found["sampled_rank1"]) == (2, 3, 1.0)
    assert found["entropy"] == pytest.approx(2 / 3 * math.log(4))
    assert found["entropy_histogram"]["share"] == pytest.approx([1 / 3, 0, 0, 0, 0, 2 / 3, 0])
    assert found["rank_probability"] == pytest.approx([0.5, 1 / 6, 1 / 6, 1 / 6])
    assert found["top_mass"] == pytest.approx([1 / 2, 2 / 3, 5 / 6, 1])
    ranks = found["rank_histogram"]
    assert ranks["edges"] == pytest.approx([i / 20 for i in range(21)])
    assert [[row[0], row[5], row[19]] for row in ranks["share"]] == [
        pytest.approx(x) for x in ([0, 2 / 3, 1 / 3], [1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0])
    ]
    distinct = [(2 * 4 * (1 - 0.75**k) + 1) / 3 for k in found["distinct"]["draws"]]
    assert found["distinct"]["low"] == pytest.approx(distinct)
    assert found["distinct"]["high"] == pytest.approx(distinct)
    assert found["gated"]["tokens"] == 1  # the response of one token has none above its own quantile
    assert found["gated"]["concentration"] == pytest.approx([quarter] * 4)
    assert (found["correct"]["tokens"], found["incorrect"]["tokens"]) == (2, 1)
    assert found["incorrect"]["sampled"] == pytest.approx(quarter)


def test_without_verdicts_there_is_no_split():
    assert not {"correct", "incorrect"} & set(concentration_summary(*record()))


# ---- float64 brute force over whole distributions


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), quantile=st.sampled_from([None, 0.0, 0.5, 0.8]))
def test_every_number_against_whole_distributions(seed, quantile):
    B, T, V, K = 3, 5, 9, 4
    g = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(B, T, V, generator=g, dtype=torch.float64)
    tokens, mask = torch.randint(V, (B, T), generator=g), torch.rand(B, T, generator=g) < 0.8
    correct = torch.rand(B, generator=g) < 0.5
    s = token_stats(logits.float(), tokens, top_k=K)
    found = concentration_summary(s.logp, s.entropy, s.topk_logp, mask, correct=correct, gate_quantile=quantile)

    places = [(i, t) for i in range(B) for t in range(T) if mask[i, t]]
    p = {(i, t): logits[i, t].softmax(0).sort(descending=True).values for i, t in places}
    own = {(i, t): float(logits[i, t].softmax(0)[tokens[i, t]]) for i, t in places}
    entropy = {at: float(-(x * x.log()).sum()) for at, x in p.items()}

    def gated(i, t):
        mine = [entropy[i, u] for u in range(T) if (i, u) in p]
        return (
            quantile is None
            or entropy[i, t] > float(torch.quantile(torch.tensor(mine, dtype=torch.float64), quantile)) + 1e-6
        )

    sets = {
        "all": places, "gated": [at for at in places if gated(*at)],
        "correct": [at for at in places if correct[at[0]]], "incorrect": [at for at in places if not correct[at[0]]],
    }  # fmt: skip
    for name, chosen in sets.items():
        numbers = found if name == "all" else found[name]
        assert (numbers["tokens"], numbers["responses"]) == (len(chosen), len({i for i, _ in chosen}))
        if not chosen:
            assert math.isnan(numbers["sampled"])
            assert math.isnan(numbers["entropy"])
            continue
        rows = [[at for at in chosen if at[0] == i] for i in sorted({i for i, _ in chosen})]

        def mean(f, chosen=chosen):
            return sum(f(at) for at in chosen) / len(chosen)

        def by_response(f, rows=rows):
            return sum(sum(f(at) for at in row) / len(row) for row in rows) / len(rows)

        close = {"rel": 1e-4, "abs": 1e-6}
        assert numbers["sampled"] == pytest.approx(by_response(lambda at: math.log(own[at])), **close)
        assert numbers["entropy"] == pytest.approx(mean(lambda at: entropy[at]), **close)
        assert numbers["sampled_rank1"] == pytest.approx(mean(lambda at: own[at] >= float(p[at][0])), **close)
        for n in range(K):
            assert numbers["concentration"][n] == pytest.approx(
                by_response(lambda at, n=n: math.log(p[at][n])), **close
            )
            assert numbers["rank_probability"][n] == pytest.approx(mean(lambda at, n=n: float(p[at][n])), **close)
            assert numbers["top_mass"][n] == pytest.approx(mean(lambda at, n=n: float(p[at][: n + 1].sum())), **close)
        for j, k in enumerate(numbers["distinct"]["draws"]):
            exact = mean(lambda at, k=k: float(expected_distinct(p[at].log(), [k])[0]))
            assert numbers["distinct"]["low"][j] - 1e-4 <= exact <= numbers["distinct"]["high"][j] + 1e-4


# ---- streaming


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), cuts=st.lists(st.integers(0, 8), max_size=5), judged=st.booleans())
def test_streaming_equals_all_at_once(seed, cuts, judged):
    """In any split of the responses, padded to any width."""
    *stats, mask = record(B=8, seed=seed)
    correct = torch.rand(8, generator=torch.Generator().manual_seed(seed)) < 0.5 if judged else None
    sums = Concentration(6)
    bounds = [0, *sorted(cuts), 8]
    for a, b in itertools.pairwise(bounds):
        if a < b:
            wide = [torch.nn.functional.pad(x[a:b], (0, 0) * (x.dim() - 2) + (0, b)) for x in (*stats, mask)]
            sums.add(*wide, None if correct is None else correct[a:b])
    assert flat(sums.summary()) == pytest.approx(
        flat(concentration_summary(*stats, mask, correct=correct)), rel=1e-12, nan_ok=True
    )


def flat(value, name=""):
    if isinstance(value, dict):
        return {k: v for key, x in value.items() for k, v in flat(x, f"{name}.{key}").items()}
    if isinstance(value, list):
        return {k: v for i, x in enumerate(value) for k, v in flat(x, f"{name}.{i}").items()}
    return {name: math.inf if value is None else value}


def test_memory_does_not_grow_with_tokens():
    def held(sums):
        return sum(
            x.nbytes
            for s in (*sums._sets.values(), *sums._judged.values())
            for x in vars(s).values()
            if hasattr(x, "nbytes")
        )

    sums = Concentration(6)
    empty = held(sums)
    for seed in range(3):
        sums.add(*record(B=8, T=50, seed=seed))
    assert held(sums) == empty
