import math
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import LiveBytes

from simko.token_stats import token_stats, vocab_parallel_token_stats
from simko.token_stats.chunked import OutputGradients, logit_gradient_
from simko.token_stats.vocab_parallel import merge_parts, shard_part


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    levels=st.integers(1, 4),
    forbidden=st.booleans(),
    offset=st.sampled_from([0.0, 1000.0, -1000.0]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 10**6),
    data=st.data(),
)
def test_merged_shards_are_the_whole(sizes, levels, forbidden, offset, dtype, seed, data):
    V, g = sum(sizes), torch.Generator().manual_seed(seed)
    K = data.draw(st.integers(1, V))
    logits = torch.randint(levels, (5, V), generator=g).to(dtype) + offset
    tokens = torch.randint(V, (5,), generator=g)
    if forbidden and len(sizes) > 1:
        logits[:, : sizes[0]] = -math.inf  # a whole shard
    parts, first = [], 0
    for size in sizes:
        parts.append(shard_part(logits[:, first : first + size].clone(), tokens, first, K))
        first += size
    found = merge_parts(torch.stack(parts), K)
    expected = token_stats(logits, tokens, top_k=K, impl="eager")
    assert torch.equal(found.topk_ids, expected.topk_ids)
    for a, b in zip(found[:3], expected[:3], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-4 if dtype == torch.float32 and offset else 1e-5)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("sizes", [[300], [2, 120, 178], [1, 2, 3, 294]])
def test_float32_within_the_budget_of_its_twin(sizes, offset):
    """Values, and each output's gradient alone; some shards have fewer columns than candidates."""
    g = torch.Generator().manual_seed(0)
    logits, tokens = (
        4 * torch.randn(64, sum(sizes), generator=g) + offset,
        torch.randint(sum(sizes), (64,), generator=g),
    )
    ends = torch.tensor(sizes).cumsum(0).tolist()
    firsts = [end - size for end, size in zip(ends, sizes, strict=True)]
    shards = list(zip(firsts, logits.split(sizes, -1), strict=True))
    stats = merge_parts(torch.stack([shard_part(z.clone(), tokens, first, 5) for first, z in shards]), 5)
    twin_z, exact_z = logits.clone().requires_grad_(), logits.double().requires_grad_()
    twin, exact = (token_stats(z, tokens, top_k=5, impl="eager") for z in (twin_z, exact_z))
    assert torch.equal(stats.topk_ids, exact.topk_ids)

    def within_budget(found, twin, exact):
        return (found - exact).abs().max() <= (twin - exact).abs().max() + 1e-5

    for i, found in enumerate((stats.logp, stats.entropy, stats.topk_logp)):
        assert within_budget(found, twin[i], exact[i])
        upstream = [torch.zeros(64), torch.zeros(64), torch.zeros(64, 5)]
        upstream[i] = torch.randn(upstream[i].shape, generator=g)
        d_found = torch.cat(
            [logit_gradient_(z.clone(), stats, tokens, OutputGradients(*upstream), first) for first, z in shards], -1
        )
        (d_twin,) = torch.autograd.grad((twin[i] * upstream[i]).sum(), twin_z, retain_graph=True)
        (d_exact,) = torch.autograd.grad((exact[i] * upstream[i]).sum(), exact_z, retain_graph=True)
        assert within_budget(d_found, d_twin, d_exact)


def test_a_process_alone_has_the_whole():
    logits, tokens = torch.randn(2, 3, 50, dtype=torch.float64).requires_grad_(), torch.randint(50, (2, 3))
    assert torch.autograd.gradcheck(
        lambda z: vocab_parallel_token_stats(z, tokens, 0, top_k=3, temperature=0.7)[:3], logits
    )
    found = vocab_parallel_token_stats(logits, tokens, 0, top_k=3, temperature=0.7)
    for a, b in zip(found, token_stats(logits, tokens, top_k=3, temperature=0.7, impl="eager"), strict=True):
        torch.testing.assert_close(a, b)
    assert vocab_parallel_token_stats(logits[:0], tokens[:0], 0, top_k=3).topk_ids.shape == (0, 3, 3)


@pytest.mark.parametrize("token", [-100, 50])
def test_an_id_that_no_process_has_is_no_number(token):
    logits, tokens = torch.randn(2, 50), torch.tensor([3, token])
    logits[0, 3] = -math.inf
    found = vocab_parallel_token_stats(logits, tokens, 0, top_k=2)
    assert found.logp[0] == -math.inf  # forbidden, but there
    assert found.logp[1].isnan()
    assert not found.is_top1[1]
    assert found.entropy.isfinite().all()


def test_a_shard_is_read_in_chunks():
    logits, tokens = torch.randn(1024, 2048), torch.zeros(1024, dtype=torch.long)
    with LiveBytes() as memory:
        vocab_parallel_token_stats(logits, tokens, 0, top_k=3)
    assert memory.peak < logits.nbytes + 3 * 128 * 2048 * 4


def test_two_processes_agree_with_the_whole_in_one_gather():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={port}"]
    run = subprocess.run(
        [*command, str(Path(__file__).with_name("vocab_ranks.py"))], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr[-3000:]


@pytest.mark.parametrize(("change", "message"), [({"top_k": 0}, "top_k"), ({"temperature": 0.0}, "temperature")])
def test_bad_options(change, message):
    unchecked = getattr(vocab_parallel_token_stats, "__wrapped__", vocab_parallel_token_stats)
    with pytest.raises(ValueError, match=message):
        unchecked(torch.zeros(2, 4), torch.zeros(2, dtype=torch.long), 0, **({"top_k": 1} | change))
    with pytest.raises(ValueError, match="shape"):
        unchecked(torch.zeros(2, 4), torch.zeros(3, dtype=torch.long), 0, top_k=1)
    with pytest.raises(ValueError, match="top_k"):
        unchecked(torch.zeros(2, 4), torch.zeros(2, dtype=torch.long), 0, top_k=5)
    with pytest.raises(ValueError, match="no columns"):
        unchecked(torch.zeros(2, 0), torch.zeros(2, dtype=torch.long), 0, top_k=1)
