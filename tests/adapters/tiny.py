"""A tiny character-level causal model, tokenizer and dataset, all made here; and SimKO in plain full logits."""

import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

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


TRAINING = dict(
    per_device_train_batch_size=8,
    num_generations=4,
    max_completion_length=12,
    report_to="none",
    bf16=False,
    gradient_checkpointing=False,
    use_cpu=True,
    disable_tqdm=True,
    save_strategy="no",
    logging_steps=1,
    learning_rate=1e-2,
    seed=1,
)
