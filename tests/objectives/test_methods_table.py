"""The table METHODS: the description of each row, its options, and what it refuses."""

import re
from dataclasses import FrozenInstanceError, replace
from functools import partial

import pytest
import torch
from method_cases import NAMES, SELECTING, case, ready

from simko.objectives import METHODS, OPTIONS, REQUIRED, Method, simko_loss
from simko.objectives.surrogate import sequence_ratio
from simko.objectives.tokens import penalise_advantage, spread_over_candidates
from simko.token_stats import token_stats


def test_the_rows():
    assert NAMES == [
        "grpo",
        "dr_grpo",
        "rloo",
        "dapo",
        "gspo",
        "cispo",
        "psr",
        "nsr",
        "w_reinforce",
        "passk_training",
        "pkpo",
        "ordergrad",
        "maxrl",
        "f_grpo",
        "best_of_k",
        "unlikeliness",
        "ucpo",
        "ds_grpo",
        "entropy_bonus",
        "entropy_advantage",
        "forking_tokens",
        "clip_cov",
        "kl_cov",
        "simko",
        "simko_softmax",
        "simko_reference",
        "simko_positive",
        "simko_negative",
        "simko_adaptive",
        "simko_by_success",
        "simko_adaptive_by_success",
    ]
    for name, method in METHODS.items():
        assert method.name == name
        assert re.fullmatch(r"\d{4}\.\d{5}", method.arxiv)
        assert all((method.title, method.summary, method.formula, method.edges))
        assert "\n" not in method.summary + method.formula + method.note + method.edges


def rows_where(test):
    return [name for name, method in METHODS.items() if test(method)]


def test_what_rows_need():
    assert rows_where(lambda m: m.needs_old_logp) == ["unlikeliness", "ucpo", "ds_grpo"]
    assert rows_where(lambda m: m.selects) == ["forking_tokens", "clip_cov", "kl_cov"]
    assert rows_where(lambda m: m.binary) == (
        ["psr", "nsr", "w_reinforce", "passk_training", "pkpo", "maxrl", "f_grpo", "unlikeliness", "ucpo", "ds_grpo"]
    )
    assert rows_where(lambda m: m.candidate_weights == "softmax") == ["simko_softmax"]
    assert rows_where(lambda m: m.candidate_weights == "uniform") == (
        [
            "simko",
            "simko_reference",
            "simko_positive",
            "simko_adaptive",
            "simko_by_success",
            "simko_adaptive_by_success",
        ]
    )
    assert rows_where(lambda m: m.controller) == ["simko_adaptive", "simko_adaptive_by_success"]
    assert rows_where(lambda m: m.top_k == 3) == rows_where(lambda m: m.candidate_weights is not None)
    assert rows_where(lambda m: m.needs_top1) == [name for name in NAMES if name.startswith("simko")]


DEFAULTS = {
    "grpo": {"eps": 1e-6, "clip_low": 0.2, "clip_high": 0.2},
    "dr_grpo": {"length": None, "clip_low": 0.2, "clip_high": 0.2},
    "rloo": {"clip_low": 0.2, "clip_high": 0.2},
    "dapo": {"eps": 1e-6, "clip_low": 0.2, "clip_high": 0.28},
    "gspo": {"eps": 1e-6, "clip_low": 3e-4, "clip_high": 4e-4},
    "cispo": {"eps": 1e-6, "ratio_cap": 5.0},
    "psr": {"clip_low": 0.2, "clip_high": 0.2},
    "nsr": {"clip_low": 0.2, "clip_high": 0.2},
    "w_reinforce": {"positive_weight": 0.1, "clip_low": 0.2, "clip_high": 0.2},
    "passk_training": {"k": REQUIRED, "eps": 1e-6, "clip_low": 0.2, "clip_high": 0.2},
    "pkpo": {"k": REQUIRED, "clip_low": 0.2, "clip_high": 0.2},
    "ordergrad": {"k": REQUIRED, "clip_low": 0.2, "clip_high": 0.2},
    "maxrl": {"eps": 1e-6, "clip_low": 0.2, "clip_high": 0.2},
    "f_grpo": {"eps": 1e-6, "focal_exponent": 0.5, "clip_low": 0.2, "clip_high": 0.2},
    "best_of_k": {"eps": 1e-6, "divide_by_std": False, "clip_low": 0.2, "clip_high": 0.2},
    "unlikeliness": {"eps": 1e-6, "rank_penalty": 0.25, "clip_low": 0.2, "clip_high": 0.2},
    "ucpo": {"eps": 1e-8, "tau": 0.2, "clip_low": 0.2, "clip_high": 0.2},
    "ds_grpo": {
        "eps": 1e-6, "gamma_right": REQUIRED, "gamma_wrong": REQUIRED, "clip_low": 0.2, "clip_high": 0.2,
    },
    "entropy_bonus": {"eps": 1e-6, "entropy_coef": 0.01, "clip_low": 0.2, "clip_high": 0.2},
    "entropy_advantage": {"eps": 1e-6, "entropy_scale": 0.4, "kappa": 2.0, "clip_low": 0.2, "clip_high": 0.2},
    "forking_tokens": {"eps": 1e-6, "top_share": 0.2, "clip_low": 0.2, "clip_high": 0.28},
    "clip_cov": {
        "eps": 1e-6, "cov_share": 2e-4, "cov_low": 1.0, "cov_high": 5.0, "clip_low": 1.0, "clip_high": 1.0,
    },
    "kl_cov": {"eps": 1e-6, "cov_share": 2e-3, "kl_coef": 1.0},
    "simko_negative": {"eps": 1e-6, "top_penalty": 1.1, "gate_quantile": 0.8, "clip_low": 0.2, "clip_high": 0.2},
    "simko_positive": {
        "eps": 1e-6, "alpha": 0.01, "gate_quantile": 0.8, "top_k": 3, "clip_low": 0.2, "clip_high": 0.2,
    },
    **{
        name: {
            "eps": 1e-6, "alpha": 0.01, "top_penalty": 1.1, "gate_quantile": 0.8, "top_k": 3, "clip_low": 0.2,
            "clip_high": 0.2,
        }
        for name in ("simko", "simko_softmax", "simko_reference")
    },
    "simko_by_success": {
        "eps": 1e-6, "alpha": 0.2, "top_penalty": 1.5, "gate_quantile": 0.8, "top_k": 3, "clip_low": 0.2,
        "clip_high": 0.2,
    },
    **{
        name: {
            "eps": 1e-6, "alpha": 0.02, "alpha_max": 0.2, "alpha_rate": 1.0, "top_penalty": 1.1, "gate_quantile": 0.8,
            "top_k": 3, "clip_low": 0.2, "clip_high": 0.2,
        }
        for name in ("simko_adaptive", "simko_adaptive_by_success")
    },
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_defaults(name):
    """As docs/methods.md lists them, and each inside the range that the option allows."""
    assert METHODS[name].options == DEFAULTS[name]
    METHODS[name].with_options(**{k: v for k, v in DEFAULTS[name].items() if v is not REQUIRED})


def test_every_option_is_used():
    assert {option for method in METHODS.values() for option in method.options} == set(OPTIONS)


def test_options_make_a_new_method():
    row = METHODS["simko"]
    other = row.with_options(alpha=0.5, top_k=5)
    assert other.options == row.options | {"alpha": 0.5, "top_k": 5}
    assert other.top_k == 5
    assert METHODS["simko"] is row
    assert row.options["alpha"] == 0.01
    with pytest.raises(FrozenInstanceError):
        row.top_k = 4


def test_an_option_of_two_links_reaches_both():
    clip_cov = METHODS["clip_cov"].with_options(clip_high=0.5)
    assert clip_cov.selection.keywords["clip_high"] == clip_cov.surrogate.keywords["clip_high"] == 0.5


@pytest.mark.parametrize(("name", "option"), [("grpo", "alpha"), ("pkpo", "eps"), ("nsr", "positive_weight")])
def test_an_option_of_another_method(name, option):
    with pytest.raises(ValueError, match=rf"{name} has no option '{option}'; its options: .*clip_high, clip_low"):
        METHODS[name].with_options(**{option: 1})


BAD = {
    "alpha": [-0.1, 1.1, float("nan"), True, "0.1"],
    "alpha_max": [-0.1, 1.1],
    "alpha_rate": [-0.1, float("inf")],
    "clip_high": [-0.1, float("nan")],
    "clip_low": [-0.1, None],
    "cov_high": [float("inf"), None],
    "cov_low": [float("nan")],
    "cov_share": [0, 1.5],
    "divide_by_std": [1, "no"],
    "entropy_coef": [-1],
    "entropy_scale": [-1],
    "eps": [-1e-9],
    "focal_exponent": [-1],
    "gamma_right": [-1],
    "gamma_wrong": [-1],
    "gate_quantile": [-0.1, 1.1],
    "k": [0, 1.5, True],
    "kappa": [1, 0.5],
    "kl_coef": [-1],
    "length": [0, 2.5],
    "positive_weight": [-0.1],
    "rank_penalty": [1.1],
    "ratio_cap": [0],
    "tau": [-0.1, 2],
    "top_k": [0, 3.0],
    "top_penalty": [0, 0.5, 1 - 1e-9, float("inf")],
    "top_share": [0, 1.01],
}


@pytest.mark.parametrize("option", list(OPTIONS))
def test_options_out_of_range(option):
    method = next(m for m in METHODS.values() if option in m.options)
    for value in BAD[option]:
        with pytest.raises(ValueError, match=option):
            method.with_options(**{option: value})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pkpo", "k=..."),
        ("ordergrad", "k=..."),
        ("passk_training", "k=..."),
        ("ds_grpo", "gamma_right=..., gamma_wrong=..."),
    ],
)
def test_an_option_without_a_source_must_be_given(name, said):
    rewards, groups = torch.tensor([1.0, 0.0]), torch.tensor([0, 0])
    with pytest.raises(ValueError, match=re.escape(f"METHODS['{name}'].with_options({said})")):
        METHODS[name].advantages(rewards, groups, old_logp=torch.zeros(2, 1), mask=torch.ones(2, 1))


@pytest.mark.parametrize("name", NAMES)
def test_metrics_promised(name):
    c = case(seed=3)
    loss, metrics = c.loss(ready(name))
    assert set(metrics) == set(METHODS[name].metrics)
    assert torch.isfinite(loss)
    assert all(torch.isfinite(m) and m.dim() == 0 and not m.requires_grad for m in metrics.values())


@pytest.mark.parametrize("name", SELECTING)
def test_a_selection_comes_first(name):
    method, c = ready(name), case()
    args = *c.stats(method), c.advantages(method), c.mask
    with pytest.raises(ValueError, match=rf"METHODS\['{name}'\]\.select"):
        method.policy_loss(*args)
    with pytest.raises(ValueError, match="select"):
        method.denominator(c.advantages(method), c.mask)


def test_no_selection_where_there_is_none():
    method, c = METHODS["grpo"], case()
    logp, old, entropy, *_ = c.stats(method)
    A = c.advantages(method)
    with pytest.raises(ValueError, match="grpo selects no tokens"):
        method.select(logp, old, entropy, A, c.mask, generator=None)
    with pytest.raises(ValueError, match="leave `marked` out"):
        method.policy_loss(*c.stats(method), A, c.mask, marked=c.mask)


def test_inputs_that_a_method_needs():
    c = case()
    logp, old, entropy, _, top1 = c.stats(METHODS["simko"])
    A = c.advantages(METHODS["simko"])
    with pytest.raises(ValueError, match="simko needs gap"):
        METHODS["simko"].policy_loss(logp, old, entropy, None, top1, A, c.mask)
    with pytest.raises(ValueError, match="simko_negative needs is_top1"):
        METHODS["simko_negative"].policy_loss(logp, old, entropy, None, None, A, c.mask)
    METHODS["grpo"].policy_loss(logp, old, entropy, None, None, A, c.mask)
    for name in ("unlikeliness", "ucpo"):
        with pytest.raises(ValueError, match=f"{name} weighs responses by how likely they were: give old_logp and"):
            METHODS[name].advantages(c.rewards, c.groups)


def test_shapes_that_do_not_match():
    c = case()
    logp, old, entropy, _, _ = c.stats(METHODS["grpo"])
    A = c.advantages(METHODS["grpo"])
    unchecked = getattr(Method.policy_loss, "__wrapped__", Method.policy_loss)
    for args, name in (
        ((logp, old[:, :1], entropy, None, None, A, c.mask), "old_logp"),
        ((logp, old, entropy, None, None, A[:3], c.mask), "advantages"),
        ((logp, old, entropy, None, None, A, c.mask[:1]), "mask"),
    ):
        with pytest.raises((ValueError, TypeError), match=name):
            unchecked(METHODS["grpo"], *args)


def test_lambda_on_a_ratio_per_sequence_is_refused():
    """It would scale the ratio of the whole response. On the advantage lambda is allowed, and so is the positive part alone."""
    per_sequence = partial(sequence_ratio)
    with pytest.raises(ValueError, match="ratio per sequence"):
        replace(METHODS["simko"], ratio=per_sequence)
    replace(METHODS["simko_positive"], ratio=per_sequence)
    replace(METHODS["simko_reference"], ratio=per_sequence)


def test_a_new_method_is_a_row():
    """SimKO's penalty on the advantage, with DAPO's clip and GSPO's ratio, needs no new code."""
    row = replace(
        METHODS["dapo"],
        name="mine",
        ratio=METHODS["gspo"].ratio,
        token_links=(partial(penalise_advantage, top_penalty=2.0),),
        needs_top1=True,
    )
    assert row.with_options(top_penalty=3.0).options["top_penalty"] == 3.0
    assert torch.isfinite(case().loss(row)[0])


def test_links_see_the_tokens_that_count():
    """SimKO's positive part without a gate, on forking tokens, acts on these tokens."""
    spread = partial(spread_over_candidates, alpha=0.5)
    row = replace(METHODS["forking_tokens"], token_links=(spread,), candidate_weights="uniform", top_k=3)
    c = case(seed=3)
    A = c.advantages(row)
    marked, gap = c.marked(row, A), c.stats(row)[3]
    assert c.loss(row, A, marked)[1]["gap"].item() == pytest.approx(gap[marked].mean().item())


@pytest.mark.parametrize(("name", "penalty"), [("simko", "ratio"), ("simko_softmax", "ratio"), ("simko_reference", "advantage")])  # fmt: skip
@pytest.mark.parametrize("seed", [0, 1])
def test_simko_loss_is_its_row(name, penalty, seed):
    method, c = ready(name), case(seed=seed)
    A = c.advantages(method)
    value, gradient = c.gradient(method, A)
    logits = c.logits.clone().requires_grad_()
    s = token_stats(logits, c.tokens, top_k=3, impl="eager")
    loss, _ = simko_loss(
        s.logp, c.old, s.entropy, s.topk_logp, s.is_top1, A, c.mask, alpha=0.3, top_penalty=1.5, gate_quantile=0.5,
        penalty=penalty, weights=method.candidate_weights,
    )  # fmt: skip
    assert torch.equal(loss, value)
    assert torch.equal(torch.autograd.grad(loss, logits)[0], gradient)


def test_the_ablations_are_simko_with_one_part_off():
    c = case(seed=4)
    for name, off in (("simko_positive", {"top_penalty": 1.0}), ("simko_negative", {"alpha": 0.0})):
        ours, simko = c.gradient(ready(name)), c.gradient(ready("simko", **off))
        assert torch.equal(ours[0], simko[0])
        torch.testing.assert_close(ours[1], simko[1], rtol=0, atol=1e-16)
