"""Reinforcement learning with verifiable rewards, the whole method in one file.

    sample responses -> grade them -> advantages -> for each update: score the tokens again, loss, step

It trains any row of METHODS on any causal language model of Transformers, in one process. The formulas are in
simko.objectives; this file carries tensors to them. `train` is the loop, and the functions below it are its steps.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from simko.objectives import Method, candidate_gap
from simko.objectives.tokens import read_tokens
from simko.objectives.update import Adaptation, MetricSums, OneProcess, Scored, ignores_zero_rows, open_update
from simko.records import Problem
from simko.token_stats import TokenStats, token_stats
from simko.verifiers import get_verifier, grade_many


@dataclass(frozen=True, kw_only=True)
class Training:
    """How long and on how much to train. The defaults are those of the quickstart's recipe."""

    rollouts: int = 120  # the number of rollouts
    problems: int = 64  # the problems of a rollout
    responses: int = 16  # the responses to each problem
    updates: int = 2  # the updates that a rollout is split into
    micro_batch: int = 128  # the responses that are scored together
    max_new_tokens: int = 9  # the length at which a response is cut off
    learning_rate: float = 2e-4  # AdamW's, constant; betas 0.9 and 0.95, no weight decay
    max_grad_norm: float = 1.0  # the norm to which gradients are clipped


class Rollout(NamedTuple):
    """Responses to P prompts, the n of each prompt together: B = P n."""

    prompts: Int[Tensor, "B L"]  # padded on the left
    prompt_mask: Bool[Tensor, "B L"]  # false for padding
    tokens: Int[Tensor, "B T"]  # sampled. After a response's end they are padding
    mask: Bool[Tensor, "B T"]  # true up to the end token, which counts
    logp: Float[Tensor, "B T"]  # log pi of each token when it was sampled, nats

    def rows(self, where: Tensor) -> "Rollout":
        """The responses of these places."""
        return Rollout(*(x[where] for x in self))


class Run:
    """All that training changes, the model in place. `saved_run` keeps it on disk.

    Everything that is drawn comes from `seed`. The model stays in eval mode: dropout would change log-probabilities between
    sampling and training.
    """

    def __init__(self, model: PreTrainedModel, method: Method, settings: Training, seed: int) -> None:
        self.model, self.settings, self.adaptation = model.eval(), settings, Adaptation(method)
        self.draw = torch.Generator(model.device).manual_seed(seed)
        self.optimizer = torch.optim.AdamW(
            model.parameters(), settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.0
        )
        self.order: list[int] = []  # the problems that are left of a permutation
        self.rollouts = 0  # done


def train(
    run: Run, tokenizer: PreTrainedTokenizerBase, problems: Sequence[Problem], verifier: str
) -> Iterator[dict[str, float]]:
    """Train to the last rollout, and yield the metrics of each: `reward`, its mean, and those of the row."""
    settings, draw = run.settings, run.draw
    while run.rollouts < settings.rollouts:
        batch = next_problems(run, problems)
        prompts = [problem.prompt for problem in batch]
        rollout = sample(run.model, tokenizer, prompts, settings.responses, settings.max_new_tokens, draw)
        rewards = grade(tokenizer, rollout, batch, verifier)
        groups = torch.arange(len(batch), device=draw.device).repeat_interleave(settings.responses)
        advantages = run.adaptation.method.advantages(rewards, groups, old_logp=rollout.logp, mask=rollout.mask)
        metrics: dict[str, float] = {}
        for places in torch.randperm(len(rewards), generator=draw, device=draw.device).chunk(settings.updates):
            metrics = update(run, rollout.rows(places), advantages[places])
        run.rollouts += 1
        yield {"reward": float(rewards.mean())} | metrics


def next_problems(run: Run, problems: Sequence[Problem]) -> list[Problem]:
    """The next rollout's problems: of a new permutation whenever too few are left of the last one."""
    if len(run.order) < run.settings.problems:
        run.order = torch.randperm(len(problems), generator=run.draw, device=run.draw.device).tolist()
    chosen, run.order = run.order[: run.settings.problems], run.order[run.settings.problems :]
    return [problems[i] for i in chosen]


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
    encoded = tokenizer(list(prompts), padding=True, padding_side="left", return_tensors="pt").to(model.device)
    ids, seen = encoded["input_ids"], encoded["attention_mask"]
    cache = DynamicCache(config=model.config)
    logits = forward(model, ids, seen, cache, logits_to_keep=1)[:, -1].repeat_interleave(n, 0)
    cache.batch_repeat_interleave(n)
    ids, seen = ids.repeat_interleave(n, 0), seen.repeat_interleave(n, 0)
    prompt_mask, running, columns = seen.bool(), seen.new_ones(len(ids), dtype=torch.bool), []
    for step in range(max_new_tokens):
        logp = (logits.float() / temperature).log_softmax(-1)
        noise = torch.empty_like(logp).exponential_(generator=draw)
        token = (logp - noise.log()).argmax(-1).where(running, tokenizer.pad_token_id)  # Gumbel's trick
        columns.append((token, running, logp.gather(1, token[:, None])[:, 0]))
        running = running & (token != tokenizer.eos_token_id)
        if step == max_new_tokens - 1 or not running.any():
            break
        seen = torch.cat([seen, seen.new_ones(len(seen), 1)], 1)
        logits = forward(model, token[:, None], seen, cache)[:, -1]
    tokens, mask, logps = (torch.stack(column, 1) for column in zip(*columns, strict=True))
    return Rollout(ids, prompt_mask, tokens, mask, logps)


def forward(
    model: PreTrainedModel, ids: Tensor, seen: Tensor, cache: Cache | None = None, logits_to_keep: int = 0
) -> Float[Tensor, "B _ V"]:
    """The logits after `ids`, the last of the texts of which `seen` marks all that is no padding."""
    inputs: dict[str, Any] = {"input_ids": ids, "use_cache": cache is not None, "logits_to_keep": logits_to_keep}
    if cache is not None:  # Transformers calls it past_key_values before 5.24
        inputs["cache" if "cache" in signature(model.forward).parameters else "past_key_values"] = cache
    if not seen.all():  # without a mask, attention is faster
        places = (seen.long().cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        inputs |= {"attention_mask": seen, "position_ids": places}
    return model(**inputs).logits


def grade(
    tokenizer: PreTrainedTokenizerBase, rollout: Rollout, problems: Sequence[Problem], verifier: str
) -> Float[Tensor, " B"]:
    """1 for each correct response, 0 for the others."""
    n = len(rollout.tokens) // len(problems)
    texts = tokenizer.batch_decode(rollout.tokens, skip_special_tokens=True)
    verdicts = grade_many(get_verifier(verifier), [(text, problems[i // n]) for i, text in enumerate(texts)])
    return torch.tensor([float(verdict.outcome == "correct") for verdict in verdicts], device=rollout.tokens.device)


def update(run: Run, rollout: Rollout, advantages: Float[Tensor, " B"]) -> dict[str, float]:
    """One step of the optimizer, over micro-batches; the row's metrics."""
    model, method, sums = run.model, run.adaptation.method, MetricSums()
    parts = torch.arange(len(advantages), device=advantages.device).split(run.settings.micro_batch)
    counted = [(advantages[p], rollout.mask[p]) for p in parts]

    @torch.no_grad()
    def scored() -> list[Scored]:
        stats = [score(model, rollout.rows(p), 1) for p in parts]
        there = [(rollout.logp[p], advantages[p], rollout.mask[p], p) for p in parts]
        return [Scored(s.logp, old, s.entropy, *rest) for s, (old, *rest) in zip(stats, there, strict=True)]

    shared = open_update(method, counted, scored, OneProcess(), run.draw)
    skips = ignores_zero_rows(method) and not method.selects
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
    torch.nn.utils.clip_grad_norm_(model.parameters(), run.settings.max_grad_norm, error_if_nonfinite=True)
    run.optimizer.step()
    run.optimizer.zero_grad()
    means = sums.means(OneProcess())
    run.adaptation.step(means)
    return means


def score(model: PreTrainedModel, rollout: Rollout, top_k: int) -> TokenStats:
    """Log-probability, entropy and top-K candidates of each token, [B, T]."""
    ids = torch.cat([rollout.prompts, rollout.tokens], 1)
    seen = torch.cat([rollout.prompt_mask, torch.ones_like(rollout.mask)], 1)
    logits = forward(model, ids, seen, logits_to_keep=rollout.tokens.shape[1] + 1)[:, :-1]
    return token_stats(logits, rollout.tokens, top_k=top_k)
