"""Tiny random models that speak printable characters."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

CHAT_TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """One token a printable character, and one for "!\\n"."""
    characters = [chr(i) for i in range(32, 127)] + ["\n", "!\n"]
    vocabulary = {text: i for i, text in enumerate(["<pad>", "<end>", *characters])}
    fast = Tokenizer(BPE(vocabulary, []))
    fast.decoder = decoders.Fuse()
    made = PreTrainedTokenizerFast(tokenizer_object=fast, pad_token="<pad>", eos_token="<end>")
    made.chat_template = CHAT_TEMPLATE
    return made


@pytest.fixture(scope="session")
def tiny_model(tokenizer: Any) -> Callable[[str], Any]:
    """Makes a model of two layers of the family "qwen3" or "llama"."""

    def make(family: str) -> Any:
        torch.manual_seed(0)
        shape: dict[str, Any] = {
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "initializer_range": 0.3,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
        }
        if family == "qwen3":
            return Qwen3ForCausalLM(Qwen3Config(**shape, head_dim=16)).eval()
        return LlamaForCausalLM(LlamaConfig(**shape)).eval()

    return make


@pytest.fixture(scope="module")
def model(tiny_model: Callable[[str], Any]) -> Any:
    return tiny_model("qwen3")
