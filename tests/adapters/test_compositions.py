"""Rows that nobody planned for, put together from the links of others and from new ones: MethodTrainer trains the
gradient of Method.loss, or refuses the row."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from methods import OPTIONS, method_trainer, right
from paper import completion_logits, gradient, relative_error
from transformers import TrainerCallback

from simko.objectives import METHODS, Method, candidate_gap
from simko.objectives import advantages as adv
from simko.objectives import selection as sel
from simko.objectives import surrogate as sur
from simko.objectives import tokens as tok
from simko.objectives.effective import spread_shift
from simko.objectives.reduction import reduce_loss


def spread_by_strength(tokens, *, strength):
    """Spreads under an option of another name, and tells nobody which tokens it changes."""
    shift = spread_shift(tokens.gap, tokens.advantages, tokens.gate, strength)
    return tokens._replace(logp=tokens.logp + shift), {}


def spread_everywhere(tokens, *, share):
    """Leaves the gate before it alone, and reads candidates of every token."""
    return tokens._replace(logp=tokens.logp + share * (tokens.gap - tokens.gap.detach())), {}


def half_of_rank_one(tokens):
    """Halves the advantage of rank-1 tokens in correct responses."""
    half = tokens.gate & tokens.is_top1 & (tokens.advantages > 0)
    return tokens._replace(advantages=torch.where(half, tokens.advantages / 2, tokens.advantages)), {}


def gate_by_place(tokens, *, every):
    """A gate that no engine has heard of."""
    place = torch.arange(tokens.mask.shape[1], device=tokens.mask.device)
    return tokens._replace(gate=tokens.gate & (place % every == 0)), {}


GATE = partial(tok.gate_by_entropy, gate_quantile=0.5)
SPREAD = partial(tok.spread_over_candidates, alpha=0.4)
PENALISE = partial(tok.penalise_ratio, top_penalty=1.6)
STRENGTH = partial(spread_by_strength, strength=0.4)
LINKS = {
    "none": (),
    "simko": (GATE, SPREAD, PENALISE),
    "without a gate": (SPREAD, PENALISE),
    "another option's name": (GATE, STRENGTH),
    "penalty before the gate": (PENALISE, GATE, SPREAD),
    "beyond the gate": (GATE, partial(spread_everywhere, share=0.2), PENALISE),
    "another gate": (partial(gate_by_place, every=2), STRENGTH, partial(tok.penalise_advantage, top_penalty=1.6)),
    "advantages": (GATE, partial(half_of_rank_one)),
    "entropy": (partial(tok.add_entropy_to_advantage, entropy_scale=0.4, kappa=2.0),),
}
ESTIMATORS = ("grpo", "dr_grpo", "rloo", "pkpo", "maxrl", "f_grpo", "ucpo", "passk_training")
MASKS = {
    "every token": {},
    "rows with an advantage": {"token_mask": partial(tok.rows_with_advantage)},
    "selected": {
        "selection": partial(sel.top_entropy_tokens, top_share=0.5),
        "token_mask": partial(tok.marked_tokens),
        "inert_zero_rows": False,
    },
}
SURROGATES = {
    "ppo": {},
    "wide": {"surrogate": partial(sur.clip_ratio, clip_low=0.1, clip_high=0.4)},
    "capped": {"surrogate": partial(sur.cap_weight, ratio_cap=5.0)},
    "unclipped": {"surrogate": partial(sur.no_clip)},
    "per sequence": {"ratio": partial(sur.sequence_ratio)},
    "entropy bonus": {"auxiliary": partial(tok.entropy_reward, entropy_coef=0.1), "inert_zero_rows": False},
}
REDUCTIONS = {
    "token_mean": {},
    "sequence_mean": {"reduction": partial(reduce_loss, reduction="sequence_mean")},
    "constant": {"reduction": partial(reduce_loss, reduction="constant", length=12)},
}


def composed(estimator, links, mask, surrogate, reduction, weights="softmax"):
    """The row; ValueError where Method itself refuses it."""
    base = METHODS[estimator].with_options(**OPTIONS.get(estimator, {}))
    names = ("estimator", "reward_transform", "reweighting", "binary", "needs_old_logp")
    candidates = (
        {"candidate_weights": weights, "top_k": 4, "needs_top1": True} if links not in ("none", "entropy") else {}
    )
    return Method(
        name="composed", title="", arxiv="", summary="", formula="", token_links=LINKS[links], **candidates,
        **{name: getattr(base, name) for name in names}, **REDUCTIONS[reduction], **MASKS[mask] | SURROGATES[surrogate],
    )  # fmt: skip


class WholeLoss(TrainerCallback):
    """Just before each optimizer step: how far the gradient is from that of Method.loss on the whole update."""

    def __init__(self, trainer, method):
        self.trainer, self.method, self.batches = trainer, method, []
        self.updates = trainer.num_iterations  # of a rollout
        self.errors, self.without_links = [], []
        loss = trainer._compute_loss
        trainer._compute_loss = lambda model, inputs: self.batches.append(dict(inputs)) or loss(model, inputs)
        trainer.add_callback(self)

    def loss(self, method, joined, first):
        trainer, model = self.trainer, self.trainer.model
        logits, ids = completion_logits(model, joined, trainer.args.temperature), joined["completion_ids"]
        every = logits.log_softmax(-1)
        entropy, logp = -(every.exp() * every).sum(-1), every.gather(-1, ids[..., None]).squeeze(-1)
        topk = logits.detach().topk(method.top_k or 1, -1).indices
        gap = candidate_gap(every.gather(-1, topk), logp, method.candidate_weights or "uniform")
        groups = torch.unique(joined["prompt_ids"], dim=0, return_inverse=True)[1]
        texts = trainer.processing_class.batch_decode(ids, skip_special_tokens=True)
        return method.loss(
            torch.tensor(right(texts)), groups, logp,
            logp.detach() if first else joined["old_per_token_logps"], entropy, gap, topk[..., 0] == ids,
            joined["completion_mask"].bool(), generator=trainer._generator(),
        )[0]  # fmt: skip

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        model = self.trainer.model
        kept = {name: p.grad for name, p in model.named_parameters()}
        applied = gradient(model)
        joined = {k: torch.cat([b[k] for b in self.batches]) for k in self.batches[0] if k != "num_items_in_batch"}
        for method, errors in ((self.method, self.errors), (replace(self.method, token_links=()), self.without_links)):
            model.zero_grad()
            self.loss(method, joined, state.global_step % self.updates == 0).backward()
            errors.append(relative_error(applied, gradient(model)))
        self.batches.clear()
        for name, p in model.named_parameters():
            p.grad = kept[name]


def check(tmp_path, monkeypatch, row, *, iterations=2, **options):
    """Two updates, the first on-policy; the trainer's plan, or None where it refuses the row."""
    monkeypatch.setitem(METHODS, row.name, row)
    try:
        trainer = method_trainer(
            tmp_path, row.name, accumulate=2, num_iterations=iterations, max_steps=2, learning_rate=0.05, **options
        )
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return None
    if not trainer.plan.own_advantages and "eps" in row.options:  # TRL's advantages have another
        row = row.with_options(eps=1e-4)
    loss = WholeLoss(trainer, row)
    trainer.train()
    assert len(loss.errors) == 2
    assert max(loss.errors) < 1e-5
    if row.token_links:
        assert max(loss.without_links) > 1e-4  # the links were there to be seen
    return trainer.plan


@settings(
    max_examples=6, derandomize=True, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    estimator=st.sampled_from(ESTIMATORS),
    links=st.sampled_from(sorted(LINKS)),
    mask=st.sampled_from(sorted(MASKS)),
    surrogate=st.sampled_from(sorted(SURROGATES)),
    reduction=st.sampled_from(sorted(REDUCTIONS)),
)
def test_rows_by_composition(tmp_path, monkeypatch, estimator, links, mask, surrogate, reduction):
    try:
        row = composed(estimator, links, mask, surrogate, reduction)
    except ValueError as error:
        assert "ratio per sequence" in str(error)  # noqa: PT017
        return
    check(tmp_path, monkeypatch, row)


SIMKO = METHODS["simko"].with_options(alpha=0.3, top_penalty=1.5)
UNPLANNED = {
    "a spreading link whose option has another name": replace(SIMKO, token_links=(GATE, STRENGTH)),
    "pkpo's estimator": replace(SIMKO, estimator=partial(adv.pass_at_k_gradient, k=2), binary=True),
    "gspo's reduction": replace(SIMKO, reduction=METHODS["gspo"].reduction),
    "nsr's mask": replace(SIMKO, token_mask=METHODS["nsr"].token_mask),
    "nsr's mask and estimator": replace(
        SIMKO, token_mask=METHODS["nsr"].token_mask, estimator=METHODS["nsr"].estimator, binary=True
    ),
    "no gate": replace(SIMKO, token_links=SIMKO.token_links[1:]),
    "reads beyond its gate": replace(SIMKO, token_links=LINKS["beyond the gate"]),
    "an entropy bonus": replace(
        SIMKO, auxiliary=METHODS["entropy_bonus"].auxiliary, inert_zero_rows=False
    ),
}  # fmt: skip
WAYS = {
    "pkpo's estimator": "TRL's loss with its own advantages and token links",
    "nsr's mask": "own advantages and own loss",
    "nsr's mask and estimator": "own advantages and own loss",
    "an entropy bonus": "own advantages and own loss",
}


@pytest.mark.parametrize("way", ["one pass", "looked up"])
@pytest.mark.parametrize("name", UNPLANNED)
@pytest.mark.few(4)
def test_variants_of_simko(tmp_path, monkeypatch, name, way):
    if way == "looked up":
        monkeypatch.setattr("simko.adapters.trl.loss.one_pass_candidates", lambda method, device: None)
    plan = check(tmp_path, monkeypatch, replace(UNPLANNED[name], name="composed"))
    assert plan.way() == WAYS.get(name, "TRL's loss with its token links")


REFUSED = {
    "per sequence": ({"ratio": partial(sur.sequence_ratio)}, {}, "ratio per sequence"),
    "a clip of the row's and another of the user's": (
        {"surrogate": partial(sur.clip_ratio, clip_low=0.1, clip_high=0.3)}, {"epsilon_high": 0.5}, "sets epsilon_high=0.3",
    ),
    "another length": ({"reduction": partial(reduce_loss, reduction="constant", length=99)}, {}, "max_completion_length"),
    "scale of advantages of the row's own": (
        {"estimator": partial(adv.leave_one_out)}, {"scale_rewards": "none"}, "advantages of its own.*scale_rewards",
    ),
    "kl in a loss of the row's own": ({"token_mask": partial(tok.rows_with_advantage)}, {"beta": 0.1}, "beta"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(tmp_path, monkeypatch, name):
    changes, options, way_out = REFUSED[name]

    def build():
        monkeypatch.setitem(METHODS, "composed", replace(SIMKO, name="composed", **changes))
        method_trainer(tmp_path, "composed", **options)

    with pytest.raises(ValueError, match=way_out):
        build()
