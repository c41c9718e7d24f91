"""One evaluation of a model: correct and distinct responses, and how its probability concentrates."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from simko.diagnostics import concentration_summary
from simko.records import Problem
from simko.studies.loop import Rollout, grade, sample, score

_ROWS = 1024
"""The responses that are sampled together."""
_PROBED = 4
"""The responses of each problem whose tokens are scored."""
_RANKS = 6


@torch.no_grad()
def measure(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[Problem],
    verifier: str,
    *,
    samples: int,
    max_new_tokens: int,
    temperature: float,
    seed: int,
) -> dict[str, Any]:
    """The measures of a `Row`. Entropy and concentration are of the model at temperature 1, on what it samples there."""
    draw = torch.Generator(model.device).manual_seed(seed)
    size = max(1, _ROWS // samples)
    correct: list[int] = []
    distinct, distinct_correct, probes = [], [], []
    for start in range(0, len(problems), size):
        part = problems[start : start + size]
        rollout = sample(model, tokenizer, [p.prompt for p in part], samples, max_new_tokens, draw, temperature)
        right = grade(tokenizer, rollout, part, verifier).view(len(part), samples).bool()
        for tokens, good in zip(rollout.tokens.view(len(part), samples, -1), right, strict=True):
            correct.append(int(good.sum()))
            distinct.append(len(tokens.unique(dim=0)))
            distinct_correct.append(len(tokens[good].unique(dim=0)) if good.any() else 0)
        if temperature == 1.0:
            first = (
                torch.arange(len(rollout.tokens), device=draw.device).view(len(part), samples)[:, :_PROBED].flatten()
            )
            probes.append(_tokens(model, rollout.rows(first)))
    found: dict[str, Any] = {
        "correct": correct,
        "distinct": sum(distinct) / len(problems),
        "distinct_correct": sum(distinct_correct) / len(problems),
    }
    return found | (_concentration(probes) if probes else {})


def _tokens(model: PreTrainedModel, rollout: Rollout) -> tuple[torch.Tensor, ...]:
    s = score(model, rollout, _RANKS)
    return s.logp, s.entropy, s.topk_logp, rollout.mask


def _concentration(probes: Sequence[tuple[torch.Tensor, ...]]) -> dict[str, Any]:
    width = max(len(mask[0]) for *_, mask in probes)
    padded = [
        [torch.nn.functional.pad(x, (0, 0) * (x.dim() - 2) + (0, width - x.shape[1])) for x in probe]
        for probe in probes
    ]
    summary = concentration_summary(*(torch.cat(columns) for columns in zip(*padded, strict=True)))
    return {
        "entropy": summary["entropy"],
        "concentration": summary["concentration"],
        "sampled": summary["sampled"],
        "rank1_gated": summary["gated_rank_probability"][0],  # type: ignore[index]
    }
