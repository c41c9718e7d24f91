"""bfloat16 at the scale of a real model's logits, which reach 60: there TRL's head rounds each logit by up to an eighth."""

from types import SimpleNamespace

import pytest
import torch
import trl.trainer.utils as trl_utils
from float32_twin import Twin
from methods import right
from paper import completion_logits
from tiny import LORA, fixed_rollout, make_trainer, tiny_model
from trl import GRPOTrainer

from simko.adapters.trl import MethodTrainer, RLVRTrainer, SimKOTrainer
from simko.adapters.trl.loss import read_candidates
from simko.objectives import METHODS

MODES = {"autocast": torch.float32, "weights": torch.bfloat16}
HEAD = trl_utils._ChunkedLogProbFunction


@pytest.fixture(params=["one pass", "looked up"])
def way(request, monkeypatch):
    """Both ways to the candidates: the CPU's one pass over the head, and a GPU's second look at the gated tokens."""
    if request.param == "looked up":
        monkeypatch.setattr("simko.adapters.trl.loss.one_pass_candidates", lambda method, device: None)


def large_logits(mode):
    """A tiny model whose logits reach 60, most likely tokens close together."""
    model = tiny_model(tie=False, sharpen=0.5)
    ids = torch.arange(30).view(2, 15) % 35
    with torch.no_grad():
        head = model.get_output_embeddings().weight
        hidden = model.model(ids).last_hidden_state.flatten(0, 1).mean(0)
        head += 25 * hidden / hidden.square().sum()  # the same for every token: large logits, whose differences stay
        assert 50 < model(ids).logits.abs().max() < 75
    return model.to(MODES[mode])


def trainer_of(tmp_path, mode, cls=SimKOTrainer, **options):
    options = {"bf16": True, "max_steps": 2, "max_grad_norm": 0.0, "learning_rate": 1e-3} | options
    return make_trainer(tmp_path, cls, model=large_logits(mode), **options)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.few(2)
def test_simko_trains_where_grpo_does(tmp_path, mode, temperature):
    trainer = trainer_of(tmp_path, mode, temperature=temperature)
    trainer.train()
    assert trainer.state.global_step == 2


def test_logits_of_this_size_are_rounded_by_trl(tmp_path):
    """Else the tests of this file would show nothing: float32 log-probabilities differ from TRL's by over 0.1."""
    model = large_logits("weights")
    labels = torch.arange(64) % 35
    hidden = model.model(torch.arange(64)[None] % 35).last_hidden_state[0]
    weight = model.get_output_embeddings().weight
    rounded = HEAD.apply(hidden, weight, None, labels, 1.0, 64, None, 1.0, ("log_probs",))[0]
    exact = HEAD.apply(hidden.float(), weight.float(), None, labels, 1.0, 64, None, 1.0, ("log_probs",))[0]
    assert (rounded - exact).abs().max() > 0.1


ELSEWHERE = {
    "scale": lambda call: call | {"scale": call["scale"] * 1.01},
    "temperature": lambda call: call | {"temperature": call["temperature"] * 0.99},
    "cap": lambda call: call | {"softcap": 70.0},
    "bias": lambda call: call | {"bias": torch.linspace(-0.1, 0.1, len(call["weight"])).to(call["weight"].dtype)},
    "adapter": lambda call: call | {"weight": call["weight"] + 0.01 * torch.ones(35, 2).to(call["weight"].dtype)
                                    @ torch.linspace(-1, 1, 64).view(2, 32).to(call["weight"].dtype)
                                    * torch.linspace(0, 1, 35)[:, None].to(call["weight"].dtype)},
}  # fmt: skip


@pytest.mark.parametrize("mode", [*MODES, "fp32"])
@pytest.mark.parametrize("difference", ELSEWHERE)
@pytest.mark.few(5)
def test_a_head_that_simko_cannot_read_is_refused(tmp_path, monkeypatch, mode, difference):
    names = ["hidden", "weight", "bias", "labels", "temperature", "chunk_size", "softcap", "scale", "outputs"]

    class Elsewhere:
        @staticmethod
        def apply(*args):
            return HEAD.apply(*ELSEWHERE[difference](dict(zip(names, args, strict=True))).values())

    monkeypatch.setattr(trl_utils, "_ChunkedLogProbFunction", Elsewhere)
    options = {"bf16": False} if mode == "fp32" else {}
    model_mode = "autocast" if mode == "fp32" else mode
    with pytest.raises(RuntimeError, match="reads other logits off the LM head than TRL scores"):
        trainer_of(tmp_path, model_mode, **options).train()


def test_a_call_without_tokens_is_no_check_of_the_head(tmp_path):
    """A GPU's head scores counted tokens alone, of which a micro-batch may have none."""
    trainer = make_trainer(tmp_path)
    call = SimpleNamespace(labels=torch.zeros(0, dtype=torch.long), logp_error=lambda rows: 0.0)
    trainer._check_head(call)
    other = SimpleNamespace(labels=torch.zeros(3, dtype=torch.long), logp_error=lambda rows: 0.5)
    with pytest.raises(RuntimeError, match="reads other logits"):
        trainer._check_head(other)


def log_ratios(trainer):
    """Of counted tokens at each update, as a list of tensors that fills while training. The policy must not move."""
    seen, loss = [], trainer._compute_loss
    score, current = trainer._get_per_token_logps_and_entropies, {}

    def scored(*args, **kwargs):
        answer = score(*args, **kwargs)
        current["logp"] = answer[0]
        return answer

    def compute_loss(model, inputs):
        value = loss(model, inputs)
        old = inputs["old_per_token_logps"]
        seen.append((current["logp"].detach() - old)[inputs["completion_mask"].bool()])
        return value

    trainer._get_per_token_logps_and_entropies, trainer._compute_loss = scored, compute_loss
    return seen


@pytest.mark.parametrize(
    ("generation", "accumulation", "iterations", "warmup"), [(2, 3, 1, 1), (3, 4, 1, 1), (3, 2, 1, 1), (2, 4, 3, 2)]
)
@pytest.mark.few(2)
def test_the_ratio_is_one_where_an_update_spans_rollouts(tmp_path, generation, accumulation, iterations, warmup):
    """A rollout that reaches into the first update after the warm-up is scored as that update scores."""
    trainer = trainer_of(
        tmp_path, "autocast", per_device_train_batch_size=4, steps_per_generation=generation, num_iterations=iterations,
        gradient_accumulation_steps=accumulation, grpo_warmup_steps=warmup, learning_rate=0.0, max_steps=4,
    )  # fmt: skip
    ratios = log_ratios(trainer)
    trainer.train()
    assert all(r.eq(0).all() for r in ratios)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["simko", "warm-up ends inside a rollout", "nsr"])
@pytest.mark.few(4)
def test_the_ratio_of_an_unchanged_policy_is_one(tmp_path, mode, name):
    """Old, reference and current log-probabilities come from one rendering, also where SimKO starts inside a rollout."""
    cls, options = SimKOTrainer, {}
    if name == "nsr":
        cls, options = MethodTrainer, {"method": "nsr", "reward": some_right}
    if name.startswith("warm-up"):
        options = {"grpo_warmup_steps": 1}
    trainer = trainer_of(tmp_path, mode, cls, num_iterations=2, learning_rate=0.0, max_steps=4, **options)
    ratios = log_ratios(trainer)
    trainer.train()
    assert len(ratios) == 4
    assert all(r.eq(0).all() for r in ratios)


def some_right(completions, **_):
    return [float("1" in c) for c in completions]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("mode", MODES)
def test_rank_one_is_a_token_that_the_sampler_ranks_first(tmp_path, monkeypatch, mode):
    """The sampler's rounded logits tie where float32 products do not: rank 1 is one of those that it puts first."""
    seen = []
    monkeypatch.setattr(
        "simko.adapters.trl.loss.read_candidates", lambda *args: seen.append(read_candidates(*args)) or seen[-1]
    )
    trainer = trainer_of(tmp_path, mode, max_steps=1, simko_gate_quantile=None)
    batches, loss = [], trainer._compute_loss

    def compute_loss(model, inputs):
        batches.append(inputs)
        with torch.no_grad(), trainer.accelerator.autocast():
            sampler.append(completion_logits(trainer.model, inputs, 1.0))
        return loss(model, inputs)

    sampler = []
    trainer._compute_loss = compute_loss
    trainer.train()
    (tokens,), (logits,), (inputs,) = seen, sampler, batches
    highest = logits.amax(-1)
    chosen = logits.gather(-1, inputs["completion_ids"][..., None]).squeeze(-1)
    spacing = 2.0 ** (highest.abs().log2().floor() - 7)  # of bfloat16's numbers
    first = tokens.is_top1 & tokens.scored
    assert first.any()
    assert (chosen >= highest - spacing)[first].all()
    clear = tokens.scored & (logits.topk(2, -1).values.diff(dim=-1).squeeze(-1) < -2 * spacing)
    assert torch.equal((chosen == highest)[clear], tokens.is_top1[clear])
    assert (logits == highest[..., None]).sum(-1)[inputs["completion_mask"].bool()].max() > 1  # ties there are


@pytest.mark.parametrize("mode", MODES)
def test_grpo_is_left_to_the_bit_with_the_probe_on(tmp_path, mode):
    weights = []
    for cls in (GRPOTrainer, RLVRTrainer):
        trainer = trainer_of(tmp_path / cls.__name__, mode, cls, trainer={"rollout_func": fixed_rollout()})
        trainer.train()
        weights.append(list(trainer.model.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


ROWS = {
    "simko": {
        "alpha": 0.9,
        "top_penalty": 3.0,
        "gate_quantile": None,
    },  # a gate would pass on a rounding of the entropy
    "nsr": {},
    "pkpo": {"k": 2},
}


@pytest.mark.parametrize(("mode", "lora"), [("autocast", True), *((mode, False) for mode in (*MODES, "fp32"))])
@pytest.mark.parametrize("name", [*ROWS, "simko, looked up"])
@pytest.mark.few(4)
def test_the_gradient_is_float32s_but_for_rounding(tmp_path, monkeypatch, name, mode, lora):
    """In bfloat16 off by no more than the formula on the model's own logits in the same precision, and a little."""
    if name == "simko, looked up":
        monkeypatch.setattr("simko.adapters.trl.loss.one_pass_candidates", lambda method, device: None)
        name = "simko"
    trainer = trainer_of(
        tmp_path, "autocast" if mode == "fp32" else mode, MethodTrainer, method=name, method_options=ROWS[name],
        bf16=mode != "fp32", reward=right,
        trainer={"rollout_func": fixed_rollout(), "peft_config": LORA() if lora else None},
    )  # fmt: skip
    twin = Twin(trainer, METHODS[name].with_options(**ROWS[name]))
    trainer.train()
    assert len(twin.errors) == 2
    for error, plain in zip(twin.errors, twin.plain_errors, strict=True):
        assert error < (1e-4 if mode == "fp32" else 1.25 * plain + 0.05)
