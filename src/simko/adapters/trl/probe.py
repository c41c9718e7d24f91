"""The probe: how a policy concentrates on its own rollouts, measured while it trains, in any GRPOTrainer."""

import json
import logging
import math
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback
from trl import GRPOTrainer

from simko.adapters.trl.lm_head import HeadCall, completion_rows, watch_head
from simko.adapters.trl.loss import counted_tokens, scored_ids
from simko.diagnostics import concentration_summary, evaluating
from simko.evaluate.files import append
from simko.token_stats import TokenStats

logger = logging.getLogger("simko")

_CANDIDATES = 6
_ROWS = 256
_ROWS_A_PROBED_ROW = 40  # responses generated and trained on for one that a probe scores
_SETS = ("gated", "correct", "incorrect")
_LOGGED_OF_SETS = ("sampled", "sampled_rank1", "entropy")
_RANKS_OF_SETS = 3


class Probe:
    """Measures every so many steps how the policy concentrates on the first responses of its own rollout.

    trainer: any GRPOTrainer. every: optimizer steps between probes; 0: never. rows: responses a probe; None for as many as
    cost less than 2 % of the training.
    """

    def __init__(self, trainer: Any, every: int, rows: int | None = None) -> None:
        self._trainer, self._every, self._rows = trainer, every, rows
        self._refused, self._done = False, -1

    @property
    def updates_per_rollout(self) -> int:
        """The most optimizer steps that a rollout may reach into, those that it shares with others included."""
        args = self._trainer.args
        steps = int(args.steps_per_generation or 1) * args.num_iterations
        accumulate = args.gradient_accumulation_steps
        return math.ceil((steps - math.gcd(steps, accumulate)) / accumulate) + 1

    def is_due(self) -> bool:
        """Whether a multiple of `every` lies between the last rollout's step and this one's, this one included, and was
        not probed yet: an update may open several rollouts."""
        step, every = self._trainer.state.global_step, self._every
        due = every > 0 and (step - self.updates_per_rollout) // every < step // every != self._done
        self._done = step // every if due else self._done
        return due

    def size(self, rollout: dict[str, Any]) -> int:
        """How many of the rollout's responses on this process it measures."""
        here = len(rollout["completion_ids"])
        rollouts = max(1.0, self._every / self.updates_per_rollout)
        return self._rows or min(_ROWS, max(1, int(here * rollouts / _ROWS_A_PROBED_ROW)))

    @torch.no_grad()
    def measure(self, rollout: dict[str, Any], rewards: Tensor | None = None) -> None:
        """Log the measures, and append them to diagnostics.jsonl (main process).

        rewards: [B] of this process's responses. They tell correct from incorrect if each is 0 or 1, or -1 or 1; else the
        measures of these two are left out.
        """
        trainer = self._trainer
        if "num_images" in rollout:
            if not self._refused:
                self._refused = True
                logger.warning("the probe of the policy's concentration does not know images: this run has none")
            return
        rows = slice(0, self.size(rollout))
        mask = counted_tokens(rollout)[rows]
        correct = None if rewards is None else verdicts(rewards)
        with evaluating(trainer.model):  # dropout would draw random numbers that the training is to draw
            stats = self.stats({k: v[rows] for k, v in rollout.items() if torch.is_tensor(v) and v.dim() > 1})
        if not trainer.accelerator.is_main_process:
            return
        correct = None if correct is None else correct[rows]
        summary = concentration_summary(stats.logp, stats.entropy, stats.topk_logp, mask, correct=correct)
        for name, value in scalars(summary).items():
            trainer._metrics["train"][f"probe/{name}"].append(value)
        summary = json.loads(json.dumps(summary), parse_constant=lambda _: None)  # nan: a mean over no tokens
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
            with watch_head(observe, top_k=_CANDIDATES):
                # not the trainer's own method, which may watch the head too
                GRPOTrainer._get_per_token_logps_and_entropies(
                    self._trainer, self._trainer.model, *scored_ids(batch), compute_entropy=True
                )
        return TokenStats(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def verdicts(rewards: Tensor) -> Tensor | None:
    """[B] bool, which responses are correct; None where the rewards are no verdicts: another number than 0 and 1, or than -1
    and 1, or none."""
    judged = any(bool(torch.isin(rewards, rewards.new_tensor(pair)).all()) for pair in ((0, 1), (-1, 1)))
    return rewards == 1 if judged else None


def scalars(summary: dict[str, Any]) -> dict[str, float]:
    """The numbers of a summary that are logged each by itself, those of no tokens left out."""
    found = {name: summary[name] for name in ("sampled", "sampled_rank1", "entropy")}
    for name in ("concentration", "top_mass", "gated_rank_probability"):
        found |= {f"{name}_{rank}": value for rank, value in enumerate(summary[name], start=1)}
    for name in _SETS:
        if name in summary:
            own, ranks = summary[name], summary[name]["concentration"][:_RANKS_OF_SETS]
            found |= {f"{name}/concentration_{rank}": value for rank, value in enumerate(ranks, start=1)}
            found |= {f"{name}/{key}": own[key] for key in _LOGGED_OF_SETS}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _keep_stats(valid: Tensor, kept: list[TokenStats], call: HeadCall) -> None:
    """Append the statistics of completion tokens [B, T]; zeros off `valid`."""
    assert call.stats is not None
    rows, spread = completion_rows(len(call.labels), valid)[valid], []
    for x in call.stats:
        spread.append(x.new_zeros(*valid.shape, *x.shape[1:]))
        spread[-1][valid] = x[rows]
    kept.append(TokenStats(*spread))


class ConcentrationCallback(TrainerCallback):
    """The probe for a GRPOTrainer of TRL's that is not one of simko's, which have it already.

    trainer: the trainer; every: optimizer steps between probes; rows: responses a probe, on each process, by default as
    many as cost less than 2 % of the training. Add it on every process:

        trainer.add_callback(ConcentrationCallback(trainer))

    Logged as probe/..., to whatever report_to names: Lambda of ranks 1 to 6 and of the sampled token, top-N mass, entropy,
    the share of tokens sampled at rank 1; Lambda of ranks 1 to 3 and the rest but top-N mass of gated tokens and, with rewards
    that are 0 or 1 (or -1 or 1), of correct and incorrect responses. diagnostics.jsonl in output_dir gets all numbers of
    `diagnostics.Concentration`. The training is left as it is, bit for bit.

    ValueError for another trainer and for counts below 1.
    """

    def __init__(self, trainer: GRPOTrainer, every: int = 20, rows: int | None = None) -> None:
        if not isinstance(trainer, GRPOTrainer):
            raise ValueError(f"the probe reads the rollouts of a GRPOTrainer of TRL's, got {type(trainer).__name__}")
        if isinstance(getattr(trainer, "probe", None), Probe):
            raise ValueError(f"{type(trainer).__name__} has the probe already: set probe_every and probe_rows")
        for name, value in {"every": every, "rows": 1 if rows is None else rows}.items():
            if value < 1:
                raise ValueError(f"{name} is {value}: give a whole number of at least 1")
        self._trainer: Any = trainer
        self.probe = Probe(trainer, every, rows)
        self._rewards: Tensor | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Look at the trainer's rollouts from now on."""
        trainer = self._trainer
        score, reward = trainer._generate_and_score_completions, trainer._calculate_rewards
        self._replaced = {name: trainer.__dict__.get(name) for name in _READ}

        def rewarded(*inputs: Any, **words: Any) -> Tensor:
            rewards: Tensor = reward(*inputs, **words)
            total = (rewards * trainer.reward_weights.to(rewards.device)).nansum(1)
            self._rewards = total.masked_fill(rewards.isnan().all(1), torch.nan)
            return rewards

        def scored(inputs: Any) -> dict[str, Any]:
            rollout: dict[str, Any] = score(inputs)
            if trainer.model.training and self.probe.is_due():
                here, process = len(rollout["completion_ids"]), trainer.accelerator.process_index
                rewards = None if self._rewards is None else self._rewards[process * here :][:here]
                self.probe.measure(rollout, rewards)
            return rollout

        trainer._generate_and_score_completions, trainer._calculate_rewards = scored, rewarded

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Leave the trainer as it was."""
        for name, value in self._replaced.items():
            if value is None:
                del self._trainer.__dict__[name]
            else:
                setattr(self._trainer, name, value)


_READ = ("_generate_and_score_completions", "_calculate_rewards")
