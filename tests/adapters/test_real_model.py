"""SimKO and two rows with a loss of their own on SmolLM2-135M, whose logits reach 45, in float32 and in bfloat16.

Just before each optimizer step the gradient is compared with that of the row's policy_loss on the full logits of a
float32 copy of the weights. bfloat16 rounds the activations of 30 layers, so that the model's own gradient is several
per cent off, and half of it where a single response carries it: ours may be off by as much and a little more.
"""

import pytest
import torch
from datasets import Dataset
from float32_twin import Twin
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer

from simko.adapters.trl import MethodConfig, MethodTrainer, SimKOConfig, SimKOTrainer
from simko.objectives import METHODS
from simko.studies.smollm2 import smollm2

OPTIONS = {"simko": {"alpha": 0.1, "top_penalty": 1.5}, "nsr": {}, "pkpo": {"k": 2}}
DTYPES = {"fp32": torch.float32, "autocast": torch.float32, "weights": torch.bfloat16}


@pytest.fixture(scope="module")
def smol():
    return smollm2()


def odd_length(completions, **_):
    """Mixed in most groups."""
    return [float(len(c[0]["content"]) % 2) for c in completions]


def make(smol, tmp_path, name, mode, *, lora=False, **options):
    questions = [f"What is {a} times {b}? Answer with one number." for a in range(3, 11) for b in (4, 7)]
    config, trainer = (SimKOConfig, SimKOTrainer) if name == "simko" else (MethodConfig, MethodTrainer)
    own = {f"simko_{k}": v for k, v in OPTIONS[name].items()}
    args = config(
        output_dir=str(tmp_path / "out"), per_device_train_batch_size=8, num_generations=4, max_completion_length=8,
        max_steps=2, learning_rate=1e-5, bf16=mode != "fp32", use_cpu=True, gradient_checkpointing=False,
        max_grad_norm=0.0, save_strategy="no", logging_steps=1, report_to="none", disable_tqdm=True, seed=1,
        **(own if name == "simko" else {"method": name, "method_options": OPTIONS[name]}), **options,
    )  # fmt: skip
    return trainer(
        AutoModelForCausalLM.from_pretrained(smol, dtype=DTYPES[mode]),
        odd_length,
        args,
        train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": q}]} for q in questions]),
        processing_class=AutoTokenizer.from_pretrained(smol),
        peft_config=LoraConfig(r=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM") if lora else None,
    )


@pytest.mark.slow
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("mode", list(DTYPES))
@pytest.mark.parametrize("name", [*OPTIONS, "simko, looked up"])
def test_gradients_of_a_real_model(smol, tmp_path, monkeypatch, name, mode, lora):
    if name == "simko, looked up":  # a GPU's way to the candidates
        monkeypatch.setattr("simko.adapters.trl.loss.one_pass_candidates", lambda method, device: None)
        name = "simko"
    trainer = make(smol, tmp_path, name, mode, lora=lora)
    twin = Twin(trainer, METHODS[name].with_options(**OPTIONS[name]))
    trainer.train()
    print(f"\n{name} {mode} {'lora' if lora else 'full'}: {twin.errors}, plain {twin.plain_errors}")
    assert len(twin.errors) == 2
    for error, plain in zip(twin.errors, twin.plain_errors, strict=True):
        assert error < (1e-3 if mode == "fp32" else 1.25 * plain + 0.02)
