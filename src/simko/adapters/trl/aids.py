"""What goes on around any objective: skipped responses, honest means, the probe, the model card."""

import json
import logging
import math
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, is_tensor
from trl import GRPOConfig

from simko.adapters.trl.lm_head import HeadCall, completion_rows, watch_head
from simko.adapters.trl.loss import counted_tokens
from simko.diagnostics import concentration_summary, evaluating
from simko.evaluate.files import append
from simko.objectives.reduction import Mean
from simko.objectives.tokens import Metrics
from simko.token_stats import TokenStats

logger = logging.getLogger("simko")

_PROBE_CANDIDATES = 6
_PROBE_ROWS = 256
_ROWS_A_PROBED_ROW = 40  # responses generated and trained on for one that a probe scores

Logged = defaultdict[str, list[float]]


# Skipping responses of advantage 0.


def rows_to_score(advantages: Tensor, accelerator: Accelerator) -> Tensor:
    """[B] bool: responses with an advantage, and others until every process has equally many (at least one): TRL
    gathers a number for each response."""
    keep = advantages.view(len(advantages), -1).ne(0).any(-1)
    most = int(accelerator.gather(keep.sum().view(1)).max().clamp(min=1))
    keep[(~keep).nonzero().flatten()[: most - int(keep.sum())]] = True
    return keep


def only_rows(inputs: dict[str, Any], keep: Tensor) -> dict[str, Any]:
    """The rows `keep` [B] of a micro-batch, completions trimmed to the longest. Kept rows of advantage 0, which fill up,
    count as a tool's: no loss and no metric reads them.

    Prompts keep their padding: on its left, it shifts the positions that a model with absolute ones sees."""
    if "num_images" in inputs:
        raise ValueError("skip_zero_advantage does not know multimodal batches: set it to False")
    inputs = {k: v[keep] if is_tensor(v) and v.dim() and len(v) == len(keep) else v for k, v in inputs.items()}
    used = inputs["completion_mask"].any(0).nonzero()
    completion = max(2, int(used.max()) + 1 if len(used) else 0)  # TRL takes a width of 1 for one number a response
    width = inputs["completion_mask"].size(1)
    for key, value in inputs.items():
        if is_tensor(value) and value.dim() == 2 and not key.startswith("prompt") and value.size(1) == width:
            inputs[key] = value[:, :completion]
    trained = inputs["advantages"].view(len(inputs["advantages"]), -1).ne(0).any(-1)
    if not trained.all():
        mask = inputs.get("tool_mask", torch.ones_like(inputs["completion_mask"]))
        inputs["tool_mask"] = mask * trained[:, None]
    return inputs


# Metrics.


def take_means(
    logged: Logged, args: GRPOConfig, tokens: tuple[Tensor, Tensor], responses: tuple[Tensor, Tensor]
) -> Metrics:
    """TRL's means over a micro-batch, taken out of its log, as sums and counts: TRL averages them over micro-batches
    whatever their size, and has 0 for a mean over no tokens.

    tokens, responses: how many of the micro-batch were scored, and how many there are. The clip's shares are of all counted
    tokens, those of skipped responses included; where a response has one ratio, they are of the responses.
    """
    if args.loss_type == "cispo":
        logged["clip_ratio/region_mean"].append(logged["cispo_clip_ratio"][-1])
    clipped, found = responses if args.importance_sampling_level == "sequence" else tokens, {}
    for name in ("entropy", "kl", *(f"clip_ratio/{kind}_mean" for kind in ("low", "high", "region"))):
        if values := logged.get(name):
            scored, size = clipped if name.startswith("clip") else (tokens[0], tokens[0])
            found[name] = Mean(values.pop() * scored, size)
            if not values:
                del logged[name]
    return found


# The probe.


class Probe:
    """Measures every so many steps how the policy concentrates on the first responses of its own rollout."""

    def __init__(self, trainer: Any) -> None:
        self._trainer, self._refused, self._done = trainer, False, -1

    @property
    def updates_per_rollout(self) -> int:
        """The most optimizer steps that a rollout may reach into, those that it shares with others included."""
        args = self._trainer.args
        steps = int(args.steps_per_generation or 1) * args.num_iterations
        accumulate = args.gradient_accumulation_steps
        return math.ceil((steps - math.gcd(steps, accumulate)) / accumulate) + 1

    def is_due(self) -> bool:
        """Whether a multiple of probe_every lies between the last rollout's step and this one's, this one included, and
        was not probed yet: an update may open several rollouts."""
        step, every = self._trainer.state.global_step, self._trainer.args.probe_every
        due = every > 0 and (step - self.updates_per_rollout) // every < step // every != self._done
        self._done = step // every if due else self._done
        return due

    def size(self, rollout: dict[str, Any]) -> int:
        """How many of the rollout's responses on this process it measures."""
        here, args = len(rollout["completion_ids"]), self._trainer.args
        rollouts = max(1.0, args.probe_every / self.updates_per_rollout)
        return args.probe_rows or min(_PROBE_ROWS, max(1, int(here * rollouts / _ROWS_A_PROBED_ROW)))

    @torch.no_grad()
    def measure(self, rollout: dict[str, Any]) -> None:
        """Log the measures, and append them to diagnostics.jsonl (main process)."""
        trainer = self._trainer
        if "num_images" in rollout:
            if not self._refused:
                self._refused = True
                logger.warning("the probe of the policy's concentration does not know images: this run has none")
            return
        rows = slice(0, self.size(rollout))
        mask = counted_tokens(rollout)[rows]
        with evaluating(trainer.model):  # dropout would draw random numbers that the training is to draw
            stats = self.stats({k: v[rows] for k, v in rollout.items() if torch.is_tensor(v) and v.dim() > 1})
        summary = concentration_summary(stats.logp, stats.entropy, stats.topk_logp, mask)
        summary = json.loads(json.dumps(summary), parse_constant=lambda _: None)  # nan: a mean over no tokens
        if not trainer.accelerator.is_main_process:
            return
        for name in ("concentration", "gated_rank_probability"):
            for rank, value in enumerate(summary[name], start=1):
                if value is not None:
                    trainer._metrics["train"][f"probe/{name}_{rank}"].append(value)
        directory = Path(str(trainer.args.output_dir))
        directory.mkdir(parents=True, exist_ok=True)
        append(directory / "diagnostics.jsonl", json.dumps({"step": trainer.state.global_step} | summary) + "\n")

    def stats(self, rollout: dict[str, Tensor]) -> TokenStats:
        """Token statistics of a rollout's completions, a small batch at a time through TRL's own scoring."""
        parts: list[TokenStats] = []
        size = self._trainer.args.per_device_train_batch_size
        for start in range(0, len(rollout["completion_ids"]), size):
            batch = {k: v[start : start + size] for k, v in rollout.items()}
            observe = partial(_keep_stats, batch["completion_mask"] != 0, parts)
            with watch_head(observe, top_k=_PROBE_CANDIDATES):
                self._trainer.score_by_trl(batch)
        return TokenStats(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def _keep_stats(valid: Tensor, kept: list[TokenStats], call: HeadCall) -> None:
    """Append the statistics of completion tokens [B, T]; zeros off `valid`."""
    assert call.stats is not None
    rows, spread = completion_rows(len(call.labels), valid)[valid], []
    for x in call.stats:
        spread.append(x.new_zeros(*valid.shape, *x.shape[1:]))
        spread[-1][valid] = x[rows]
    kept.append(TokenStats(*spread))


# The model card.


def name_local_models(card: Path, config: Any, checkpoint: Path) -> None:
    """Write what TRL's card of a run leaves as None where the model has no hub id: the folder that it was loaded from
    and, in the example, `checkpoint`."""
    if not card.is_file():
        return
    text = card.read_text(encoding="utf-8")
    base = f"the model in `{config._name_or_path}`" if config._name_or_path else "a model that was given as an object"
    named = text.replace("[None](https://huggingface.co/None)", base).replace('model="None"', f'model="{checkpoint}"')
    if named != text:
        card.write_text(named, encoding="utf-8")
