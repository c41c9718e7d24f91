"""What an engine does around a row of METHODS in one update, whichever engine it is.

An update comes in micro-batches, on several processes. An engine that goes through this file trains the same gradient
and logs the same metrics however an update is split:

    candidate_tokens        where the row's links read candidates, so that an engine need not look up every token's
    Method.link             the row's token links, for an engine that keeps its own loss; part of Method.policy_terms
    open_update             the row's selection over the whole update, and what its reduction divides by
    MetricSums              metrics as sums and counts
    check_group_size        whether the row's advantages are defined on an engine's groups
    group_outcomes          which groups of a rollout can train
    lost_in_float32         groups whose rewards are too large for float32's statistics
    Adaptation              a row that changes from update to update
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import takewhile
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from simko.objectives.method import Method
from simko.objectives.tokens import GATES, Metrics, Tokens, over_counted, read_tokens, unscored_tokens


@runtime_checkable
class Processes(Protocol):
    """The processes that share an update."""

    @property
    def index(self) -> int:
        """This process's place among them, from 0."""

    @property
    def count(self) -> int:
        """How many there are."""

    def sum(self, x: Tensor) -> Tensor:
        """The elementwise sum over all processes of a tensor that each has in the same shape."""

    def gather(self, x: Tensor) -> Tensor:
        """The rows [n, T, ...] of all processes in their order, T padded with 0 to the widest."""


class OneProcess:
    """The only process of an update."""

    index, count = 0, 1

    def sum(self, x: Tensor) -> Tensor:
        """x itself."""
        return x

    def gather(self, x: Tensor) -> Tensor:
        """x itself."""
        return x


def candidate_tokens(method: Method, tokens: Tokens) -> Bool[Tensor, "B T"]:
    """Tokens whose gap and is_top1 the row's links read, unless reads_candidates_elsewhere.

    They pass the gates with which the row's links begin, and have an advantage where the row ignores other responses.
    """
    counted = method.token_mask(tokens).counted
    tokens = tokens._replace(mask=counted, gate=counted)
    for gate in takewhile(lambda link: link.func in GATES, method.token_links):
        tokens, _ = gate(tokens)
    return tokens.gate & (tokens.advantages != 0) if method.inert_zero_rows else tokens.gate


@lru_cache(maxsize=16)
def reads_candidates_elsewhere(method: Method) -> bool:
    """Whether the row reads candidates outside candidate_tokens, so that an engine has to look up every token's."""
    if method.selects or method.auxiliary is not None:
        return True
    example = _example(method)
    where = candidate_tokens(method, example)
    example = example._replace(scored=where)
    assert example.gap is not None
    assert example.is_top1 is not None
    fewer = example._replace(gap=example.gap.where(where, 0.0), is_top1=example.is_top1 & where)
    (*values, gradient), (*others, _) = _effect(method, example), _effect(method, fewer)
    return not all(map(torch.equal, values, others)) or bool(gradient[~where].any())


@lru_cache(maxsize=16)
def reads_few_candidates(method: Method) -> bool:
    """Whether the row's gates spare an engine the candidates of most tokens."""
    example = _example(method)
    gated = candidate_tokens(method, example).sum() < (example.advantages != 0).expand_as(example.mask).sum()
    return bool(gated) and not reads_candidates_elsewhere(method)


@lru_cache(maxsize=16)
def links_change(method: Method) -> frozenset[str]:
    """Which of logp, old_logp and advantages the row's token links replace.

    Found by running them on an example; a link leaves a field as it is where it has nothing to do whatever the batch.
    """
    before = _example(method)
    after, _ = method.link(before)
    names = ("logp", "old_logp", "advantages")
    return frozenset(name for name in names if getattr(after, name) is not getattr(before, name))


@lru_cache(maxsize=16)
def reads_entropy_gradient(method: Method) -> bool:
    """Whether the row's loss has a gradient through the entropies, so that an engine must give them with theirs."""
    return bool(_loss_gradients(method, _example(method))[1].any())


def changed_shares(before: Tokens, after: Tokens) -> Metrics:
    """Two shares of the counted tokens: `changed`, those whose gradient the row's links change, and `raised`, those of them
    in responses better than their group."""
    moved = [getattr(after, name) != getattr(before, name) for name in ("logp", "old_logp", "advantages")]
    changed = after.changed | (before.mask & (moved[0] | moved[1] | moved[2]))
    raised = changed & (before.advantages > 0)
    return {"changed": over_counted(changed, before), "raised": over_counted(raised, before)}


def ignores_zero_rows(method: Method) -> bool:
    """Whether the row says so (inert_zero_rows), and its loss has no gradient that depends on responses of advantage 0."""
    if not method.inert_zero_rows:
        return False
    example = _example(method)
    trained = example.advantages[:, 0] != 0
    rest = example._replace(**{name: x[trained] for name, x in example._asdict().items() if x is not None and x.dim()})
    pairs = zip(_loss_gradients(method, example), _loss_gradients(method, rest), strict=True)
    return all(torch.equal(x[trained], y) and not x[~trained].any() for x, y in pairs)


def refuse_unknown_denominators(method: Method) -> None:
    """ValueError for a row that divides by what an engine cannot know before it has scored the whole update."""
    tokens = _example(method)
    advantages, marked = tokens.advantages[:, 0], tokens.marked if method.selects else None
    method.denominator(advantages, tokens.mask, marked=marked)
    unscored = unscored_tokens(advantages, tokens.mask, marked)
    if not torch.equal(method.token_mask(tokens).counted, method.token_mask(unscored).counted):
        raise ValueError(
            f"the token mask of {method.name} counts tokens by their log-probabilities, entropies or candidates, so that "
            "the denominator of an update is unknown while it is scored: choose the tokens by a selection"
        )


def _example(method: Method) -> Tokens:
    """Tokens of all kinds: correct, incorrect and without an advantage, likely and unlikely, of rank 1 and not, certain and
    uncertain, on-policy and not, early and late."""
    draw = torch.Generator().manual_seed(0)
    logp, entropy, gap, drift, kind = torch.rand(5, 6, 512, generator=draw).unbind()
    logp, entropy, gap, is_top1, mask = -20 * logp, 12 * entropy, 12 * gap - 2, kind < 0.5, torch.ones(6, 512)
    old_logp = torch.where(kind % 0.5 < 0.25, logp, logp + drift - 0.5)
    advantages = torch.tensor([1.0, -1.0, 0.0, 0.5, -2.0, 1.5])
    marked = drift < 0.5 if method.selects else None
    tokens = read_tokens(logp, old_logp, entropy, gap, is_top1, advantages, mask, marked)
    return tokens if method.needs_candidates else tokens._replace(gap=None, is_top1=None)


def _effect(method: Method, tokens: Tokens) -> tuple[Tensor, ...]:
    """What the row's links make of tokens: the values and metrics, and how they depend on the gaps."""
    assert tokens.gap is not None
    gap = tokens.gap.clone().requires_grad_()
    with torch.enable_grad():
        after, metrics = method.link(tokens._replace(gap=gap))
        values = torch.stack([x.expand_as(gap) for x in (after.logp, after.old_logp, after.advantages)])
        weights = torch.rand(values.shape, generator=torch.Generator().manual_seed(1))
        total = (weights * values).sum() + (0 * gap).sum()
    return values, *(x for mean in metrics.values() for x in mean), torch.autograd.grad(total, gap)[0]


def _loss_gradients(method: Method, tokens: Tokens) -> tuple[Tensor, ...]:
    """How the row's loss, undivided, depends on the log-probabilities and entropies of tokens."""
    leaves = tokens.logp.clone().requires_grad_(), tokens.entropy.clone().requires_grad_()
    with torch.enable_grad():
        loss, _ = method.policy_terms(tokens._replace(logp=leaves[0], entropy=leaves[1]), 1.0)
        return torch.autograd.grad(loss + sum((0 * x).sum() for x in leaves), leaves)


class MetricSums:
    """Metrics of an update, added up over its micro-batches and processes."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, metrics: Metrics) -> None:
        """Add those of a micro-batch."""
        for name, (total, size) in metrics.items():
            terms = torch.stack([total.float(), size.float()])
            self._sums[name] = self._sums[name] + terms if name in self._sums else terms

    def means(self, processes: Processes) -> dict[str, float]:
        """Mean by name over all processes, each of which calls this; one over no tokens is left out. Starts anew."""
        if not self._sums:
            return {}
        totals = processes.sum(torch.stack(list(self._sums.values()))).tolist()
        means = {name: total / size for name, (total, size) in zip(self._sums, totals, strict=True) if size}
        self._sums = {}
        return means


class Scored(NamedTuple):
    """A micro-batch scored by the current policy, for select_tokens."""

    logp: Float[Tensor, "B T"]
    """log pi of each token, nats."""
    old_logp: Float[Tensor, "B T"]
    """At sampling."""
    entropy: Float[Tensor, "B T"]
    """Nats."""
    advantages: Shaped[Tensor, " B"]
    """One for each response."""
    mask: Shaped[Tensor, "B T"]
    """Nonzero for counted tokens."""
    row: Int[Tensor, " B"]
    """The place of each response in the rollout of all processes."""


def select_tokens(
    method: Method, batches: Sequence[Scored], processes: Processes, generator: torch.Generator
) -> list[Bool[Tensor, "B T"]]:
    """`marked` of this process's micro-batches, chosen over the update of all processes.

    They are chosen in the order of the rollout, so that draws and ties do not depend on the number of processes, nor on
    how each of them shuffles. generator: seeded alike on every process. ValueError as Method.select.
    """
    columns = [
        torch.stack([b.logp, b.old_logp, b.entropy, b.advantages[:, None].expand_as(b.logp), b.mask.to(b.logp)], -1)
        for b in batches
    ]
    here = torch.cat(columns).detach()
    size, width = here.shape[:2]
    gathered = processes.gather(here)
    order = processes.gather(torch.cat([b.row for b in batches])).argsort()
    logp, old_logp, entropy, advantages, mask = gathered[order].unbind(-1)
    chosen = method.select(logp, old_logp, entropy, advantages, mask, generator=generator)[1]
    marked = torch.empty_like(chosen).index_copy(0, order, chosen)
    return list(marked[processes.index * size :][:size, :width].split([len(b.advantages) for b in batches]))


def update_denominator(
    method: Method,
    batches: Sequence[tuple[Tensor, Tensor]],
    marked: Sequence[Tensor | None],
    processes: Processes,
) -> Float[Tensor, ""]:
    """policy_loss's `denominator`: that of the whole update over the number of processes, whose gradients an engine
    averages.

    batches: advantages [B] and mask [B, T] of each micro-batch of this process, which may differ in size; marked:
    select_tokens' answer, or None for each.
    """
    sizes = [
        method.denominator(advantages, mask, marked=m) for (advantages, mask), m in zip(batches, marked, strict=True)
    ]
    return processes.sum(torch.stack(sizes).float().sum()).clamp(min=1) / processes.count


class Update(NamedTuple):
    """What the micro-batches of one update share."""

    denominator: Float[Tensor, ""]
    """policy_loss's, of the whole update over the number of processes."""
    marked: Sequence[Tensor | None]
    """policy_loss's, one a micro-batch; None for a row that selects nothing."""


def open_update(
    method: Method,
    batches: Sequence[tuple[Tensor, Tensor]],
    score: Callable[[], Sequence[Scored]],
    processes: Processes,
    generator: torch.Generator,
) -> Update:
    """The update that this process's micro-batches share with those of the other processes.

    Args:
        method: the row.
        batches: advantages [B] and mask [B, T] of each micro-batch.
        score: scores the micro-batches, where the row selects tokens.
        processes: those that share the update.
        generator: seeded alike on every process.
    """
    marked: Sequence[Tensor | None] = [None] * len(batches)
    if method.selects:
        marked = select_tokens(method, score(), processes, generator)
    return Update(update_denominator(method, batches, marked, processes), marked)


def one_outcome(rewards: Float[Tensor, "G N"]) -> Bool[Tensor, " G"]:
    """Groups whose scorable responses have one reward, or of which none is scorable. nan is unscorable."""
    return rewards.nan_to_num(-torch.inf).amax(1) <= rewards.nan_to_num(torch.inf).amin(1)


def group_outcomes(rewards: Float[Tensor, "G N"]) -> dict[str, float]:
    """Shares of the groups with a scorable response that are all_right (rewards equal and positive), all_wrong (equal
    otherwise) and mixed, which alone train; and unscorable, the share of responses whose reward is nan."""
    found = {"unscorable": rewards.isnan().float().mean().item()}
    rewards = rewards[~rewards.isnan().all(1)]
    if not len(rewards):
        return found
    equal, positive = one_outcome(rewards), rewards.nan_to_num(-torch.inf).amax(1) > 0
    shares = {"all_right": equal & positive, "mixed": ~equal, "all_wrong": equal & ~positive}
    return found | {name: groups.float().mean().item() for name, groups in shares.items()}


def lost_in_float32(rewards: Float[Tensor, "G N"]) -> Bool[Tensor, " G"]:
    """Groups whose rewards differ by more than 0.01, of which float32's mean and standard deviation keep too little: they
    overflow, a standardised reward is off by more than 0.1, or two rewards 0.01 apart are one after the mean is subtracted.

    Differences up to 0.01 are left alone: rounding makes such ones too. A reward of nan does not count.
    """
    (centred, std), (exact, exact_std) = _centred_and_std(rewards.float()), _centred_and_std(rewards.double())
    off = ~((centred / std - exact / exact_std).abs() < 0.1) & ~rewards.isnan()
    ascending, order = rewards.double().sort(1)
    merged = (ascending.diff(dim=1) > 0.01) & (centred.gather(1, order).diff(dim=1) == 0)
    apart = rewards.double().nan_to_num(-torch.inf).amax(1) - rewards.double().nan_to_num(torch.inf).amin(1) > 0.01
    return rewards.isinf().any(1) | (apart & (off.any(1) | merged.any(1)))


def _centred_and_std(rewards: Tensor) -> tuple[Tensor, Tensor]:
    centred = rewards - rewards.nanmean(1, keepdim=True)
    return centred, (centred**2).nanmean(1, keepdim=True).sqrt()


def check_group_size(method: Method, option: str, size: int) -> None:
    """ValueError, naming the option, where the row's advantages are not defined on groups of so many responses."""
    nothing, tokens = torch.zeros(size), torch.zeros(size, 1)
    try:
        method.advantages(nothing, torch.zeros(size, dtype=torch.long), old_logp=tokens, mask=tokens)
    except ValueError as error:
        raise ValueError(f"{option}={size} does not fit {method.name}: {error}") from error


class Adaptation:
    """The one place where a row carries something from update to update.

    A row's controller takes the state and the metrics of an update, and returns the next state and the options of the
    next update. Every process calls `step` with the same metrics and so has the same row. An engine keeps state_dict in
    its checkpoints; it is empty for a row without a controller.
    """

    def __init__(self, method: Method) -> None:
        self.method = method
        self._state: dict[str, float] = {}
        self._options: dict[str, Any] = {}  # those that the controller has set

    def step(self, metrics: dict[str, float]) -> None:
        """Let the controller see the metrics of an update, by name, and change `method`'s options."""
        if self.method.controller is not None:
            self._state, options = self.method.controller(self._state, metrics)
            self._options |= options
            kinds = {(type(name), type(x)) for name, x in self._state.items()}
            if not kinds <= {(str, int), (str, float), (str, bool)}:
                raise ValueError(
                    f"{self.method.name}'s controller must keep numbers of Python's by name, which checkpoints can hold, "
                    f"got {self._state!r}"
                )
            self.method = self.method.with_options(**options)

    def state_dict(self) -> dict[str, Any]:
        """What a continued run needs, as JSON values."""
        return {} if self.method.controller is None else {"state": self._state, "options": self._options}

    def load_state_dict(self, kept: dict[str, Any]) -> None:
        """Continue from a state_dict."""
        if kept:
            self._state, self._options = dict(kept["state"]), dict(kept["options"])
            self.method = self.method.with_options(**self._options)
