"""TRL's features around SimKO, refusals, and what the trainers say and write. Small real runs."""

import json
import logging

import pytest
import torch
import trl.trainer.utils as trl_utils
from paper import GradientCheck, completion_logits, paper_loss
from peft import LoraConfig, PromptTuningConfig
from tiny import LORA, digit_share, make_trainer, tiny_dataset, tiny_model
from transformers import MixtralConfig, MixtralForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM
from trl import GRPOConfig

from simko.adapters.trl import RLVRTrainer, SimKOConfig, SimKOTrainer
from simko.adapters.trl.lm_head import completion_rows
from simko.adapters.trl.loss import counted_tokens, link_loss, one_pass_candidates
from simko.diagnostics import concentration_summary
from simko.token_stats import LogitTransform, token_stats

MOE = {"vocab_size": 35, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
       "eos_token_id": 1, "pad_token_id": 0, "bos_token_id": None}  # fmt: skip
MIXTURES = {
    "mixtral": lambda: MixtralForCausalLM(MixtralConfig(**MOE, intermediate_size=32, num_local_experts=4)),
    "qwen3_moe": lambda: Qwen3MoeForCausalLM(
        Qwen3MoeConfig(**MOE, head_dim=16, intermediate_size=32, moe_intermediate_size=16, num_experts=4,
                       num_experts_per_tok=2)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MIXTURES)
def test_auxiliary_loss_of_a_mixture_of_experts(tmp_path, name):
    torch.manual_seed(0)
    model = MIXTURES[name]()
    with torch.no_grad():
        model.lm_head.weight.mul_(16)
    trainer = make_trainer(tmp_path, model=model, max_steps=1, max_grad_norm=0.0, router_aux_loss_coef=0.5,
                           gradient_accumulation_steps=2, per_device_train_batch_size=4)  # fmt: skip
    check = GradientCheck.watch(trainer)
    trainer.train()
    assert trainer.aux_loss_enabled
    assert check.raised > 5
    assert check.errors[0] < 1e-5
    assert check.from_grpo[0] > 0.02
    routers = [n for n, _ in trainer.model.named_parameters() if "gate.weight" in n or "router" in n]
    assert routers


@pytest.mark.parametrize("how", ["autocast", "weights"])
def test_bfloat16(tmp_path, how):
    """Under autocast and with bfloat16 weights: near the float32 equations, and not GRPO."""
    model = tiny_model() if how == "autocast" else tiny_model().bfloat16()
    trainer = make_trainer(
        tmp_path, model=model, max_steps=1, max_grad_norm=0.0, bf16=how == "autocast", simko_gate_quantile=None,
        simko_alpha=0.6,
    )  # fmt: skip
    check = GradientCheck.watch(trainer)
    trainer.train()
    assert check.raised > 20
    assert check.errors[0] < 0.1
    assert check.from_grpo[0] > 0.3


def test_evaluation_scores_the_same_objective_and_trains_nothing(tmp_path):
    trainer = make_trainer(tmp_path, max_steps=1, trainer={"eval_dataset": tiny_dataset(8)}, eval_strategy="steps",
                           eval_steps=1, per_device_eval_batch_size=8)  # fmt: skip
    seen, original = [], trainer._compute_loss

    def compute_loss(model, inputs):
        if not trainer.model.training:
            seen.append(dict(inputs))
        return original(model, inputs)

    trainer._compute_loss = compute_loss
    trainer.train()
    (logged,) = [row for row in trainer.state.log_history if "eval_loss" in row]
    assert {f"eval_simko/{name}" for name in ("gated", "penalised", "gap", "rank1")} <= set(logged)
    trainer.args.steps_per_generation = 1  # in evaluation nothing is accumulated
    losses = [paper_loss(trainer.model.eval(), inputs, trainer.args)[0].item() for inputs in seen]
    assert len(losses) == 4
    assert logged["eval_loss"] == pytest.approx(sum(losses) / 4, rel=1e-4, abs=1e-6)
    before = [p.detach().clone() for p in trainer.model.parameters()]
    trainer.evaluate()
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))


def test_lora_trains_the_adapter_alone(tmp_path):
    trainer = make_trainer(tmp_path, max_steps=2, trainer={"peft_config": LORA()})
    before = {n: p.detach().clone() for n, p in trainer.model.named_parameters()}
    trainer.train()
    changed = {n for n, p in trainer.model.named_parameters() if not torch.equal(before[n], p)}
    assert changed
    assert all("lora" in n for n in changed)


def test_metrics_at_every_step(tmp_path):
    """The logged shares, against the terms of the equations."""
    trainer = make_trainer(tmp_path, max_steps=3, gradient_accumulation_steps=2, per_device_train_batch_size=4)
    check, expected = GradientCheck.watch(trainer), []
    reference = check.reference

    def counted(config):
        gradient, terms = reference(config)
        if config is trainer.args:
            n = sum(int(t.mask.sum()) for t in terms)
            expected.append(sum(int(t.penalised.sum()) for t in terms) / n)
        return gradient, terms

    check.reference = counted
    trainer.train()
    rows = [row for row in trainer.state.log_history if "loss" in row]
    assert len(rows) == 3
    for row, penalised in zip(rows, expected, strict=True):
        assert row["simko/penalised"] == pytest.approx(penalised, abs=1e-6)
        assert 0.15 < row["simko/gated"] < 0.35  # the top fifth of a dozen tokens, strictly above
        assert 0 <= row["simko/rank1"] <= 1
        assert row["simko/gap"] > -10
    assert max(expected) > 0


def messages(caplog):
    return [r.getMessage() for r in caplog.records if r.name == "simko"]


def test_receipt(tmp_path, caplog):
    trainer = make_trainer(tmp_path, max_steps=2, loss_type="grpo", simko_top_k=2)
    check = GradientCheck.watch(trainer)
    first = []
    trainer.add_callback(
        type("First", (type(check).__bases__[0],), {"on_step_end": lambda *a, **k: first.append(check.raised)})()
    )
    with caplog.at_level(logging.INFO, "simko"):
        trainer.train()
    receipts = [m for m in messages(caplog) if "the first update changes" in m]
    assert len(receipts) == 1
    for part in ("SimKO on grpo", "alpha=0.3", "K=2", "uniform", "lambda=1.5 on the ratio", "0.8", "beta=0"):
        assert part in receipts[0]
    share = float(receipts[0].split("first update changes ")[1].split("%")[0])
    assert 5 < share < 30


def test_a_run_that_changes_no_token_says_so(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("simko.diagnostics.messages._IDLE_STEPS", 2)
    with caplog.at_level(logging.INFO, "simko"):
        make_trainer(tmp_path / "a", max_steps=4, reward=lambda completions, **_: [1.0] * len(completions)).train()
    assert [m.split("changed no token for ")[1][:9] for m in messages(caplog) if "changed no token" in m] == [
        "2 updates",
        "4 updates",
    ]
    caplog.clear()
    with caplog.at_level(logging.INFO, "simko"):
        make_trainer(tmp_path / "b", max_steps=3).train()
    assert not [m for m in messages(caplog) if "changed no token" in m]


def test_the_warning_comes_after_50_updates():
    from simko.diagnostics import messages as run_messages

    assert run_messages._IDLE_STEPS == 50


@pytest.mark.parametrize("cls", [SimKOTrainer, RLVRTrainer])
def test_probe_measures_the_fresh_rollout(tmp_path, cls):
    trainer = make_trainer(tmp_path, cls, max_steps=4, probe_every=2, probe_rows=6, temperature=0.8)
    expected, original = [], trainer._generate_and_score_completions

    def generate(inputs):
        rollout = original(inputs)
        if trainer.state.global_step % 2 == 0:
            rows = {k: v[:6] for k, v in rollout.items() if torch.is_tensor(v) and v.dim()}
            with torch.no_grad():
                logits = completion_logits(trainer.model, rows, 0.8)
            s = token_stats(logits, rows["completion_ids"], top_k=6)
            expected.append(concentration_summary(s.logp, s.entropy, s.topk_logp, rows["completion_mask"]))
        return rollout

    trainer._generate_and_score_completions = generate
    trainer.train()
    lines = [json.loads(line) for line in (tmp_path / "out" / "diagnostics.jsonl").read_text().splitlines()]
    assert [line.pop("step") for line in lines] == [0, 2]
    for line, summary in zip(lines, expected, strict=True):
        assert line["concentration"] == pytest.approx(summary["concentration"], abs=1e-4)
        assert line["gated_rank_probability"] == pytest.approx(summary["gated_rank_probability"], abs=1e-5)
        assert line["entropy_histogram"] == summary["entropy_histogram"]
        assert line["sampled"] == pytest.approx(summary["sampled"], abs=1e-4)
    logged = [row for row in trainer.state.log_history if "probe/concentration_1" in row]
    assert [row["probe/concentration_1"] for row in logged] == [
        pytest.approx(line["concentration"][0], abs=1e-6) for line in lines
    ]


def test_infinite_reward_is_named(tmp_path):
    def broken(completions, **_):
        return [0.0, float("inf")] + [1.0] * (len(completions) - 2)

    trainer = make_trainer(tmp_path, RLVRTrainer, reward=broken, max_steps=1)
    before = [p.detach().clone() for p in trainer.model.parameters()]
    with pytest.raises(ValueError, match="broken gave inf to sample 1"):
        trainer.train()
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))


@pytest.mark.parametrize("cls", [SimKOTrainer, RLVRTrainer])
def test_an_update_whose_loss_is_not_finite_is_skipped(tmp_path, cls):
    trainer = make_trainer(tmp_path, cls, max_steps=1, gradient_accumulation_steps=2)
    before, original = [p.detach().clone() for p in trainer.model.parameters()], trainer._generate_and_score_completions

    def generate(inputs):
        rollout = original(inputs)
        rollout["advantages"][3] = float("nan")
        return rollout

    trainer._generate_and_score_completions = generate
    trainer.train()
    assert trainer.state.log_history[0]["guards/skipped_updates"] == 1
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))


def test_a_head_that_reads_differently_stops_the_run(tmp_path, monkeypatch):
    transform = LogitTransform.apply_
    monkeypatch.setattr(LogitTransform, "apply_", lambda self, logits: transform(self, logits).mul_(1.01))
    with pytest.raises(RuntimeError, match="Qwen3ForCausalLM transforms its logits"):
        make_trainer(tmp_path, max_steps=1).train()


@pytest.mark.parametrize(
    ("device", "options", "by_trl"),
    [
        ("cpu", {}, False),
        ("cpu", {"simko_alpha": 0.0, "simko_top_penalty": 1.0}, True),
        ("cuda", {}, True),
        ("cuda", {"simko_gate_quantile": None}, False),
    ],
)
def test_candidates_take_the_cheaper_way_and_say_so(tmp_path, monkeypatch, caplog, device, options, by_trl):
    """TRL scores and the gated tokens are looked at again, or one pass over the head gives everything."""
    positions = []
    monkeypatch.setattr(
        "simko.adapters.trl.loss.one_pass_candidates",
        lambda method, _: one_pass_candidates(method, torch.device(device)),
    )
    original = trl_utils._ChunkedLogProbFunction.apply

    def apply(hidden, *args):
        positions.append(len(hidden))
        return original(hidden, *args)

    trainer = make_trainer(tmp_path, max_steps=2, num_iterations=2, **options)
    trainer._head_checked = True
    monkeypatch.setattr(trl_utils, "_ChunkedLogProbFunction", type("Counted", (), {"apply": staticmethod(apply)}))
    trainer.train()
    said = "gated tokens are looked at again" if by_trl else "one pass over the head"
    assert [said in r.getMessage() for r in caplog.records if "candidates" in r.getMessage()] == [True]
    assert bool(positions) is by_trl


def test_old_log_probabilities_are_scored_the_same_way(tmp_path, monkeypatch):
    """Two renderings of bfloat16's log-probabilities would make an unchanged policy's ratio other than 1."""
    trainer = make_trainer(tmp_path, model=tiny_model().bfloat16(), max_steps=1, num_iterations=2)
    errors = []

    def compare(method, logp, entropy, inputs):
        errors.append(float((logp - inputs["old_per_token_logps"]).abs()[counted_tokens(inputs)].max()))
        return link_loss(method, logp, entropy, inputs)

    monkeypatch.setattr("simko.adapters.trl.loss.link_loss", compare)
    trainer.train()
    assert errors == [0]


def test_a_head_that_is_never_called_stops_the_run(tmp_path, monkeypatch):
    from contextlib import nullcontext

    monkeypatch.setattr("simko.adapters.trl.trainer.watch_head", lambda observe, top_k: nullcontext())
    with pytest.raises(RuntimeError, match="in 0 calls of its head"):
        make_trainer(tmp_path, max_steps=1).train()


def test_positions_of_the_completions():
    valid = torch.tensor([[True, True, False], [True, False, False]])
    dense = completion_rows(10, valid)  # 2 x (prompt 3 + completion 3 - 1)
    assert dense.tolist() == [[2, 3, 4], [7, 8, 9]]
    packed = completion_rows(3, valid)
    assert packed[valid].tolist() == [0, 1, 2]
    with pytest.raises(RuntimeError, match="7 positions"):
        completion_rows(7, valid)
    whole = torch.ones(2, 3, dtype=torch.bool)  # a prompt of one token: both layouts are the same
    assert completion_rows(6, whole).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("compact", [False, True])
def test_micro_batches_of_nothing_but_truncated_completions(tmp_path, monkeypatch, compact):
    """No token counts in them; a GPU's head is then called on no positions at all."""
    monkeypatch.setattr(trl_utils, "_use_triton", lambda device: compact)
    trainer = make_trainer(tmp_path, max_steps=2, mask_truncated_completions=True, gradient_accumulation_steps=8,
                           per_device_train_batch_size=1, probe_every=1, max_grad_norm=0.0, num_iterations=2)  # fmt: skip
    counted, check = [], GradientCheck.watch(trainer)
    original = trainer._compute_loss
    trainer._compute_loss = lambda model, inputs: (
        counted.append(int(inputs["completion_mask"].sum())) or original(model, inputs)
    )
    trainer.train()
    assert 0 in counted
    assert max(counted) > 0
    assert max(check.errors) < 1e-5


REFUSED = {
    "ratio per sequence": ({"importance_sampling_level": "sequence"}, "simko_top_penalty=1"),
    "vespo": ({"loss_type": "vespo"}, 'simko_penalty="advantage"'),
    "cispo": ({"loss_type": "cispo"}, "epsilon_high=5"),
    "bias correction": ({"use_bias_correction_kl": True, "beta": 0.1}, "set it to False"),
    "alpha": ({"simko_alpha": 1.5}, "alpha"),
    "lambda": ({"simko_top_penalty": 0.6}, "top_penalty.*at least 1"),
    "quantile": ({"simko_gate_quantile": 2.0}, "gate_quantile"),
    "weights": ({"simko_weights": "hard"}, "weights"),
    "penalty": ({"simko_penalty": "both"}, "penalty"),
    "no candidates": ({"simko_top_k": 0}, "simko_top_k"),
    "more candidates than tokens": ({"simko_top_k": 36}, "vocabulary of 35"),
    "skipping under grpo": ({"skip_zero_advantage": True, "loss_type": "grpo"}, "dapo or cispo"),
    "skipping with kl": ({"skip_zero_advantage": True, "beta": 0.1}, "beta 0"),
    "skipping with a bonus": ({"skip_zero_advantage": True, "entropy_coef": 0.01}, "entropy bonus"),
    "skipping with adaptive entropy": ({"skip_zero_advantage": True, "use_adaptive_entropy": True}, "entropy bonus"),
    "skipping with an entropy mask": (
        {"skip_zero_advantage": True, "top_entropy_quantile": 0.2},
        "top_entropy_quantile",
    ),
    "lora on the head": ({"peft": LoraConfig(target_modules=["q_proj", "lm_head"])}, "lm_head"),
    "a trained copy of the head": (
        {"peft": LoraConfig(target_modules=["q_proj"], modules_to_save=["lm_head"])},
        "leave lm_head out",
    ),
    "prompt tuning": ({"peft": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)}, "use LoRA"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_say_the_way_out(tmp_path, name):
    options, way_out = REFUSED[name]
    options = dict(options)
    peft = options.pop("peft", None)
    with pytest.raises(ValueError, match=way_out):
        make_trainer(tmp_path, model=tiny_model(tie=False), trainer={"peft_config": peft}, **options)


ACCEPTED = {
    "positive part alone per sequence": {"importance_sampling_level": "sequence", "simko_top_penalty": 1.0},
    "vespo, lambda on the advantage": {"loss_type": "vespo", "simko_penalty": "advantage"},
    "cispo with its own cap": {"loss_type": "cispo", "epsilon_high": 5.0},
    "cispo, lambda on the advantage": {"loss_type": "cispo", "simko_penalty": "advantage"},
    "bias correction without kl": {"use_bias_correction_kl": True},
    "all tokens as candidates": {"simko_top_k": 35},
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_and_the_way_out_works(tmp_path, name):
    assert isinstance(make_trainer(tmp_path, **ACCEPTED[name]), SimKOTrainer)


def test_skipping_with_a_mixture_of_experts_is_refused(tmp_path):
    with pytest.raises(ValueError, match="auxiliary loss"):
        make_trainer(tmp_path, model=MIXTURES["mixtral"](), skip_zero_advantage=True)


def test_needs_its_own_configuration(tmp_path):
    with pytest.raises(ValueError, match="SimKOConfig"):
        SimKOTrainer(tiny_model(), digit_share, GRPOConfig(str(tmp_path), use_cpu=True, bf16=False))


def test_defaults_are_the_papers(tmp_path):
    a = SimKOConfig(str(tmp_path), use_cpu=True, bf16=False)
    assert (a.simko_alpha, a.simko_top_k, a.simko_top_penalty, a.simko_gate_quantile) == (0.01, 3, 1.1, 0.8)
    assert (a.simko_weights, a.simko_penalty, a.use_bias_correction_kl) == ("uniform", "ratio", False)
    assert (a.skip_zero_advantage, a.probe_every) == (False, 20)
