"""What an engine does around a row: however an update is split into micro-batches and over processes, it is one update."""

import json
import threading
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from method_cases import NAMES, Case, case, ready

from simko.objectives import METHODS
from simko.objectives import tokens as tok
from simko.objectives.effective import spread_shift
from simko.objectives.reduction import Mean
from simko.objectives.tokens import read_tokens
from simko.objectives.update import (
    Adaptation,
    MetricSums,
    Processes,
    Scored,
    candidate_tokens,
    links_change,
    reads_candidates_elsewhere,
    reads_few_candidates,
    select_tokens,
    update_denominator,
)

few = settings(max_examples=12, deadline=None)
seeds = st.integers(0, 10**6)


class Threads:
    """One of several processes, each of which is a thread here."""

    def __init__(self, index, count, barrier, slots):
        self.index, self.count, self._barrier, self._slots = index, count, barrier, slots

    def _all(self, x):
        self._slots[self.index] = x
        self._barrier.wait()
        everyone = list(self._slots)
        self._barrier.wait()
        return everyone

    def sum(self, x):
        return torch.stack(self._all(x)).sum(0)

    def gather(self, x):
        everyone = self._all(x)
        if x.dim() == 1:
            return torch.cat(everyone)
        widest = max(y.shape[1] for y in everyone)
        return torch.cat([torch.nn.functional.pad(y, (0, 0, 0, widest - y.shape[1])) for y in everyone])


def on_processes(count, work):
    """work(processes) of each of them, in their order."""
    barrier, slots, answers, errors = threading.Barrier(count), [None] * count, [None] * count, []

    def run(index):
        try:
            answers[index] = work(Threads(index, count, barrier, slots))
        except Exception as error:  # told to the test below, while the others stop waiting
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return answers


# ---- an update


def narrowed(c, rows):
    """Some responses, with no more columns than their longest needs."""
    width = max(1, int(c.mask[rows].sum(1).max()))
    part = c[rows]
    cut = {name: getattr(part, name)[:, :width] for name in ("logits", "tokens", "old", "mask")}
    return Case(**cut, rewards=part.rewards, groups=part.groups)


def scored(method, part, advantages, rows):
    logp, old_logp, entropy, _, _ = part.stats(method)
    return Scored(logp, old_logp, entropy, advantages[rows], part.mask, rows)


def one_process(method, c, advantages, rows, micro_batches, processes):
    """Its part of an update: the sum of its losses, the gradient of its rows, the metrics and what it marks."""
    sizes = [len(r) for r in rows.tensor_split(micro_batches)]
    whole = narrowed(c, rows)
    logits = whole.logits.detach().requires_grad_()
    whole = replace(whole, logits=logits)
    places = torch.arange(len(rows)).split(sizes)
    parts = [whole[p] for p in places]
    marked = [None] * len(parts)
    if method.selects:
        scores = [scored(method, part, advantages, rows[p]) for part, p in zip(parts, places, strict=True)]
        marked = select_tokens(method, scores, processes, torch.Generator().manual_seed(0))
    batches = [(advantages[rows[p]], part.mask) for part, p in zip(parts, places, strict=True)]
    denominator = update_denominator(method, batches, marked, processes)
    sums, losses = MetricSums(), []
    for part, (A, _), m in zip(parts, batches, marked, strict=True):
        logp, old_logp, entropy, gap, is_top1 = part.stats(method)
        loss, metrics = method.policy_terms(
            read_tokens(logp, old_logp, entropy, gap, is_top1, A, part.mask, m), denominator
        )
        losses.append(loss)
        sums.add(metrics)
    total = sum(losses)
    return total.detach(), torch.autograd.grad(total, logits)[0], sums.means(processes)


@pytest.mark.parametrize("name", NAMES)
@few
@given(seed=seeds, processes=st.integers(1, 3), micro_batches=st.integers(1, 3))
@pytest.mark.few(10)
def test_an_update_is_the_same_however_it_is_split(name, seed, processes, micro_batches):
    """Value, gradient and metrics; the selections also however each process shuffles."""
    held = {"length": 7} if name == "dr_grpo" else {}  # its default is the width of each batch
    method, c = ready(name, **held), case(seed=seed, groups=3, per_group=4)
    advantages = c.advantages(method)
    marked = c.marked(method, advantages)
    value, metrics = c.loss(method, advantages, marked)
    gradient = c.gradient(method, advantages, marked)[1]
    sizes = {
        k: m.size for k, m in method.policy_terms(read_tokens(*c.stats(method), advantages, c.mask, marked))[1].items()
    }

    shuffled = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    shares = shuffled.split(12 // processes)
    work = lambda p: one_process(method, c, advantages, shares[p.index], micro_batches, p)  # noqa: E731
    answers = on_processes(processes, work)
    torch.testing.assert_close(sum(a[0] for a in answers) / processes, value.detach(), rtol=1e-5, atol=1e-7)
    for rows, (_, found, _) in zip(shares, answers, strict=True):
        width = found.shape[1]
        torch.testing.assert_close(found / processes, gradient[rows][:, :width], rtol=1e-5, atol=1e-8)
        assert gradient[rows][:, width:].eq(0).all()
    for _, _, found in answers:
        assert found == {k: pytest.approx(float(v), rel=1e-5, abs=1e-6) for k, v in metrics.items() if sizes[k]}


def test_an_update_without_a_token_has_a_denominator_all_the_same():
    method, nothing = ready("psr"), torch.zeros(4)
    (found,) = on_processes(1, lambda p: update_denominator(method, [(nothing, torch.ones(4, 3))], [None], p))
    assert found == 1


def test_threads_are_processes():
    assert isinstance(Threads(0, 1, None, None), Processes)


# ---- metrics

terms = st.lists(st.tuples(st.floats(-10, 10), st.integers(0, 50)), min_size=1, max_size=6)


@given(batches=st.lists(terms, min_size=1, max_size=3))
@few
def test_metrics_are_means_over_the_tokens_of_all(batches):
    """One list of (total, size) a process."""

    def work(processes):
        sums = MetricSums()
        for total, size in batches[processes.index]:
            sums.add({"a": Mean(torch.tensor(total), torch.tensor(float(size))), "b": Mean(*torch.tensor([2.0, 1.0]))})
        return sums.means(processes), sums.means(processes)

    size = sum(s for batch in batches for _, s in batch)
    total = sum(t for batch in batches for t, _ in batch)
    expected = {"a": pytest.approx(total / size, rel=1e-4, abs=1e-4)} if size else {}
    for found, anew in on_processes(len(batches), work):
        assert found == expected | {"b": 2.0}
        assert anew == {}


def test_no_metrics_at_all():
    assert on_processes(2, lambda p: MetricSums().means(p)) == [{}, {}]


# ---- where candidates are read


def beyond(tokens, *, alpha):
    """Leaves the gate alone."""
    return tokens._replace(logp=tokens.logp + alpha * (tokens.gap - tokens.gap.detach())), {}


def by_value(tokens):
    """Reads the gap's value, of all tokens, and none of its gradient."""
    return tokens._replace(advantages=tokens.advantages * tokens.gap.detach().tanh()), {}


def of_rank_one(tokens):
    return tokens._replace(advantages=torch.where(tokens.is_top1, 0.5 * tokens.advantages, tokens.advantages)), {}


def gate_by_place(tokens, *, every):
    """A gate that the engine has not heard of: what follows it is looked up at every token that passes those before."""
    place = torch.arange(tokens.mask.shape[1])
    return tokens._replace(gate=tokens.gate & (place % every == 0)), {}


def gated(tokens, *, alpha):
    return tokens._replace(logp=tokens.logp + spread_shift(tokens.gap, tokens.advantages, tokens.gate, alpha)), {}


GATE, SPREAD = partial(tok.gate_by_entropy, gate_quantile=0.5), partial(tok.spread_over_candidates, alpha=0.3)
RATIO, ADVANTAGE = partial(tok.penalise_ratio, top_penalty=1.5), partial(tok.penalise_advantage, top_penalty=1.5)
BEYOND, GATED, PLACE = partial(beyond, alpha=0.3), partial(gated, alpha=0.3), partial(gate_by_place, every=2)
LINKS = [GATE, SPREAD, RATIO, ADVANTAGE, BEYOND, GATED, PLACE, partial(by_value), partial(of_rank_one)]


def row(*links, **changes):
    return replace(METHODS["simko"], token_links=links, **changes)


WHERE = {  # links; whether other tokens' candidates are read; whether most tokens' are spared; what changes
    "no link": ((), False, False, ""),
    "simko": ((GATE, SPREAD, RATIO), False, True, "logp old_logp"),
    "simko's other form": ((GATE, SPREAD, ADVANTAGE), False, True, "logp advantages"),
    "no gate": ((SPREAD, RATIO), False, False, "logp old_logp"),
    "an open gate": ((partial(tok.gate_by_entropy, gate_quantile=None), SPREAD), False, False, "logp"),
    "links that do nothing": (
        (GATE, partial(tok.spread_over_candidates, alpha=0.0), partial(tok.penalise_ratio, top_penalty=1.0)), False, True, "",
    ),
    "a link of another's": ((GATE, GATED), False, True, "logp"),
    "a gate of another's": ((PLACE, SPREAD), False, False, "logp"),
    "both gates": ((GATE, PLACE, SPREAD), False, True, "logp"),
    "a penalty before the gate": ((RATIO, GATE, SPREAD), False, False, "logp old_logp"),
    "beyond the gate, with gradient": ((GATE, BEYOND), True, False, "logp"),
    "beyond the gate, by value": ((GATE, partial(by_value)), True, False, "advantages"),
    "beyond the gate, by rank": ((GATE, partial(of_rank_one)), True, False, "advantages"),
}  # fmt: skip


@pytest.mark.parametrize("name", WHERE)
def test_where_candidates_are_read(name):
    links, elsewhere, spared, changed = WHERE[name]
    method = row(*links)
    assert reads_candidates_elsewhere(method) == elsewhere
    assert reads_few_candidates(method) == spared
    assert links_change(method) == set(changed.split())


def test_a_selection_or_an_auxiliary_term_may_read_every_token():
    for name in ("forking_tokens", "entropy_bonus"):
        other = METHODS[name]
        method = row(GATE, SPREAD, selection=other.selection, auxiliary=other.auxiliary)
        assert reads_candidates_elsewhere(method)
        assert not reads_few_candidates(method)


def draw_tokens(seed, B=4, T=24):
    g = torch.Generator().manual_seed(seed)
    logp, old, entropy, gap = (-torch.rand(B, T, generator=g) for _ in range(4))
    is_top1 = torch.rand(B, T, generator=g) < 0.4
    advantages = torch.randn(B, generator=g) * (torch.rand(B, generator=g) < 0.7)
    mask = torch.arange(T)[None] < torch.randint(1, T + 1, (B, 1), generator=g)
    return read_tokens(logp, old, -entropy, gap, is_top1, advantages, mask, None)


def effect(method, tokens):
    gap = tokens.gap.clone().requires_grad_()
    after, _ = method.link(tokens._replace(gap=gap))
    weights = torch.linspace(1, 2, gap.numel()).view_as(gap)
    (slope,) = torch.autograd.grad((weights * (after.logp + 0 * gap)).sum(), gap)
    return after.logp.detach(), after.old_logp, after.advantages * torch.ones_like(gap), slope


@settings(max_examples=60, deadline=None)
@given(seed=seeds, links=st.lists(st.sampled_from(LINKS), max_size=4), inert=st.booleans())
def test_candidates_off_those_tokens_change_nothing_that_trains(seed, links, inert):
    """Unless the row is said to read them elsewhere. A response of advantage 0 trains nothing where it is inert."""
    method, tokens = row(*links, inert_zero_rows=inert), draw_tokens(seed)
    if reads_candidates_elsewhere(method):
        return
    where = candidate_tokens(method, tokens)
    assert not (where & ~tokens.mask).any()
    fewer = tokens._replace(
        gap=tokens.gap.where(where, 7.0), is_top1=torch.where(where, tokens.is_top1, ~tokens.is_top1)
    )
    trains = tokens.mask & (tokens.advantages != 0) if inert else tokens.mask
    for found, expected in zip(effect(method, fewer), effect(method, tokens), strict=True):
        assert torch.equal(found[trains], expected[trains])


def test_candidates_are_looked_up_behind_the_mask_and_the_known_gates():
    tokens = draw_tokens(3)
    gate = tok.gate_by_entropy(tokens, gate_quantile=0.5)[0].gate
    advantaged = tokens.mask & (tokens.advantages != 0)
    assert 0 < (gate & advantaged).sum() < gate.sum() < tokens.mask.sum()
    assert torch.equal(candidate_tokens(row(GATE, SPREAD), tokens), gate & advantaged)
    assert torch.equal(candidate_tokens(row(GATE, SPREAD, inert_zero_rows=False), tokens), gate)
    assert torch.equal(candidate_tokens(row(SPREAD, GATE), tokens), advantaged)
    masked = tokens._replace(marked=tokens.mask & (torch.arange(24) % 3 == 0))
    among = tok.gate_by_entropy(masked._replace(mask=masked.marked, gate=masked.marked), gate_quantile=0.5)[0].gate
    found = candidate_tokens(row(GATE, SPREAD, token_mask=partial(tok.marked_tokens)), masked)
    assert torch.equal(found, among & advantaged)
    assert not torch.equal(found, gate & masked.marked & advantaged)


# ---- a row that changes


def halve(state, metrics, *, least):
    """Halves alpha while the metric is positive; counts its updates."""
    updates = state.get("updates", 0) + 1
    alpha = state.get("alpha", 0.4)
    alpha = max(least, alpha / 2) if metrics["gap"] > 0 else alpha
    return {"updates": updates, "alpha": alpha}, {"alpha": alpha}


HALVED = replace(METHODS["simko"].with_options(alpha=0.4), controller=partial(halve, least=0.01))


@given(gaps=st.lists(st.floats(-1, 1), min_size=1, max_size=6), stop=st.integers(0, 6))
def test_adaptation_continues_from_its_state(gaps, stop):
    whole, first = Adaptation(HALVED), Adaptation(HALVED)
    for gap in gaps:
        whole.step({"gap": gap})
    for gap in gaps[:stop]:
        first.step({"gap": gap})
    kept = json.loads(json.dumps(first.state_dict()))
    second = Adaptation(HALVED)
    second.load_state_dict(kept)
    assert second.method.options == first.method.options
    for gap in gaps[stop:]:
        second.step({"gap": gap})
    assert second.state_dict() == whole.state_dict()
    assert second.method.options == whole.method.options
    halvings = sum(gap > 0 for gap in gaps)
    assert whole.method.options["alpha"] == max(0.01, 0.4 / 2**halvings)
    assert whole.state_dict()["state"]["updates"] == len(gaps)


def test_a_continued_row_keeps_the_options_that_its_controller_leaves_to_the_user():
    first, second = Adaptation(HALVED), Adaptation(HALVED.with_options(top_k=7))
    first.step({"gap": 1.0})
    second.load_state_dict(first.state_dict())
    assert (second.method.options["alpha"], second.method.options["top_k"]) == (0.2, 7)


def test_a_row_without_a_controller_carries_nothing():
    still = Adaptation(METHODS["simko"])
    still.step({"gap": 1.0})
    assert still.method is METHODS["simko"]
    assert still.state_dict() == {}
    still.load_state_dict({})
    assert still.method is METHODS["simko"]


@pytest.mark.parametrize(
    ("options", "said"), [({"beta": 1.0}, "has no option 'beta'; its options: alpha"), ({"alpha": 2.0}, "alpha")]
)
def test_a_controller_s_options_are_the_row_s(options, said):
    method = replace(METHODS["simko"], controller=partial(lambda state, metrics: (state, options)))
    with pytest.raises(ValueError, match=said):
        Adaptation(method).step({})
