"""Reinforcement learning with verifiable rewards, the whole method in one file.

    sample responses -> grade them -> advantages -> for each update: score the tokens again, loss, step

It trains any row of METHODS on any causal language model of Transformers, in one process. The formulas are in
simko.objectives; this file carries tensors to them. `train` is the loop, and the functions below it are its steps.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from simko.objectives import Method, candidate_gap
from simko.objectives.tokens import read_tokens
from simko.objectives.update import Adaptation, MetricSums, Scored, ignores_zero_rows, open_update
from simko.records import Problem
from simko.token_stats import TokenStats, token_stats
from simko.verifiers import get_verifier, grade_many


@dataclass(frozen=True, kw_only=True)
class Training:
    """How long and on how much to train. The defaults are those of the quickstart's recipe."""

    rollouts: int = 120
    """The number of rollouts."""
    problems: int = 64
    """The problems of a rollout."""
    responses: int = 16
    """The responses to each problem."""
    updates: int = 2
    """The updates that a rollout is split into."""
    micro_batch: int = 128
    """The responses that are scored together."""
    max_new_tokens: int = 9
    """The length at which a response is cut off."""
    learning_rate: float = 2e-4
    """AdamW's, constant; betas 0.9 and 0.95, no weight decay."""
    max_grad_norm: float = 1.0
    """The norm to which gradients are clipped."""


class Rollout(NamedTuple):
    """Responses to P prompts, the n of each prompt together: B = P n."""

    prompts: Int[Tensor, "B L"]
    """Padded on the left."""
    prompt_mask: Bool[Tensor, "B L"]
    """False for padding."""
    tokens: Int[Tensor, "B T"]
    """Sampled. After a response's end they are padding."""
    mask: Bool[Tensor, "B T"]
    """True up to the end token, which counts."""
    logp: Float[Tensor, "B T"]
    """log pi of each token when it was sampled, nats."""

    def rows(self, where: Tensor) -> "Rollout":
        """The responses of these places."""
        return Rollout(*(x[where] for x in self))


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    method: Method,
    problems: Sequence[Problem],
    verifier: str,
    settings: Training,
    seed: int,
) -> Iterator[dict[str, float]]:
    """Train the model in place, and yield the metrics of each rollout: `reward`, its mean, and those of the row.

    Everything that is drawn comes from `seed`. The model stays in eval mode: dropout would change log-probabilities between
    sampling and training.
    """
    model.eval()
    draw = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
    adaptation = Adaptation(method)
    for batch in batches(problems, settings, draw):
        prompts = [problem.prompt for problem in batch]
        rollout = sample(model, tokenizer, prompts, settings.responses, settings.max_new_tokens, draw)
        rewards = grade(tokenizer, rollout, batch, verifier)
        groups = torch.arange(len(batch)).repeat_interleave(settings.responses)
        advantages = method.advantages(rewards, groups, old_logp=rollout.logp, mask=rollout.mask)
        metrics: dict[str, float] = {}
        for places in torch.randperm(len(rewards), generator=draw).chunk(settings.updates):
            metrics = update(model, optimizer, adaptation, rollout.rows(places), advantages[places], settings, draw)
        yield {"reward": float(rewards.mean())} | metrics


def batches(problems: Sequence[Problem], settings: Training, draw: torch.Generator) -> Iterator[list[Problem]]:
    """The problems of each rollout: a new permutation whenever too few are left of the last one."""
    order: list[int] = []
    for _ in range(settings.rollouts):
        if len(order) < settings.problems:
            order = torch.randperm(len(problems), generator=draw).tolist()
        chosen, order = order[: settings.problems], order[settings.problems :]
        yield [problems[i] for i in chosen]


@torch.no_grad()
def sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    n: int,
    max_new_tokens: int,
    draw: torch.Generator,
    temperature: float = 1.0,
) -> Rollout:
    """n responses to each prompt from softmax(logits / temperature). The prompts are read once for all n."""
    encoded = tokenizer(list(prompts), padding=True, padding_side="left", return_tensors="pt")
    ids, seen = encoded["input_ids"], encoded["attention_mask"]
    cache = DynamicCache(config=model.config)
    logits = forward(model, ids, seen, past_key_values=cache, logits_to_keep=1)[:, -1].repeat_interleave(n, 0)
    cache.batch_repeat_interleave(n)
    ids, seen = ids.repeat_interleave(n, 0), seen.repeat_interleave(n, 0)
    width, running, columns = ids.shape[1], torch.ones(len(ids), dtype=torch.bool), []
    prompt_mask = seen.bool()
    for step in range(max_new_tokens):
        logp = (logits.float() / temperature).log_softmax(-1)
        noise = torch.empty_like(logp).exponential_(generator=draw)
        token = (logp - noise.log()).argmax(-1).where(running, tokenizer.pad_token_id)  # Gumbel's trick
        columns.append((token, running, logp.gather(1, token[:, None])[:, 0]))
        running = running & (token != tokenizer.eos_token_id)
        if step == max_new_tokens - 1 or not running.any():
            break
        seen = torch.cat([seen, seen.new_ones(len(seen), 1)], 1)
        logits = forward(model, token[:, None], seen, past_key_values=cache)[:, -1]
    tokens, mask, logps = (torch.stack(column, 1) for column in zip(*columns, strict=True))
    return Rollout(ids[:, :width], prompt_mask, tokens, mask, logps)


def forward(model: PreTrainedModel, ids: Tensor, seen: Tensor, **options: Any) -> Float[Tensor, "B _ V"]:
    """The logits after the last ids, of which `seen` marks all that are no padding."""
    if seen.all():  # without a mask, attention is faster
        return model(input_ids=ids, use_cache="past_key_values" in options, **options).logits
    places = (seen.long().cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    cached = "past_key_values" in options
    return model(input_ids=ids, attention_mask=seen, position_ids=places, use_cache=cached, **options).logits


def grade(
    tokenizer: PreTrainedTokenizerBase, rollout: Rollout, problems: Sequence[Problem], verifier: str
) -> Float[Tensor, " B"]:
    """1 for each correct response, 0 for the others."""
    n = len(rollout.tokens) // len(problems)
    texts = tokenizer.batch_decode(rollout.tokens, skip_special_tokens=True)
    verdicts = grade_many(get_verifier(verifier), [(text, problems[i // n]) for i, text in enumerate(texts)])
    return torch.tensor([float(verdict.outcome == "correct") for verdict in verdicts])


def update(
    model: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    adaptation: Adaptation,
    rollout: Rollout,
    advantages: Float[Tensor, " B"],
    settings: Training,
    draw: torch.Generator,
) -> dict[str, float]:
    """One step of the optimizer, over micro-batches; the row's metrics."""
    method, sums = adaptation.method, MetricSums()
    parts = torch.arange(len(advantages)).split(settings.micro_batch)
    counted = [(advantages[p], rollout.mask[p]) for p in parts]

    def scored() -> list[Scored]:
        with torch.no_grad():
            now = [score(model, rollout.rows(p), 1) for p in parts]
        return [
            Scored(s.logp, rollout.logp[p], s.entropy, advantages[p], rollout.mask[p], p)
            for s, p in zip(now, parts, strict=True)
        ]

    shared = open_update(method, counted, scored, OneProcess(), draw)
    skips = ignores_zero_rows(method)
    for place, marked in zip(parts, shared.marked, strict=True):
        if skips:  # responses that change nothing but the denominator, which counts them already
            place = place[advantages[place] != 0]
            if not len(place):
                continue
        part = rollout.rows(place)
        s = score(model, part, method.top_k or 1)
        gap = candidate_gap(s.topk_logp, s.logp, method.candidate_weights) if method.candidate_weights else None
        tokens = read_tokens(s.logp, part.logp, s.entropy, gap, s.is_top1, advantages[place], part.mask, marked)
        loss, metrics = method.policy_terms(tokens, shared.denominator)
        loss.backward()
        sums.add(metrics)
    torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm, error_if_nonfinite=True)
    optimizer.step()
    optimizer.zero_grad()
    means = sums.means(OneProcess())
    adaptation.step(means)
    return means


def score(model: PreTrainedModel, rollout: Rollout, top_k: int, temperature: float = 1.0) -> TokenStats:
    """Log-probability, entropy and top-K candidates of each token, [B, T]."""
    ids = torch.cat([rollout.prompts, rollout.tokens], 1)
    seen = torch.cat([rollout.prompt_mask, torch.ones_like(rollout.mask)], 1)
    logits = forward(model, ids, seen, logits_to_keep=rollout.tokens.shape[1] + 1)[:, :-1]
    return token_stats(logits, rollout.tokens, top_k=top_k, temperature=temperature)


class OneProcess:
    """The processes that share an update, where there is one."""

    index, count = 0, 1

    def sum(self, x: Tensor) -> Tensor:
        """x itself."""
        return x

    def gather(self, x: Tensor) -> Tensor:
        """x itself."""
        return x
