"""A policy-gradient method as a composition of links. methods.py is the table of them.

    rewards -> [reward transform] -> estimator -> [reweighting] -> advantages [B]              Method.advantages
    [selection]                                                    -> counted, marked [B, T]   Method.select
    -> token mask -> token links -> ratio -> surrogate -> [auxiliary term] -> reduction        Method.policy_loss

Each link is a functools.partial of one pure function with its options bound by keyword.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from simko.objectives.advantages import over_scorable
from simko.objectives.arguments import check_tensors, not_none
from simko.objectives.effective import CandidateWeights
from simko.objectives.groups import Groups
from simko.objectives.options import OPTIONS, REQUIRED, checked_option
from simko.objectives.reduction import Denominator, mean_over, reduce_loss, reduction_size
from simko.objectives.reweighting import mean_over_response
from simko.objectives.surrogate import clip_ratio, sequence_ratio, token_ratio
from simko.objectives.tokens import (
    Metrics,
    Tokens,
    checked_link,
    every_token,
    over_counted,
    penalise_ratio,
    read_tokens,
    unscored_tokens,
)

EVERY_TOKEN = partial(every_token)
TOKEN_RATIO = partial(token_ratio)
PPO_CLIP = partial(clip_ratio, clip_low=0.2, clip_high=0.2)
TOKEN_MEAN = partial(reduce_loss, reduction="token_mean")


@dataclass(frozen=True, kw_only=True, eq=False)
class Method:
    """One row of the table: what a method is, where it comes from, what it needs, and its links."""

    name: str
    """The row's name in METHODS."""
    title: str
    """The title of the paper."""
    arxiv: str
    """The paper's number on arXiv."""
    summary: str
    """What the method does, in one line."""
    formula: str
    """What sets the method apart, as plain text."""
    note: str = ""
    """Traps, and where sources differ."""
    edges: str = "A group of one, or with equal rewards, gets 0."
    """The advantages of groups of one, and of groups whose responses are all correct or all incorrect."""

    estimator: partial
    """(rewards, Groups) -> advantages."""
    reward_transform: partial | None = None
    """(rewards, Groups, mean_logp) -> rewards for the estimator."""
    reweighting: partial | None = None
    """(advantages, rewards, Groups, mean_logp) -> advantages."""
    selection: partial | None = None
    """(Tokens of the whole update, generator) -> counted, marked."""
    token_mask: partial = EVERY_TOKEN
    """Tokens -> TokenMask. What it counts depends on advantages, mask and marked alone: an engine counts before it scores."""
    token_links: tuple[partial, ...] = ()
    """Tokens -> Tokens and metrics, one after the other."""
    ratio: partial = TOKEN_RATIO
    """(logp, old_logp, mask) -> importance ratio."""
    surrogate: partial = PPO_CLIP
    """(ratio, logp, advantages) -> loss of each token, and where the clip acts."""
    auxiliary: partial | None = None
    """Tokens -> a further loss of each token, and metrics."""
    reduction: partial = TOKEN_MEAN
    """(loss of each token, mask, denominator) -> the loss."""
    controller: partial | None = None
    """(state, metrics of an update) -> state, options of the next update. See update.Adaptation."""

    binary: bool = False
    """Rewards must be 1 (correct) or 0 (incorrect)."""
    needs_old_logp: bool = False
    """`advantages` needs old_logp and mask."""
    candidate_weights: CandidateWeights | None = None
    """The weights of the candidate_gap that `policy_loss` needs; None if it needs none."""
    top_k: int | None = None
    """The number of candidates of that gap."""
    needs_top1: bool = False
    """`policy_loss` needs is_top1."""
    inert_zero_rows: bool = True
    """A response with advantage 0 changes neither the numerator of the loss nor other responses. An engine may then leave
    it out, as long as the denominator counts it."""
    metrics: tuple[str, ...] = ("ratio", "clipped")
    """The names of `policy_loss`'s metrics."""

    def __post_init__(self) -> None:
        for name in _LINKS:
            value = getattr(self, name)
            for link in value if isinstance(value, tuple) else (value,):
                if link is not None and (not isinstance(link, partial) or link.args):
                    raise ValueError(
                        f"{self.name}: {name} takes functools.partial(function, option=...), keywords alone, got {link!r}"
                    )
        if self.ratio.func is sequence_ratio and any(link.func is penalise_ratio for link in self.token_links):
            raise ValueError(
                "a ratio per sequence would turn SimKO's penalty on the ratio into a factor on the whole response: "
                "use penalise_advantage, or a ratio per token"
            )

    @property
    def selects(self) -> bool:
        """Whether select has to be called on the whole update batch before policy_loss."""
        return self.selection is not None

    @property
    def needs_candidates(self) -> bool:
        """Whether policy_loss needs gap or is_top1."""
        return self.candidate_weights is not None or self.needs_top1

    @property
    def options(self) -> dict[str, Any]:
        """The method's options and their values; REQUIRED where no source gives one. Meanings: options.py."""
        found = {} if self.top_k is None else {"top_k": self.top_k}
        for link in self._links():
            found |= {name: value for name, value in link.keywords.items() if name in OPTIONS}
        return dict(sorted(found.items()))

    @property
    def missing_options(self) -> list[str]:
        """Options that the user has to give and did not."""
        return [name for name, value in self.options.items() if value is REQUIRED]

    def with_options(self, **options: Any) -> "Method":
        """The method with other values of its own options: METHODS["pkpo"].with_options(k=8).

        ValueError for an option that the method does not have, naming those it has, and for a value out of range.
        """
        own = self.options
        for name, value in options.items():
            if name not in own:
                have = ", ".join(own) or "none"
                unlisted = any(name in link.keywords for link in self._links()) and name not in OPTIONS
                hint = f"; {name} becomes one by a row of objectives.OPTIONS" if unlisted else ""
                raise ValueError(f"{self.name} has no option {name!r}; its options: {have}{hint}")
            options[name] = checked_option(name, value)
        changed = {f.name: _rebound(getattr(self, f.name), options) for f in fields(self)}
        return replace(self, **changed | {name: value for name, value in options.items() if name == "top_k"})

    def advantages(
        self,
        rewards: Shaped[Tensor, " B"],
        groups: Int[Tensor, " B"],
        *,
        old_logp: Float[Tensor, "B T"] | None = None,
        mask: Shaped[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, " B"]:
        """Advantages of whole groups.

        Args:
            rewards: [B]. nan marks a response that could not be scored: its advantage is 0, and its group's statistics
                leave it out.
            groups: [B], integers that are equal for responses to the same prompt, in any order.
            old_logp: log pi_old of each token, where needs_old_logp.
            mask: counted tokens, where needs_old_logp.

        ValueError for an infinite reward, for rewards other than 1 and 0 if binary, and for an option that has no default
        and was not given.
        """
        if missing := self.missing_options:
            given = ", ".join(f"{name}=..." for name in missing)
            raise ValueError(
                f"{self.name} has no default for {' and '.join(missing)}, since no source gives one: "
                f"use METHODS[{self.name!r}].with_options({given})"
            )
        check_tensors(rewards=rewards, **not_none(old_logp=old_logp, mask=mask))
        if self.binary:
            self._check_binary(rewards)
        mean_logp = None
        if self.needs_old_logp:
            if old_logp is None or mask is None:
                raise ValueError(f"{self.name} weighs responses by how likely they were: give old_logp and mask")
            mean_logp = mean_over_response(old_logp, mask)
        return over_scorable(self._estimate, rewards, groups, mean_logp)

    def select(
        self,
        logp: Float[Tensor, "B T"],
        old_logp: Float[Tensor, "B T"],
        entropy: Float[Tensor, "B T"],
        advantages: Shaped[Tensor, " B"] | Shaped[Tensor, "B T"],
        mask: Shaped[Tensor, "B T"],
        *,
        generator: torch.Generator | None,
    ) -> tuple[Bool[Tensor, "B T"], Bool[Tensor, "B T"]]:
        """counted and marked [B, T] of the whole update: the tokens of the denominator, and policy_loss's `marked`.

        Args:
            logp: log pi of each token under the current policy, nats.
            old_logp: at sampling.
            entropy: of the current policy, nats.
            advantages: [B] or [B, T].
            mask: nonzero for counted tokens.
            generator: for methods that draw at random, seeded alike on every process.

        ValueError if the method selects nothing.
        """
        if self.selection is None:
            raise ValueError(f"{self.name} selects no tokens: call policy_loss alone")
        with torch.no_grad():
            tokens = read_tokens(logp, old_logp, entropy, None, None, advantages, mask, None)
            return self.selection(tokens, generator)

    def denominator(
        self,
        advantages: Shaped[Tensor, " B"] | Shaped[Tensor, "B T"],
        mask: Shaped[Tensor, "B T"],
        *,
        marked: Bool[Tensor, "B T"] | None = None,
    ) -> Shaped[Tensor, ""]:
        """What a micro-batch adds to the denominator of its update.

        policy_loss's `denominator` is the sum over the micro-batches and processes of an update, divided by the number of
        processes. See update.update_denominator. ValueError for a reduction other than reduce_loss.
        """
        self._check_marked(marked)
        check_tensors(advantages=advantages, mask=mask)
        if self.reduction.func is not reduce_loss:
            raise ValueError(
                f"{self.name} has a reduction of its own, whose denominator over an update is unknown: use reduce_loss, "
                "and put weights of tokens into the surrogate"
            )
        counted = self.token_mask(unscored_tokens(advantages, mask, marked)).counted
        return reduction_size(counted, **self.reduction.keywords)

    def policy_loss(
        self,
        logp: Float[Tensor, "B T"],
        old_logp: Float[Tensor, "B T"],
        entropy: Float[Tensor, "B T"],
        gap: Float[Tensor, "B T"] | None,
        is_top1: Bool[Tensor, "B T"] | None,
        advantages: Shaped[Tensor, " B"] | Shaped[Tensor, "B T"],
        mask: Shaped[Tensor, "B T"],
        *,
        denominator: Denominator | None = None,
        marked: Bool[Tensor, "B T"] | None = None,
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """The loss of a micro-batch, and detached metrics.

        Gradient flows through logp, gap and, if the method rewards it, entropy. Metrics are means over counted tokens
        unless the link that makes them says otherwise. ratio is the mean ratio, clipped the share of tokens at which the
        clip acts.

        Args:
            logp: log pi of each token under the current policy, nats.
            old_logp: at sampling.
            entropy: of the current policy, nats.
            gap: candidate_gap under candidate_weights, if the method has them.
            is_top1: whether the token is the most likely one, if needs_top1.
            advantages: [B] or [B, T].
            mask: nonzero for counted tokens.
            denominator: of the whole update, see Method.denominator; None for that of this micro-batch.
            marked: the rows of select's second answer, if the method selects tokens.

        ValueError for shapes that do not match, and for an input that the method needs and did not get.
        """
        self._check_marked(marked)
        for name, x, needed in (("gap", gap, self.candidate_weights), ("is_top1", is_top1, self.needs_top1)):
            if needed and x is None:
                raise ValueError(f"{self.name} needs {name}")
        tokens = read_tokens(logp, old_logp, entropy, gap, is_top1, advantages, mask, marked)
        loss, metrics = self.policy_terms(tokens, denominator)
        return loss, {name: metric.value() for name, metric in metrics.items()}

    def policy_terms(self, tokens: Tokens, denominator: Denominator | None = None) -> tuple[Float[Tensor, ""], Metrics]:
        """policy_loss of Tokens, with each metric as a Mean that an engine can add up over an update."""
        active, counted, metrics = self.token_mask(tokens)
        if counted is not tokens.mask:  # a mask that restricts what is counted
            tokens = tokens._replace(left_out=torch.zeros_like(tokens.left_out))
        tokens, found = self.link(tokens._replace(mask=counted, gate=counted))
        metrics = metrics | found
        ratio = self.ratio(tokens.logp, tokens.old_logp, counted)
        token_loss, clipped = self.surrogate(ratio, tokens.logp, tokens.advantages)
        token_loss = token_loss.masked_fill(~active, 0.0)
        if self.auxiliary is not None:
            extra, found = self.auxiliary(tokens)
            token_loss, metrics = token_loss + extra, metrics | found
        metrics = metrics | {"ratio": mean_over(ratio, counted)}
        if clipped is not None:
            metrics = metrics | {"clipped": over_counted(clipped & active, tokens)}
        return self.reduction(token_loss, counted, denominator=denominator), metrics

    def link(self, tokens: Tokens) -> tuple[Tokens, Metrics]:
        """The tokens after the row's token links, and the links' metrics, for an engine that keeps its own loss."""
        metrics: Metrics = {}
        for link in self.token_links:
            tokens, found = checked_link(self.name, link, tokens)
            metrics |= found
        return tokens, metrics

    def loss(
        self,
        rewards: Shaped[Tensor, " B"],
        groups: Int[Tensor, " B"],
        logp: Float[Tensor, "B T"],
        old_logp: Float[Tensor, "B T"],
        entropy: Float[Tensor, "B T"],
        gap: Float[Tensor, "B T"] | None,
        is_top1: Bool[Tensor, "B T"] | None,
        mask: Shaped[Tensor, "B T"],
        *,
        generator: torch.Generator | None = None,
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """advantages, select and policy_loss on one batch that is the whole update.

        Args: as there. logp, old_logp, entropy, gap, is_top1 and mask are [B, T], rewards and groups [B].
        """
        advantages = self.advantages(rewards, groups, old_logp=old_logp, mask=mask)
        marked = None
        if self.selects:
            marked = self.select(logp, old_logp, entropy, advantages, mask, generator=generator)[1]
        return self.policy_loss(logp, old_logp, entropy, gap, is_top1, advantages, mask, marked=marked)

    def _estimate(self, rewards: Tensor, group: Groups, mean_logp: Tensor | None) -> Tensor:
        estimated = rewards if self.reward_transform is None else self.reward_transform(rewards, group, mean_logp)
        advantages = self.estimator(estimated, group)
        return advantages if self.reweighting is None else self.reweighting(advantages, rewards, group, mean_logp)

    def _check_binary(self, rewards: Tensor) -> None:
        other = ~((rewards == 0) | (rewards == 1) | rewards.isnan() | rewards.isinf())
        if other.any():
            bad = int(other.nonzero()[0])
            raise ValueError(
                f"{self.name} is defined for correct (1) and incorrect (0) only, sample {bad} has reward "
                f"{rewards[bad].item():g}: give it a reward of 1 or 0, or use a method for shaped rewards"
            )

    def _check_marked(self, marked: Tensor | None) -> None:
        if self.selects and marked is None:
            raise ValueError(
                f"{self.name} chooses tokens over the whole update batch: call METHODS[{self.name!r}].select on it "
                "first, and give these rows of its second answer as `marked`"
            )
        if marked is not None and not self.selects:
            raise ValueError(f"{self.name} selects no tokens: leave `marked` out")

    def _links(self) -> list[partial]:
        links = [getattr(self, name) for name in _LINKS if name != "token_links"]
        return [link for link in links if link is not None] + list(self.token_links)


_LINKS = tuple(f.name for f in fields(Method) if "partial" in str(f.type))


def _rebound(value: Any, options: Mapping[str, Any]) -> Any:
    """A link with the options it has replaced; anything else as it is."""
    if isinstance(value, tuple):
        return tuple(_rebound(v, options) for v in value)
    if not isinstance(value, partial):
        return value
    own = {name: options[name] for name in value.keywords if name in options}
    return cast(Any, partial(value.func, *value.args, **value.keywords | own))
