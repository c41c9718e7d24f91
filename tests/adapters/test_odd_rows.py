"""Rows whose links do what no link of ours does: the gradient is that of Method.loss, or the row is refused in one line."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from methods import log, method_trainer, trained
from test_compositions import GATE, PENALISE, SIMKO, SPREAD, check

from simko.objectives import METHODS
from simko.objectives import tokens as tok
from simko.objectives.reduction import mean_over, reduce_loss


def moved(tokens, shift):
    return tokens._replace(logp=tokens.logp + shift), {}


def lower_value(tokens):
    """Changes the value of logp, not its gradient."""
    return moved(tokens, -0.5 * (tokens.advantages < 0))


def spread_where(tokens, *, where):
    """Spreads over candidates of tokens that no gate chose."""
    return moved(tokens, 0.4 * where(tokens) * (tokens.gap - tokens.gap.detach()))


def spread_against_response(tokens):
    """Spreads more where the gap is larger than the response's mean: the shifts of a response add up to nothing."""
    mean = tokens.gap.sum(-1, keepdim=True) / tokens.mask.sum(-1, keepdim=True).clamp(min=1)
    gap = tokens.mask * (tokens.gap - mean)
    return moved(tokens, 0.4 * (gap - gap.detach()))


def with_entropy(tokens):
    return moved(tokens, 0.4 * (tokens.entropy - tokens.entropy.detach()))


def drifted(tokens):
    return (tokens.logp - tokens.old_logp).detach().abs() > 1e-3


def uncertain(tokens):
    return tokens.entropy.detach() > 1.2


def late(tokens):
    return torch.arange(tokens.mask.shape[1], device=tokens.mask.device) >= 10


ODD = {
    "another value of logp": (partial(lower_value),),
    "beyond the gate off-policy": (GATE, partial(spread_where, where=drifted)),
    "beyond the gate where uncertain": (GATE, partial(spread_where, where=uncertain)),
    "beyond the gate late": (GATE, partial(spread_where, where=late)),
    "against the response's mean": (GATE, partial(spread_against_response)),
    "gradient through the entropy": (partial(with_entropy),),
    "twice": (GATE, SPREAD, partial(lower_value), SPREAD, PENALISE),
}
SEEN_OFF_POLICY = ("beyond the gate off-policy", "against the response's mean")


@pytest.mark.parametrize("iterations", [1, 2])
@pytest.mark.parametrize("name", ODD)
@pytest.mark.few(4)
def test_odd_links(tmp_path, monkeypatch, name, iterations):
    if name in SEEN_OFF_POLICY and iterations == 1:
        pytest.skip("nothing to see on-policy")
    plan = check(tmp_path, monkeypatch, replace(SIMKO, name="composed", token_links=ODD[name]), iterations=iterations)
    assert plan.way() == "TRL's loss with its token links"


def test_the_off_policy_mask_does_not_see_what_a_link_adds_to_logp(tmp_path, monkeypatch):
    """Nothing has drifted on the first update, whatever the links do to logp."""
    monkeypatch.setitem(METHODS, "odd", replace(METHODS["grpo"], name="odd", token_links=(partial(lower_value),)))
    losses = [
        log(trained(tmp_path / str(threshold), "odd", max_steps=1, off_policy_mask_threshold=threshold))[0]["loss"]
        for threshold in (None, 0.1)
    ]
    assert losses[0] == losses[1]


def mean_gap(tokens):
    return tokens, {"mean_gap": mean_over(tokens.gap, tokens.mask)}


def test_a_metric_over_tokens_beyond_the_gate(tmp_path, monkeypatch):
    """It is that of a row without a gate."""
    found = []
    for gates in ((), (GATE,)):
        row = replace(SIMKO, name="odd", token_links=(*gates, partial(mean_gap), SPREAD))
        monkeypatch.setitem(METHODS, "odd", row)
        found.append(log(trained(tmp_path / str(len(gates)), "odd", max_steps=1))[0]["simko/mean_gap"])
    assert found[0] == pytest.approx(found[1], abs=1e-6)


def certain_tokens(tokens):
    certain = tokens.mask & (tokens.entropy.detach() < 2)
    return tok.TokenMask(certain, certain, {})


def not_of_rank_one(tokens):
    others = tokens.mask & ~tokens.is_top1
    return tok.TokenMask(others, others, {})


def mean_over_responses(loss, mask, denominator=None):
    return loss.masked_fill(mask == 0, 0.0).sum() / (mask.any(-1).sum() if denominator is None else denominator)


def add_to_all(tokens):
    return tokens._replace(advantages=tokens.advantages + 0.1), {}


REFUSED = {
    "counts by entropy": ({"token_mask": partial(certain_tokens)}, {}, "by a selection"),
    "counts by rank": ({"token_mask": partial(not_of_rank_one)}, {}, "by a selection"),
    "its own reduction": ({"reduction": partial(mean_over_responses)}, {}, "use reduce_loss"),
    "candidates that it does not declare": (
        {"candidate_weights": None, "top_k": None, "needs_top1": False}, {}, "set candidate_weights and top_k in its row",
    ),
    "responses of advantage 0 that count after all": (
        {"token_links": (partial(add_to_all),)}, {"skip_zero_advantage": True}, "set skip_zero_advantage to False",
    ),
    "two clips": ({}, {"method_options": {"clip_high": 0.2}, "epsilon_high": 0.5}, "sets epsilon_high=0.2, you set 0.5"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(tmp_path, monkeypatch, name):
    changes, options, way_out = REFUSED[name]
    monkeypatch.setitem(METHODS, "odd", replace(SIMKO, name="odd", **changes))
    with pytest.raises(ValueError, match=way_out):
        method_trainer(tmp_path, "odd", **options)


@pytest.mark.parametrize("name", ["grpo", "dr_grpo"])
def test_rewards_are_not_aggregated_in_another_way_than_the_row_s(tmp_path, name):
    with pytest.raises(ValueError, match="sets multi_objective_aggregation='sum_then_normalize'"):
        method_trainer(tmp_path, name, multi_objective_aggregation="normalize_then_sum")


def test_links_have_their_options_by_keyword():
    with pytest.raises(ValueError, match=r"simko: reduction takes .*, keywords alone"):
        replace(SIMKO, reduction=partial(reduce_loss, "sequence_mean"))


# Controllers.


def counting(state, metrics, *, changes):
    """Sets the options by how many updates there were, and keeps the metrics in `seen`."""
    count = state.get("count", 0) + 1
    counting.seen.append(metrics)
    return {"count": count}, {name: change(count) for name, change in changes.items()}


def controlled(monkeypatch, name, **changes):
    counting.seen = []
    monkeypatch.setitem(
        METHODS, "odd", replace(METHODS[name], name="odd", controller=partial(counting, changes=changes))
    )


@pytest.mark.parametrize("name", ["ucpo", "grpo"])
def test_a_controller_of_a_row_without_links(tmp_path, monkeypatch, name):
    controlled(monkeypatch, name, **({"tau": lambda n: 0.1 * n} if name == "ucpo" else {}))
    trainer = trained(tmp_path, "odd", max_steps=2)
    assert len(counting.seen) == 2
    assert [row["entropy"] for row in log(trainer)] == [seen["entropy"] for seen in counting.seen]
    assert name == "grpo" or trainer.method.options["tau"] == pytest.approx(0.2)


def test_a_controller_changes_what_a_link_reads(tmp_path, monkeypatch):
    """The row reads no candidates beyond its gate at first, and does from the second update on."""

    def beyond(tokens, *, alpha):
        return moved(tokens, alpha * (tokens.gap - tokens.gap.detach()))

    links = GATE, partial(beyond, alpha=0.0)
    row = replace(SIMKO, name="composed", token_links=links)
    check(tmp_path / "0", monkeypatch, replace(row, token_links=(GATE, partial(beyond, alpha=0.4))))
    norms = []
    for first, changes in ((0.0, {"alpha": lambda _: 0.4}), (0.4, {})):
        row = replace(row, token_links=(GATE, partial(beyond, alpha=first)))
        monkeypatch.setitem(METHODS, "composed", replace(row, controller=partial(counting, changes=changes)))
        counting.seen = []
        trainer = method_trainer(tmp_path / str(first), "composed", max_steps=2, learning_rate=0.0)
        trainer.train()
        norms.append([row["grad_norm"] for row in log(trainer)])
    assert norms[0][0] != norms[1][0]
    assert norms[0][1] == pytest.approx(norms[1][1], rel=1e-5)


CHANGES = {
    "eps of TRL's advantages": ("simko", {"eps": lambda _: 0.1}, {}, "options that TRL acts on"),
    "length of TRL's loss": ("long", {"length": lambda _: 99}, {}, "set that"),
    "a clip of TRL's": ("simko", {"clip_high": lambda _: 0.3}, {}, "options that TRL acts on"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_controller_may_not_change(tmp_path, monkeypatch, name):
    of, changes, options, said = CHANGES[name]
    monkeypatch.setitem(METHODS, "long", replace(SIMKO, name="long", reduction=METHODS["dr_grpo"].reduction))
    controlled(monkeypatch, of, **changes)
    with pytest.raises(ValueError, match=said):
        method_trainer(tmp_path, "odd", **options).train()


@pytest.mark.parametrize("name", ["grpo", "simko"])
def test_a_controller_beside_an_eps_of_the_user_s(tmp_path, monkeypatch, name):
    controlled(monkeypatch, name)
    trained(tmp_path, "odd", max_steps=2, method_options={"eps": 1e-6})
    assert len(counting.seen) == 2


def test_a_controller_keeps_what_a_checkpoint_can_hold(tmp_path, monkeypatch):
    keep = partial(lambda state, metrics: ({"share": torch.zeros(())}, {}))
    monkeypatch.setitem(METHODS, "odd", replace(SIMKO, name="odd", controller=keep))
    with pytest.raises(ValueError, match="controller must keep numbers"):
        method_trainer(tmp_path, "odd").train()
