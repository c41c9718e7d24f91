"""The gradient that SimKOTrainer applies is the paper's, whatever TRL does around it.

Every test but the last ones trains for real and compares, just before each optimizer step, the parameters' gradient
with that of the equations written out on full logits (paper.py).
"""

import pytest
import torch
import trl.trainer.utils as trl_utils
from paper import GradientCheck, relative_error
from tiny import LORA, fixed_rollout, make_trainer, tiny_model
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    FalconH1Config,
    FalconH1ForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    HyperCLOVAXConfig,
    HyperCLOVAXForCausalLM,
    PhiConfig,
    PhiForCausalLM,
)
from trl import GRPOTrainer

from simko.adapters.trl import RLVRTrainer

LOSSES = ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"]
PENALTIES = [
    (loss, penalty) for loss in LOSSES for penalty in ("ratio", "advantage") if (loss, penalty) != ("vespo", "ratio")
]


def trained(tmp_path, **options) -> GradientCheck:
    """Two steps; the check must have seen both, and tokens of both kinds."""
    trainer = make_trainer(tmp_path, **{"max_steps": 2, "max_grad_norm": 0.0} | options)
    check = GradientCheck.watch(trainer)
    trainer.train()
    assert len(check.errors) == trainer.args.max_steps
    return check


@pytest.fixture(params=["one pass", "looked up"])
def way(request, monkeypatch):
    """Both ways to the candidates: the CPU's one pass over the head, and a GPU's second look at the gated tokens."""
    if request.param == "looked up":
        monkeypatch.setattr("simko.adapters.trl.loss.one_pass_candidates", lambda method, device: None)


def assert_paper(check, tolerance=1e-5):
    assert check.raised > 5
    assert check.penalised > 0
    assert max(check.errors) < tolerance
    assert min(check.from_grpo) > 0.02  # what a gradient of plain GRPO would miss


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("loss_type", "penalty"), PENALTIES)
@pytest.mark.few(6)
def test_off_policy_with_stored_old_log_probabilities(tmp_path, loss_type, penalty):
    check = trained(
        tmp_path,
        num_iterations=2,
        epsilon_high=None if loss_type != "cispo" else 3.0,
        loss_type=loss_type,
        simko_penalty=penalty,
    )
    assert_paper(check)
    assert check.off_policy > 50
    assert check.clipped > 5


@pytest.mark.parametrize("loss_type", LOSSES)
@pytest.mark.few(2)
def test_gradient_accumulation(tmp_path, loss_type):
    check = trained(
        tmp_path,
        loss_type=loss_type,
        simko_penalty="advantage",
        num_iterations=2,
        gradient_accumulation_steps=4,
        per_device_train_batch_size=2,
    )
    assert_paper(check)
    assert check.clipped > 5


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("penalty", ["ratio", "advantage"])
@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.few(3)
def test_at_trl_defaults(tmp_path, penalty, accumulation):
    """dapo, one iteration: TRL stores no old log-probabilities and takes those of the current pass."""
    assert_paper(trained(tmp_path, simko_penalty=penalty, gradient_accumulation_steps=accumulation))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("penalty", ["ratio", "advantage"])
def test_penalty_alone_is_not_cancelled(tmp_path, penalty):
    check = trained(tmp_path, simko_alpha=0.0, simko_penalty=penalty, simko_gate_quantile=None)
    assert max(check.errors) < 1e-5
    assert min(check.from_grpo) > 0.01


OPTIONS = {
    "the paper's own values": {"simko_alpha": 0.01, "simko_top_penalty": 1.1},
    "softmax weights": {"simko_weights": "softmax"},
    "no gate": {"simko_gate_quantile": None, "simko_penalty": "advantage"},
    "gate at 0": {"simko_gate_quantile": 0.0},
    "one candidate": {"simko_top_k": 1},
    "many candidates": {"simko_top_k": 20},
    "alpha 1": {"simko_alpha": 1.0},
    "a strong penalty on rank 1": {"simko_top_penalty": 3.0},
    "temperature": {"temperature": 0.7},
    "upper clip": {"epsilon": 0.1, "epsilon_high": 0.4},
    "off-policy mask": {
        "off_policy_mask_threshold": 0.001,
        "epsilon": 0.4,
        "simko_top_penalty": 20.0,
        "simko_gate_quantile": None,
    },
    "truncated completions masked": {"mask_truncated_completions": True, "simko_gate_quantile": 0.3},
    "head in float32": {"cast_lm_head_to_fp32": True},
    "gradient checkpointing": {"gradient_checkpointing": True},
}


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.few(8)
def test_options(tmp_path, name):
    check = trained(tmp_path, num_iterations=2, **OPTIONS[name])
    assert check.raised > 0
    assert max(check.errors) < 1e-5
    assert min(check.from_grpo) > (0.02 if name != "the paper's own values" else 1e-3)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("tie", [True, False])
def test_tied_and_untied_head(tmp_path, tie):
    assert_paper(trained(tmp_path, model=tiny_model(tie=tie), temperature=0.7, num_iterations=2))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("loss_type", "penalty"), [("dapo", "ratio"), ("grpo", "advantage"), ("cispo", "ratio")])
@pytest.mark.few(2)
def test_kl_to_a_reference(tmp_path, loss_type, penalty):
    """The KL keeps the gradient of the true log-probability: SimKO's shift reaches the surrogate alone."""
    tiny_model(seed=5).save_pretrained(tmp_path / "reference")
    model = tiny_model()
    model.config._name_or_path = str(tmp_path / "reference")
    assert_paper(trained(tmp_path, model=model, loss_type=loss_type, simko_penalty=penalty, beta=0.5, epsilon_high=3.0))


@pytest.mark.usefixtures("way")
def test_tool_tokens_are_neither_gated_nor_counted(tmp_path):
    check = trained(
        tmp_path, num_iterations=2, simko_gate_quantile=0.3, trainer={"rollout_func": fixed_rollout(env_mask=True)}
    )
    assert_paper(check)


@pytest.mark.parametrize("loss_type", ["grpo", "luspo", "sapo"])
def test_positive_part_under_a_ratio_per_sequence(tmp_path, loss_type):
    check = trained(
        tmp_path,
        loss_type=loss_type,
        importance_sampling_level="sequence",
        simko_top_penalty=1.0,
        num_iterations=2,
        learning_rate=1e-3,
    )
    assert check.off_policy > 10
    assert check.raised > 5
    assert max(check.errors) < 1e-5
    assert min(check.from_grpo) > 0.02


@pytest.mark.usefixtures("way")
def test_lora(tmp_path):
    check = trained(tmp_path, num_iterations=2, trainer={"peft_config": LORA()})
    assert_paper(check)
    assert check.applied[0].numel() < 5000


@pytest.mark.usefixtures("way")
def test_compacted_head(tmp_path, monkeypatch):
    """On a GPU, TRL's head scores the completion tokens alone; the layout is tried here without one."""
    monkeypatch.setattr(trl_utils, "_use_triton", lambda device: True)
    assert_paper(trained(tmp_path, num_iterations=2, simko_weights="softmax"))


SMALL = {
    "vocab_size": 35,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "eos_token_id": 1,
    "pad_token_id": 0,
    "bos_token_id": None,
}
ATTENTION = {"num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 64}
FAMILIES = {
    "logit_scale": lambda: CohereForCausalLM(CohereConfig(**SMALL, **ATTENTION, logit_scale=0.5)),
    "final_logit_softcapping": lambda: Gemma2ForCausalLM(
        Gemma2Config(**SMALL, **ATTENTION, head_dim=16, final_logit_softcapping=2.0)
    ),
    "lm_head_multiplier": lambda: FalconH1ForCausalLM(
        FalconH1Config(
            **SMALL,
            **ATTENTION,
            head_dim=16,
            lm_head_multiplier=0.6,
            mamba_d_ssm=32,
            mamba_n_heads=4,
            mamba_d_head=8,
            mamba_n_groups=1,
            mamba_d_state=8,
            mamba_chunk_size=8,
        )
    ),
    "logits_scaling divides": lambda: GraniteForCausalLM(GraniteConfig(**SMALL, **ATTENTION, logits_scaling=3.0)),
    "logits_scaling multiplies": lambda: HyperCLOVAXForCausalLM(
        HyperCLOVAXConfig(**SMALL, **ATTENTION, logits_scaling=0.4)
    ),
    "bias": lambda: PhiForCausalLM(PhiConfig(**SMALL, num_attention_heads=2, intermediate_size=64)),
}


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.few(4)
def test_logit_transforms(tmp_path, family):
    torch.manual_seed(0)
    model = FAMILIES[family]()
    head = model.get_output_embeddings()
    with torch.no_grad():
        head.weight.mul_(12)
        if head.bias is not None:
            head.bias.normal_()
    check = trained(
        tmp_path, model=model, temperature=0.9, simko_weights="softmax", simko_gate_quantile=0.3, max_steps=1
    )
    assert_paper(check, tolerance=3e-5)


EXACT = {
    "defaults": {},
    "accumulated": {"gradient_accumulation_steps": 2},
    "two iterations": {"num_iterations": 2, "simko_penalty": "advantage"},
    "kl": {"beta": 0.1, "loss_type": "grpo"},
    "lora": {"trainer": True, "num_iterations": 2},
    "rlvr": {"num_iterations": 2},
}


def run(tmp_path, cls, options):
    model = tiny_model()
    model.save_pretrained(tmp_path / "model")
    model.config._name_or_path = str(tmp_path / "model")
    if options.get("trainer"):
        options = options | {"trainer": {"peft_config": LORA()}}
    trainer = make_trainer(tmp_path, cls, model=model, max_steps=3, **options)
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    return losses, [p.detach() for p in trainer.model.parameters()]


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.few(2)
def test_without_its_two_parts_it_is_grpo_bit_for_bit(tmp_path, name):
    cls = "rlvr" if name.startswith("rlvr") else "simko"
    options = EXACT[name]
    plain = {k: v for k, v in options.items() if not k.startswith("simko")}
    ours = options | {"simko_alpha": 0.0, "simko_top_penalty": 1.0} if cls == "simko" else plain
    losses, weights = run(tmp_path / "ours", None if cls == "simko" else RLVRTrainer, ours)
    their_losses, their_weights = run(tmp_path / "trl", GRPOTrainer, plain | {"use_bias_correction_kl": False})
    assert len(losses) == 3
    assert losses == their_losses
    assert all(torch.equal(a, b) for a, b in zip(weights, their_weights, strict=True))


def gradient_of_fixed_responses(tmp_path, **options):
    check = trained(tmp_path, max_steps=1, trainer={"rollout_func": fixed_rollout()}, **options)
    assert check.raised > 0
    return check.applied[0]


@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "dr_grpo", "luspo", "bnpo"])
@pytest.mark.few(2)
def test_size_of_the_micro_batch_does_not_matter(tmp_path, loss_type):
    """but for bnpo, which divides by each micro-batch's own tokens."""
    whole = gradient_of_fixed_responses(tmp_path / "a", loss_type=loss_type, per_device_train_batch_size=8)
    split = gradient_of_fixed_responses(
        tmp_path / "b", loss_type=loss_type, per_device_train_batch_size=2, gradient_accumulation_steps=4
    )
    error = relative_error(split, whole)
    assert error > 1e-3 if loss_type == "bnpo" else error < 1e-5
