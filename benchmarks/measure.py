"""Time and peak memory of one forward and backward pass, many ways to compute it taken in turn.

seconds  wall clock of forward and backward together, gradients to hidden states and weight
extra    the peak of what is allocated beside the inputs (gradients included), in units of N V 4 bytes
"""

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Outputs(NamedTuple):
    """What a way computes of each token, [N]; None where it does not."""

    logp: Tensor
    entropy: Tensor | None = None
    gap: Tensor | None = None


@dataclass
class Problem:
    """One batch: hidden [N, d], weight [V, d], tokens [N], where [N] the gated fifth, and the loss's coefficients [3, N]."""

    hidden: Tensor
    weight: Tensor
    tokens: Tensor
    where: Tensor
    coefficients: Tensor
    top_k: int

    @classmethod
    def random(cls, N: int, V: int, d: int, top_k: int, dtype: torch.dtype, device: str, seed: int = 0) -> "Problem":
        """Logits of standard deviation 3, about as peaked as a language model's; `where` marks the highest entropies."""
        generator = torch.Generator(device).manual_seed(seed)
        draw = {"generator": generator, "device": device}
        hidden = torch.randn(N, d, **draw).to(dtype)
        weight = (torch.randn(V, d, **draw) * 3 / d**0.5).to(dtype)
        tokens, entropy = torch.empty(N, dtype=torch.long, device=device), torch.empty(N, device=device)
        for rows in torch.arange(N, device=device).split(256):
            logp = (hidden[rows] @ weight.t()).float().log_softmax(-1)
            tokens[rows] = torch.multinomial(logp.exp(), 1, generator=generator)[:, 0]
            entropy[rows] = -(logp.exp() * logp).sum(-1)
        where = entropy > entropy.quantile(0.8)
        coefficients = torch.randn(3, N, **draw)
        return cls(hidden.requires_grad_(), weight.requires_grad_(), tokens, where, coefficients, top_k)

    @property
    def unit(self) -> int:
        """Bytes of one full float32 logits tensor."""
        return 4 * self.hidden.shape[0] * self.weight.shape[0]

    def loss(self, outputs: Outputs) -> Tensor:
        """sum_t a_t logp_t + b_t entropy_t + [gated] c_t gap_t, of what the outputs hold."""
        a, b, c = self.coefficients
        loss = (a * outputs.logp).sum()
        if outputs.entropy is not None:
            loss = loss + (b * outputs.entropy).sum()
        if outputs.gap is not None:
            loss = loss + (c * self.where * outputs.gap).sum()
        return loss

    def first(self, N: int) -> "Problem":
        """The first N tokens, in float64."""
        hidden, weight = (tensor.detach().double().requires_grad_() for tensor in (self.hidden[:N], self.weight))
        return Problem(hidden, weight, self.tokens[:N], self.where[:N], self.coefficients[:, :N], self.top_k)

    def clear(self) -> None:
        self.hidden.grad = self.weight.grad = None


Way = Callable[[Problem], Outputs]


@dataclass
class Row:
    """One way and what was measured of it; `note` says why nothing was."""

    name: str
    outputs: str
    seconds: float = float("nan")
    ratio: float = float("nan")
    quartiles: tuple[float, float] | None = None
    extra: float = float("nan")
    gradient_error: float = float("nan")
    note: str = ""
    times: list[float] = field(default_factory=list)

    @property
    def measured(self) -> bool:
        return not self.note

    def record(self) -> dict[str, Any]:
        """For JSON, which has no NaN."""
        return {name: None if value != value else value for name, value in asdict(self).items()}


def step(way: Way, problem: Problem) -> None:
    problem.clear()
    problem.loss(way(problem)).backward()


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds(way: Way, problem: Problem) -> float:
    synchronise(problem.hidden.device)
    start = time.perf_counter()
    step(way, problem)
    synchronise(problem.hidden.device)
    return time.perf_counter() - start


def extra_bytes(action: Callable[[], None], device: torch.device) -> int:
    """The most that `action` had allocated at any time, beside what was allocated when it began."""
    if device.type == "cuda":
        synchronise(device)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        action()
        synchronise(device)
        return torch.cuda.max_memory_allocated() - before
    # The allocator's own events: a dispatch mode would miss what operators allocate inside.
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        action()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def measure(
    ways: dict[str, tuple[str, Callable[[], Way]]],
    problem: Problem,
    *,
    rounds: int,
    baseline: str,
    exact: dict[str, Tensor],
    say: Callable[[str], None],
    deadline: float = float("inf"),
) -> list[Row]:
    """One Row a way: name -> (outputs, loader). Memory first, which also warms up; then `rounds` rounds, each way once in each.

    ratio is the median over rounds of a way's seconds to the baseline's in the same round, for load that comes and goes
    moves both; quartiles are the first and third of those, of four rounds or more. gradient_error: of hidden.grad, relative
    in norm, on the first tokens, whose gradients `exact` holds for each kind of outputs. No round is begun after `deadline`,
    of time.monotonic, but the first.
    """
    rows, loaded = [], {}
    for name, (outputs, load) in ways.items():
        row = Row(name, outputs)
        rows.append(row)
        try:
            way = load()
            problem.clear()
            row.extra = extra_bytes(lambda way=way: step(way, problem), problem.hidden.device) / problem.unit
        except ImportError as error:
            row.note = f"not installed ({error.name or error})"
        except Exception as error:  # other people's code: whatever it raises is this row's result, and the rest goes on
            row.note = f"failed: {type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0][:160]}"
        if row.measured:
            loaded[name] = (row, way)
            truth = exact[outputs]
            row.gradient_error = float((problem.hidden.grad[: len(truth)].double() - truth).norm() / truth.norm())
        problem.clear()
        if problem.hidden.is_cuda:
            torch.cuda.empty_cache()
        say(f"  {name}: {row.note or f'{row.extra:.2f} N V 4 bytes'}")
    for number in range(rounds):
        if number and time.monotonic() > deadline:
            break
        for row, way in loaded.values():
            row.times.append(seconds(way, problem))
    problem.clear()
    for row, _ in loaded.values():
        row.seconds = statistics.median(row.times)
        if baseline in loaded:
            base = loaded[baseline][0].times
            ratios = [t / b for t, b in zip(row.times, base, strict=True)]
            row.ratio = statistics.median(ratios)
            if len(ratios) >= 4:
                row.quartiles = tuple(statistics.quantiles(ratios)[::2])
    return rows


@dataclass
class Target:
    """A bound on a figure; the figure is NaN where it could not be measured."""

    text: str
    bound: float
    figure: float
    at_most: bool = True

    @property
    def verdict(self) -> str:
        if self.figure != self.figure:
            return "not measured"
        return "met" if (self.figure <= self.bound if self.at_most else self.figure >= self.bound) else "missed"

    def record(self) -> dict[str, Any]:
        figure = None if self.figure != self.figure else self.figure
        return {"text": self.text, "bound": self.bound, "figure": figure, "verdict": self.verdict}


def figure(rows: list[Row], name: str, quantity: str) -> float:
    """A quantity of the row of that name; NaN without it."""
    return next((getattr(row, quantity) for row in rows if row.name == name), float("nan"))


def paired_ratio(rows: list[Row], name: str, other: str) -> float:
    """Median over rounds of the seconds of one way to another's in the same round; NaN where one is missing."""
    times = {row.name: row.times for row in rows}
    pairs = list(zip(times.get(name, []), times.get(other, []), strict=False))
    return statistics.median(a / b for a, b in pairs) if pairs else float("nan")


def machine(device: str) -> str:
    """Processor or card, threads, versions; one line."""
    if device == "cuda":
        name = torch.cuda.get_device_name()
    else:
        info = Path("/proc/cpuinfo")
        lines = info.read_text().splitlines() if info.exists() else []
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        threads = torch.get_num_threads()
        name = f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, {threads} thread{'s' * (threads > 1)}"
    return f"{name}, Python {platform.python_version()}, torch {torch.__version__}"
