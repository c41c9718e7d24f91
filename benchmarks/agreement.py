"""Whether the fast paths agree with the plain one, on the machine at hand.

A path's error against float64 must not exceed the plain path's own error in the same precision by more than 1e-5
(float32) or 1e-3 (half precision). A gradient's tolerance is of its largest entry where that is above 1, since its sums
grow with N, and in half precision no less than one rounding of it: matrix products take the logits' gradient rounded.
Candidates' ids are compared where the next candidate is clearly apart.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from simko.token_stats import TokenStats, fused_candidate_gap, fused_token_stats, token_stats

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-3, torch.float16: 1e-3}
LOGITS_SHAPES = [(0, 300), (1, 5), (7, 1000), (64, 4099), (3, 32768), (2, 151936)]
HEAD_SHAPES = [(0, 300, 16), (1, 1000, 64), (7, 4099, 64), (300, 1031, 128)]
KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": lambda z: z,
    "all negative": lambda z: z - 100,
    "far from zero": lambda z: z + 1000,
    "half forbidden": lambda z: z.index_fill(-1, torch.arange(1, z.shape[-1], 2, device=z.device), -torch.inf),
    "tied": lambda z: z.round(),
}
HEADS: list[dict[str, Any]] = [{}, {"temperature": 0.7, "scale": 0.5}, {"softcap": 20.0, "bias": True}]


@dataclass
class Disagreement:
    case: str
    what: str
    error: float
    budget: float

    def __str__(self) -> str:
        return f"{self.case}: {self.what} is {self.error:.1e} off, {self.budget:.1e} allowed"


def distance(found: Tensor, exact: Tensor) -> float:
    """Largest difference, equal infinities apart; infinite where `found` holds a NaN."""
    found, exact = found.detach().double(), exact.detach()
    apart = torch.where(found == exact, 0.0, (found - exact).abs())
    return float(apart.nan_to_num(torch.inf).max()) if apart.numel() else 0.0


def results(stats: Callable[..., Any], leaves: list[Tensor], weights: list[Tensor]) -> tuple[Any, list[Tensor]]:
    """The statistics, and the gradients to the leaves of their combination by `weights`, -inf left out."""
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    made = stats(*leaves)
    outputs = [made] if isinstance(made, Tensor) else list(made[:3])
    terms = [(w * torch.where(x > -torch.inf, x, 0.0)).sum() for w, x in zip(weights, outputs, strict=True)]
    return made, list(torch.autograd.grad(sum(terms), leaves, allow_unused=True, materialize_grads=True))


def compare(
    case: str,
    path: Callable[..., Any],
    plain: Callable[..., Any],
    leaves: list[Tensor],
    weights: list[Tensor],
    after: Tensor | None = None,
) -> Iterator[Disagreement]:
    """Where `path` errs more than `plain` may. after [N]: the exact log-prob of candidate K + 1, if there is one."""
    tolerance = TOLERANCE[leaves[0].dtype]
    exact, exact_gradients = results(plain, [leaf.double() for leaf in leaves], [w.double() for w in weights])
    twin, twin_gradients = results(plain, leaves, weights)
    found, gradients = results(path, leaves, weights)
    names = ["gap"] if isinstance(found, Tensor) else ["logp", "entropy", "topk_logp"]
    triples = zip(*([x] if isinstance(x, Tensor) else x[:3] for x in (found, twin, exact)), strict=True)
    of_gradients = zip(gradients, twin_gradients, exact_gradients, strict=True)
    named = [(name, *triple, tolerance) for name, triple in zip(names, triples, strict=True)]
    rounding = max(tolerance, torch.finfo(leaves[0].dtype).eps)
    for i, triple in enumerate(of_gradients):
        largest = distance(triple[2], torch.zeros_like(triple[2]))
        named.append((f"gradient {i}", *triple, rounding * max(1.0, largest)))
    for name, of_path, of_twin, truth, allowance in named:
        error, budget = distance(of_path, truth), distance(of_twin, truth) + allowance
        if not error <= budget:
            yield Disagreement(case, name, error, budget)
    if isinstance(found, TokenStats):
        ranked = exact.topk_logp if after is None else torch.cat([exact.topk_logp, after[..., None]], -1)
        clear = (ranked.diff(dim=-1).abs() > 100 * tolerance).all(-1)
        wrong = ((found.topk_ids != exact.topk_ids).any(-1) | (found.is_top1 != exact.is_top1)) & clear
        if wrong.any():
            yield Disagreement(case, "share of ids", float(wrong.double().mean()), 0.0)


def logits_cases(device: str, impl: str) -> Iterator[list[Disagreement]]:
    """token_stats on logits over shapes, precisions, kinds of logits, K and temperature."""
    generator = torch.Generator(device).manual_seed(0)
    draw = {"generator": generator, "device": device}
    for (N, V), dtype, (kind, change) in itertools.product(LOGITS_SHAPES, TOLERANCE, KINDS.items()):
        for K, temperature in ((1, 1.0), (3, 0.7), (8, 1.0)):
            K = min(K, V)
            logits = change(3 * torch.randn(N, V, **draw)).to(dtype)
            tokens = 2 * torch.randint((V + 1) // 2, (N, 2), **draw)[:, 0]  # even, never forbidden; not contiguous
            tokens[: N // 2] = logits[: N // 2].argmax(-1)
            weights = [torch.randn(N, **draw), torch.randn(N, **draw), torch.randn(N, K, **draw)]
            stats = partial(token_stats, tokens=tokens, temperature=temperature)
            after = stats(logits.double(), impl="eager", top_k=K + 1).topk_logp[..., K] if K < V else None
            case = f"{impl} logits [{N}, {V}] {dtype}, {kind}, K {K}, temperature {temperature}"
            pair = partial(stats, top_k=K, impl=impl), partial(stats, top_k=K, impl="eager")
            yield list(compare(case, *pair, [logits], weights, after))


def on_head(
    function: Callable[..., Any], tokens: Tensor, hidden: Tensor, weight: Tensor, *bias: Tensor, **options: Any
) -> Any:
    """The function, with the bias, where there is one, as a third leaf."""
    return function(hidden, weight, tokens, **{**options, "bias": bias[0] if bias else None})


def head_cases(device: str, impl: str) -> Iterator[list[Disagreement]]:
    """fused_token_stats and fused_candidate_gap over shapes, precisions and heads."""
    generator = torch.Generator(device).manual_seed(1)
    draw = {"generator": generator, "device": device}
    for (N, V, d), dtype, head, K in itertools.product(HEAD_SHAPES, TOLERANCE, HEADS, (1, 3)):
        leaves = [torch.randn(N, d, **draw).to(dtype), (torch.randn(V, d, **draw) * 3 / d**0.5).to(dtype)]
        if "bias" in head:
            leaves.append(torch.randn(V, **draw).to(dtype))
        tokens, where = torch.randint(V, (N,), **draw), torch.rand(N, **draw) > 0.5
        weights = [torch.randn(N, **draw), torch.randn(N, **draw), torch.randn(N, K, **draw)]
        case = f"{impl} head [{N}, {d}] x [{V}, {d}] {dtype}, {head}, K {K}"
        stats = partial(on_head, fused_token_stats, tokens, **head)
        after = stats(*(leaf.double() for leaf in leaves), impl="eager", top_k=K + 1).topk_logp[..., K]
        pair = partial(stats, top_k=K, impl=impl), partial(stats, top_k=K, impl="eager")
        yield list(compare(f"{case}, statistics", *pair, leaves, weights, after))
        gap = partial(on_head, partial(fused_candidate_gap, where=where, top_k=K), tokens, **head)
        pair = partial(gap, impl=impl), partial(gap, impl="eager")
        yield list(compare(f"{case}, gated gap", *pair, leaves, weights[:1]))


def check(device: str, logits_impls: list[str], head_impls: list[str]) -> tuple[int, list[str]]:
    """How many cases were compared, and a line for each disagreement; a path that raises disagrees."""
    cases, lines = 0, []
    sources = [logits_cases(device, impl) for impl in logits_impls] + [head_cases(device, impl) for impl in head_impls]
    for source in sources:
        try:
            for found in source:
                cases += 1
                lines += map(str, found)
        except Exception as error:  # a kernel that does not compile must not hide what the others do
            lines.append(f"case {cases + 1} raised {type(error).__name__}: {str(error)[:200]}")
    return cases, lines
