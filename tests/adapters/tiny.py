"""A tiny character-level causal model, tokenizer, dataset and trainer, all made here."""

import random
from collections import Counter

import torch
from datasets import Dataset
from peft import LoraConfig
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from trl import GRPOConfig

from simko.adapters.trl import MethodConfig, MethodTrainer, RLVRConfig, RLVRTrainer, SimKOConfig, SimKOTrainer

ALPHABET = "0123456789+-*/= abcdefghijklmnop"


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    vocab = {t: i for i, t in enumerate(["<pad>", "<eos>", "<unk>", *ALPHABET])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left"
    )


def tiny_model(*, tie: bool = True, sharpen: float = 2.0, seed: int = 0) -> Qwen3ForCausalLM:
    """Two layers of random weights, sharpened so that rank-1 tokens are sampled often."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(ALPHABET) + 3,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=256,
        tie_word_embeddings=tie,
        eos_token_id=1,
        pad_token_id=0,
        bos_token_id=None,
    )
    model = Qwen3ForCausalLM(config)
    model.generation_config.eos_token_id = 1
    model.generation_config.pad_token_id = 0
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(sharpen if tie else 8 * sharpen)
    return model


def tiny_dataset(rows: int = 16) -> Dataset:
    return Dataset.from_list([{"prompt": f"{a}+{a % 7}=" + "x" * (a % 3), "answer": str(a)} for a in range(rows)])


def digit_share(completions, **_):
    """A reward that an untrained model can earn, different for every completion."""
    return [sum(ch.isdigit() for ch in c) / max(len(c), 1) for c in completions]


TRAINING = {
    "per_device_train_batch_size": 8,
    "num_generations": 4,
    "max_completion_length": 12,
    "report_to": "none",
    "bf16": False,
    "gradient_checkpointing": False,
    "use_cpu": True,
    "disable_tqdm": True,
    "save_strategy": "no",
    "logging_steps": 1,
    "learning_rate": 1e-2,
    "seed": 1,
}


def LORA():
    return LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")


def fixed_rollout(*, env_mask: bool = False):
    """A rollout_func whose completions depend on nothing but the prompt and how often it has come in this call."""

    def rollout(prompts, trainer):
        out, seen = {"prompt_ids": [], "completion_ids": [], "logprobs": None}, Counter()
        for prompt in prompts:
            draw = random.Random(f"{prompt} {seen[prompt]}")
            seen[prompt] += 1
            ids = [draw.choice([5, 6, 7, 18, 19, 20, 21]) for _ in range(draw.randint(7, 12))]
            out["prompt_ids"].append(trainer.processing_class(prompt)["input_ids"])
            out["completion_ids"].append(ids)
        if env_mask:
            out["env_mask"] = [[int(i % 3 != 1) for i in range(len(ids))] for ids in out["completion_ids"]]
        return out

    return rollout


def make_trainer(
    tmp_path, cls=None, *, model=None, dataset=None, reward=digit_share, trainer=None, before=None, **options
):
    """A trainer on the tiny model with TRAINING's options, those given here, and a SimKO that is strong enough to see.

    trainer: further arguments of the trainer's own; before: called on the tokenizer.
    """
    cls = cls or SimKOTrainer
    configs = {SimKOTrainer: SimKOConfig, RLVRTrainer: RLVRConfig, MethodTrainer: MethodConfig}
    config = configs.get(cls, GRPOConfig)
    if cls is SimKOTrainer:
        options = {"simko_alpha": 0.3, "simko_top_penalty": 1.5} | options
    tokenizer = tiny_tokenizer()
    if before is not None:
        before(tokenizer)
    return cls(
        tiny_model() if model is None else model,
        reward,
        config(output_dir=str(tmp_path / "out"), **TRAINING | options),
        train_dataset=tiny_dataset() if dataset is None else dataset,
        processing_class=tokenizer,
        **(trainer or {}),
    )
