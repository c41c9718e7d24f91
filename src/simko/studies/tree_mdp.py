"""The toy of SimKO's paper: a tree of 3 steps with 4 actions, a tabular softmax policy, 6 correct responses out of 64.

All numbers of a policy are exact, by enumeration of the 64 responses. Every row of METHODS without a controller can train it.
Seeds are trained together but independently: each has its own start, draws, group, loss, denominator and optimiser state.

Axes: S seeds, G responses of a seed's one group, T = 3 steps, N = 21 states, A = 4 actions, P = 64 responses.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from simko.objectives.effective import candidate_gap
from simko.objectives.method import Method
from simko.objectives.methods import METHODS
from simko.token_stats import token_stats

ACTIONS = "ABCD"
STEPS = 3
STATES = 21
RIGHT = ("ACD", "ACB", "BDC", "BDA", "CAB", "DBA")
RESPONSES = tuple("".join(letters) for letters in itertools.product(ACTIONS, repeat=STEPS))
REWARDS_P = torch.tensor([float(response in RIGHT) for response in RESPONSES], dtype=torch.float64)
ACTIONS_PT = torch.tensor([[ACTIONS.index(letter) for letter in response] for response in RESPONSES])
LEARNING_RATES = {"sgd": 0.5, "adam": 0.1}
COVERED = 1e-3  # a mode counts from this probability, which gives at least one in 1,000 responses on average
DRAWN = 1000

# Options that the toy sets: those without a default, and no entropy quantile, for which three steps are too short.
TOY_OPTIONS: dict[str, dict[str, Any]] = {
    "passk_training": {"k": 4},
    "pkpo": {"k": 4},
    "ordergrad": {"k": 4},
    "ds_grpo": {"gamma_right": 0.05, "gamma_wrong": 0.05},
    **{name: {"gate_quantile": None} for name, row in METHODS.items() if "gate_quantile" in row.options},
}

# The sweep. "rate" multiplies the learning rate; all others are options of the row. SimKO and the entropy bonus have twelve
# settings each, the others six. GRPO has only the rate.
SWEEP: dict[str, tuple[dict[str, Any], ...]] = {
    "grpo": tuple({"rate": x} for x in (1 / 8, 1 / 4, 1 / 2, 1, 2, 4)),
    "entropy_bonus": tuple(
        {"entropy_coef": x} for x in (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 2.0)
    ),
    "simko": tuple(
        {"alpha": alpha, "top_penalty": penalty, "top_k": k}
        for k, alphas in ((3, (0.01, 0.1, 0.3, 0.5)), (4, (0.3, 0.5)))
        for alpha in alphas
        for penalty in (1.1, 1.5)
    ),
    "unlikeliness": tuple({"rank_penalty": x} for x in (0.05, 0.1, 0.25, 0.5, 0.75, 1.0)),
    "ucpo": tuple({"tau": x} for x in (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)),
    "ds_grpo": tuple({"gamma_right": x, "gamma_wrong": x} for x in (0.01, 0.05, 0.1, 0.2, 0.5, 1.0)),
    "pkpo": tuple({"k": k} for k in (2, 3, 4, 6, 8, 16)),
}


@dataclass(frozen=True, kw_only=True)
class ToySetting:
    """One method with its options and training, for several seeds."""

    method: str
    """A row of METHODS."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The method's options, which win over TOY_OPTIONS."""
    seeds: int = 20
    """The number of seeds, 0 .. seeds - 1."""
    batches: int = 1000
    """The number of batches."""
    optimizer: str = "sgd"
    """A key of LEARNING_RATES."""
    learning_rate: float | None = None
    """None for the optimiser's in LEARNING_RATES."""
    group_size: int = 16
    """The responses of a batch."""
    updates_each: int = 1
    """The updates per batch. Above 1 they are off-policy, and only then do clips act."""
    spread: float = 0.1
    """The standard deviation of the normal draw of the initial logits."""

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"unknown method {self.method!r}: choose from {', '.join(METHODS)}")
        if METHODS[self.method].controller is not None:
            raise ValueError(f"{self.method} changes from update to update, and the toy trains all seeds by one row")
        if self.optimizer not in LEARNING_RATES:
            raise ValueError(f"unknown optimizer {self.optimizer!r}: choose from {', '.join(LEARNING_RATES)}")
        if self.seeds < 2:
            raise ValueError(f"seeds must be at least 2, for an interval, got {self.seeds}")
        for name in ("batches", "group_size", "updates_each"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.rate}")
        _ = self.row

    @property
    def rate(self) -> float:
        """The learning rate in effect."""
        return LEARNING_RATES[self.optimizer] if self.learning_rate is None else self.learning_rate

    @property
    def set_options(self) -> dict[str, Any]:
        """The options that are set on the row of METHODS."""
        return {**TOY_OPTIONS.get(self.method, {}), **self.options}

    @property
    def row(self) -> Method:
        """The method with its options. ValueError for an unknown option or a value out of range."""
        return METHODS[self.method].with_options(**self.set_options)


class PolicyMeasures(NamedTuple):
    """The measures of a policy, one entry per seed. All but `drawn` are exact."""

    modes: Float[Tensor, " S"]
    """The number of correct responses with a probability above COVERED."""
    drawn: Float[Tensor, " S"]
    """The number of correct responses among DRAWN draws, the paper's measure."""
    accuracy: Float[Tensor, " S"]
    """The probability of a correct response."""
    entropy: Float[Tensor, " S"]
    """Of the distribution over the 64 responses, in nats: 4.16 at the start, 1.79 for six equal modes."""


def response_ids(actions: Int[Tensor, "*B T"]) -> Int[Tensor, "*B"]:
    """The index into RESPONSES: the actions as a number in base 4."""
    return (actions * torch.tensor([16, 4, 1])).sum(-1)


def states_of(actions: Int[Tensor, "*B T"]) -> Int[Tensor, "*B T"]:
    """The state in which each action was taken: 0, then 1 + y_1, then 5 + 4 y_1 + y_2. The last action is ignored."""
    first, second = actions[..., 0], actions[..., 1]
    return torch.stack([torch.zeros_like(first), 1 + first, 5 + 4 * first + second], dim=-1)


def response_logp(logits_SNA: Float[Tensor, "S N A"]) -> Float[Tensor, "S P"]:
    """The log-probability of each of RESPONSES, the sum over its three steps."""
    return logits_SNA.log_softmax(-1)[:, states_of(ACTIONS_PT), ACTIONS_PT].sum(-1)


def draw(logits_SNA: Float[Tensor, "S N A"], uniform_SGT: Float[Tensor, "S G T"]) -> Int[Tensor, "S G T"]:
    """Responses by inversion: at each step the first action whose cumulative probability exceeds the uniform number."""
    cumulated = logits_SNA.detach().softmax(-1).cumsum(-1)[..., :-1]
    seeds = torch.arange(len(cumulated))[:, None]
    state = torch.zeros(uniform_SGT.shape[:2], dtype=torch.long)
    actions = []
    for step in range(STEPS):
        actions.append((uniform_SGT[..., step, None] >= cumulated[seeds, state]).sum(-1))
        state = 4 * state + 1 + actions[-1]
    return torch.stack(actions, dim=-1)


def losses(
    method: Method,
    logits_SNA: Float[Tensor, "S N A"],
    actions_SGT: Int[Tensor, "S G T"],
    old_logp_SGT: Float[Tensor, "S G T"] | None = None,
    generators: Sequence[torch.Generator] | None = None,
) -> tuple[Float[Tensor, " S"], Float[Tensor, "S G T"]]:
    """Each seed's loss on its own group, and its current log-probabilities without gradient.

    A seed's loss is Method.loss of its group. Advantages need no loop, because a group is a seed. Selections are made seed by
    seed. policy_loss is mapped over the seeds, so that each divides by its own denominator.

    Args:
        method: a row of METHODS.
        logits_SNA: the policies.
        actions_SGT: the responses.
        old_logp_SGT: None on policy.
        generators: one per seed, for rows that draw.
    """
    S, G, T = actions_SGT.shape
    seeds = torch.arange(S)
    logits = logits_SNA[seeds[:, None, None], states_of(actions_SGT)]
    stats = token_stats(logits, actions_SGT, top_k=method.top_k or 1)
    logp = stats.logp.detach()
    old = logp if old_logp_SGT is None else old_logp_SGT
    mask = torch.ones(S, G, T, dtype=torch.bool)
    advantages = method.advantages(
        REWARDS_P[response_ids(actions_SGT)].flatten(),
        seeds.repeat_interleave(G),
        old_logp=old.view(S * G, T),
        mask=mask.view(S * G, T),
    ).view(S, G)
    inputs = {"logp": stats.logp, "old_logp": old, "entropy": stats.entropy, "advantages": advantages, "mask": mask}
    if method.selects:
        entropy = stats.entropy.detach()
        given: Sequence[torch.Generator | None] = generators or (None,) * S
        chosen = [
            method.select(logp[s], old[s], entropy[s], advantages[s], mask[s], generator=given[s])[1] for s in range(S)
        ]
        inputs["marked"] = torch.stack(chosen)
    if method.candidate_weights:
        inputs["gap"] = candidate_gap(stats.topk_logp, stats.logp, method.candidate_weights)
    if method.needs_top1:
        inputs["is_top1"] = stats.is_top1

    def alone(one: dict[str, Any]) -> Tensor:
        return method.policy_loss(**{"gap": None, "is_top1": None, **one})[0]

    return torch.vmap(alone)(inputs), logp


def train(setting: ToySetting, seeds: Sequence[int] | None = None) -> Float[Tensor, "S N A"]:
    """The logits after training. seeds: None for 0 .. setting.seeds - 1. A seed's result does not depend on the others."""
    method, T = setting.row, STEPS
    own = [torch.Generator().manual_seed(s) for s in (range(setting.seeds) if seeds is None else seeds)]
    start = [torch.randn(STATES, len(ACTIONS), generator=g, dtype=torch.float64) for g in own]
    logits = (setting.spread * torch.stack(start)).requires_grad_()
    size = (setting.batches, setting.group_size, T)
    uniform = torch.stack([torch.rand(size, generator=g, dtype=torch.float64) for g in own], dim=1)
    optimizer: torch.optim.Optimizer = (
        torch.optim.SGD([logits], lr=setting.rate)
        if setting.optimizer == "sgd"
        else torch.optim.Adam([logits], lr=setting.rate)
    )
    for batch in uniform:
        actions, old = draw(logits, batch), None
        for _ in range(setting.updates_each):
            loss, logp = losses(method, logits, actions, old, own)
            old = logp if old is None else old
            optimizer.zero_grad()
            loss.sum().backward()
            optimizer.step()
    return logits.detach()


def measure(logits_SNA: Float[Tensor, "S N A"], seeds: Sequence[int] | None = None) -> PolicyMeasures:
    """The measures of each policy. The draws use the same uniform numbers for every method."""
    logp = response_logp(logits_SNA)
    p, right = logp.exp(), REWARDS_P
    own = [torch.Generator().manual_seed(10**6 + s) for s in (range(len(p)) if seeds is None else seeds)]
    uniform = torch.stack([torch.rand(DRAWN, STEPS, generator=g, dtype=torch.float64) for g in own])
    ids = response_ids(draw(logits_SNA, uniform))
    found = torch.zeros_like(p).scatter_(1, ids, 1.0)
    return PolicyMeasures(
        modes=((p > COVERED) * right).sum(-1),
        drawn=(found * right).sum(-1),
        accuracy=(p * right).sum(-1),
        entropy=-(p * logp).sum(-1),
    )


def expected_update(
    method: Method, logits_NA: Float[Tensor, "N A"], group_size: int, *, at_once: int = 512
) -> Float[Tensor, "N A"]:
    """The exact expectation of -grad loss, on policy, over all 64^group_size ordered groups.

    E[-grad loss] = sum over (y_1 .. y_G) of prod_i pi(y_i) (-grad loss(y_1 .. y_G)). Each group is a "seed" of `losses`.
    A row that draws at random must have options that make its draw certain.
    """
    logp = response_logp(logits_NA[None])[0]
    every = torch.cartesian_prod(*[torch.arange(len(RESPONSES))] * group_size).view(-1, group_size)
    total = torch.zeros_like(logits_NA)
    for ids in every.split(at_once):
        weight = logp[ids].sum(-1).exp()
        total += (weight[:, None, None] * sampled_updates(method, logits_NA, ACTIONS_PT[ids])).sum(0)
    return total


def sampled_updates(
    method: Method, logits_NA: Float[Tensor, "N A"], actions_SGT: Int[Tensor, "S G T"]
) -> Float[Tensor, "S N A"]:
    """-grad loss of each of S groups, on policy, all of the same policy."""
    logits = logits_NA.expand(len(actions_SGT), -1, -1).clone().requires_grad_()
    generators = [torch.Generator().manual_seed(s) for s in range(len(actions_SGT))] if method.selects else None
    loss, _ = losses(method, logits, actions_SGT, None, generators)
    (gradient,) = torch.autograd.grad(loss.sum(), logits, allow_unused=True, materialize_grads=True)
    return -gradient


def settings_of_all(**common: Any) -> list[ToySetting]:
    """Every row of METHODS that has no controller, with its defaults and TOY_OPTIONS. common: fields of ToySetting."""
    return [ToySetting(method=name, **common) for name, row in METHODS.items() if row.controller is None]


def settings_of_sweep(**common: Any) -> list[ToySetting]:
    """The settings of SWEEP. common: fields of ToySetting."""
    found = []
    for name, grid in SWEEP.items():
        for point in grid:
            options = {key: value for key, value in point.items() if key != "rate"}
            plain = ToySetting(method=name, options=options, **common)
            found.append(replace(plain, learning_rate=plain.rate * point.get("rate", 1)))
    return found


def run_all(settings: Sequence[ToySetting], workers: int) -> list[Float[Tensor, "S N A"]]:
    """`train` of each setting, in `workers` processes. The result does not depend on their number."""
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if workers == 1 or len(settings) == 1:
        return [train(setting) for setting in settings]
    slowest_first = sorted(range(len(settings)), key=lambda i: not settings[i].row.selects)
    with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        running = {i: pool.submit(train, settings[i]) for i in slowest_first}
        return [running[i].result() for i in range(len(settings))]


def summary(setting: ToySetting, outcome: PolicyMeasures) -> dict[str, Any]:
    """Means over seeds, their 95 % t intervals [low, high] clipped to the possible range, and the setting, for JSON.

    An interval has width zero if all seeds agree, which says nothing about the next seed.
    """
    from scipy.special import stdtrit

    most = {"modes": len(RIGHT), "drawn": len(RIGHT), "accuracy": 1.0, "entropy": math.log(len(RESPONSES))}
    found: dict[str, Any] = {}
    for name, values in outcome._asdict().items():
        mean, n = values.mean().item(), len(values)
        half = float(stdtrit(n - 1, 0.975)) * values.std().item() / n**0.5
        found |= {name: mean, f"{name}_interval": [max(mean - half, 0.0), min(mean + half, most[name])]}
    return found | {
        "modes_each": [int(x) for x in outcome.modes],
        "options": setting.set_options,
        "optimizer": setting.optimizer,
        "learning_rate": setting.rate,
        "updates": setting.batches * setting.updates_each,
        "group_size": setting.group_size,
        "seeds": setting.seeds,
    }
