"""The loss of a row in verl.

verl's worker calls RowLoss for each micro-batch, first with its logits (hook.py), then for the loss. verl's ppo_loss stays
around the row: it adds the entropy and KL terms that verl's options ask for, and calls `row_loss` for the policy loss.
"""

from dataclasses import dataclass, field, replace
from typing import Any, cast

from tensordict import TensorDict
from torch import Tensor
from verl.trainer.ppo.core_algos import get_policy_loss_fn
from verl.utils import tensordict_utils as tu
from verl.workers.utils.losses import ppo_loss
from verl.workers.utils.padding import no_padding_2_padding

from simko.adapters.verl.config import PolicyLoss
from simko.adapters.verl.hook import Scored, ask_for_logits, read_logits, take_scored
from simko.adapters.verl_rows import Plan, plan_row
from simko.diagnostics import Receipt
from simko.objectives import Method
from simko.objectives.reduction import Mean, mean_over
from simko.objectives.tokens import Metrics, Tokens, read_tokens
from simko.objectives.update import Adaptation, MetricSums, changed_shares, reads_entropy_gradient

MARKED = "simko_marked"
"""The column of a batch that holds the tokens which the row's selection has marked."""


@dataclass
class Update:
    """What the micro-batches of one update share, on one process."""

    method: Method
    """The row, with the options of this update."""
    plan: Plan
    """How verl trains it."""
    denominator: Tensor | None
    """policy_loss's, for a loss of the row's own."""
    sums: MetricSums = field(default_factory=MetricSums)
    """The metrics of the micro-batches so far."""
    scored: Scored | None = None
    """What the logits of the current micro-batch say."""
    entropy: Tensor | None = None
    """verl's entropy of the current micro-batch, with gradient, where the row rewards it."""
    marked: Tensor | None = None
    """The marked tokens of the current micro-batch."""


class RowLoss:
    """verl's loss function for a row. `open` an update before its micro-batches, `close` it after."""

    def __init__(self, config: Any) -> None:
        self.config = config  # verl's ActorConfig, whose policy_loss is a PolicyLoss
        self.policy_loss = cast(PolicyLoss, config.policy_loss)
        self.plan = self.policy_loss.plan()
        self.adaptation = Adaptation(self.plan.method)
        self.receipt = Receipt(self.plan.objective(config), "")

    def open(self, data: TensorDict, denominator: Tensor | None) -> None:
        """Begin an update. data: this process's part of it, which is marked for the hook."""
        ask_for_logits(data)
        if reads_entropy_gradient(self.adaptation.method):
            tu.assign_non_tensor(data, calculate_entropy=True)
        self.policy_loss.update = Update(self.adaptation.method, self.plan, denominator)

    def close(self) -> MetricSums:
        """End an update: the metrics of its micro-batches."""
        update, self.policy_loss.update = self.policy_loss.update, None
        return cast(Update, update).sums

    def step(self, metrics: dict[str, float]) -> None:
        """Let the row change after an update. ValueError where it then is another one to verl."""
        self.adaptation.step(metrics)
        changed = plan_row(self.adaptation.method, self.policy_loss.options)
        if replace(changed, method=self.plan.method) != self.plan:
            raise ValueError(
                f"{self.plan.method.name} has changed options that verl acts on, which are set once for a run: its "
                "controller may change those of its links"
            )

    def __call__(
        self,
        model_output: Any = None,
        data: Any = None,
        dp_group: Any = None,
        student_logits: Any = None,
        data_format: str = "thd",
    ) -> Any:
        """The hook's answer where student_logits are given, otherwise the loss and verl's metrics."""
        update = self.policy_loss.update
        if student_logits is not None:
            return read_logits(update.method, student_logits, data, data_format, self.config.strategy)
        update.scored = take_scored(model_output, data)
        update.entropy = None
        if reads_entropy_gradient(update.method):
            update.entropy = no_padding_2_padding(model_output["entropy"], data)
            if not self.config.entropy_coeff:
                model_output = {name: x for name, x in model_output.items() if name != "entropy"}
        update.marked = data[MARKED].to_padded_tensor(0) != 0 if MARKED in data else None
        return ppo_loss(self.config, model_output, data, dp_group)


def row_loss(
    old_log_prob: Tensor,
    log_prob: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    loss_agg_mode: str = "token-mean",
    config: Any = None,
    rollout_is_weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, Any]]:
    """The policy loss that is registered as simko/NAME: verl's vanilla loss after the row's token links, or the row's own.

    Args: as verl's policy losses; [B, T]. ValueError outside of simko's trainer, which has the logits.
    """
    update: Update | None = getattr(config.policy_loss, "update", None)
    if update is None or update.scored is None:
        raise ValueError(
            f"loss_mode={config.policy_loss.loss_mode} needs the policy's logits, which verl's own trainers do not give a "
            "policy loss: set trainer.v1.trainer_mode=simko"
        )
    scored, own = update.scored, update.plan.own_loss
    entropy = scored.entropy if update.entropy is None else update.entropy
    if own:
        advantages = response_advantages(advantages, response_mask)
    before = read_tokens(
        log_prob, old_log_prob, entropy, scored.gap, scored.is_top1, advantages, response_mask, update.marked
    )
    if own:
        loss, metrics = update.method.policy_terms(before, update.denominator)
        verl_metrics: dict[str, Any] = {}
    else:
        after, metrics = update.method.link(before)
        loss, verl_metrics = get_policy_loss_fn("vanilla")(
            after.old_logp, after.logp, after.advantages, response_mask, loss_agg_mode, config, rollout_is_weights
        )
        metrics = metrics | changed_shares(before, after)
    update.sums.add(metrics | _concentration(scored, before))
    return loss, verl_metrics


def response_advantages(advantages: Tensor, mask: Tensor) -> Tensor:
    """The advantage [B] of each response, which verl has at each of its counted tokens [B, T]."""
    return advantages.gather(1, mask.long().argmax(1)[:, None])[:, 0]


def _concentration(scored: Scored, tokens: Tokens) -> Metrics:
    """The policy's entropy, and Lambda^(n) (SimKO, section 2): log pi of the n-th candidate, a mean over responses of the
    mean over their tokens."""
    counted = tokens.mask
    weight = counted / counted.sum(-1, keepdim=True).clamp(min=1)
    responses = counted.any(-1).sum()
    found = {"entropy": mean_over(scored.entropy, counted), "top1": mean_over(scored.is_top1, counted)}
    for n, logp in enumerate(scored.topk_logp.clamp(min=-100).unbind(-1), 1):
        found[f"lambda_{n}"] = Mean((logp * weight).sum(), responses)
    return found
