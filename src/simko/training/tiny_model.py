"""A tiny random model of the architecture of a large one, for dry runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from simko.training.arithmetic import model_config, model_numbers

_SIZES = {
    "num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
    "vocab_size": 64, "max_position_embeddings": 512,
}  # fmt: skip


def write_tiny_model(folder: Path, name: str) -> None:
    """Write a model that any machine can train, and a tokenizer of characters, into the folder.

    ValueError for a model whose config is not here.
    """
    numbers = model_numbers(name)
    if numbers is None:
        raise ValueError(f"the config of {name} is not here")
    kept = {key: value for key, value in numbers.items() if key not in ("layer_types", "head_dim", "rope_scaling")}
    config = model_config(kept | _SIZES)
    vocabulary = ["<pad>", "<end>", "<unk>", *(chr(c) for c in range(33, 33 + config.vocab_size - 3))]
    inner = Tokenizer(models.WordLevel({token: i for i, token in enumerate(vocabulary)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    inner.decoder = decoders.Fuse()
    ends = {"pad_token": "<pad>", "eos_token": "<end>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=inner, **ends).save_pretrained(folder)
    config.pad_token_id, config.eos_token_id, config.bos_token_id = 0, 1, None
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Within, Transformers shows none."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
