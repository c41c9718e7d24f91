"""A task that a tiny random model learns in a few updates: which digit follows another."""

import json
import random

import torch

WORDS = ["<pad>", "<eos>", "<user>", "<assistant>", "\n", "+", "=", "?", *"0123456789"]


def make_model(folder, seed=0):
    """Save an untrained two-layer Llama and its tokenizer, one token a word."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.Split(" ", "removed")  # verl needs a token for the line's end
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        eos_token="<eos>",
        additional_special_tokens=["<user>", "<assistant>"],
    )
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} {% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=True, pad_token_id=0, eos_token_id=1,
        bos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)


def make_rows(file, number, seed=0, verifier="last_integer"):
    """Write a parquet file of problems "d + 1 =" with d from 0 to 4, in the columns that verl reads."""
    from datasets import Dataset

    draw = random.Random(seed)
    Dataset.from_list([row(i, draw.randrange(5), verifier) for i in range(number)]).to_parquet(file)


def row(index, digit, verifier):
    """One row: the problem itself is in extra_info."""
    prompt, answer = f"{digit} + 1 =", str(digit + 1)
    problem = {"id": f"successor/{index}", "prompt": prompt, "answer": answer, "metadata": {}}
    return {
        "data_source": "successor",
        "prompt": [{"role": "user", "content": prompt}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": answer},
        "extra_info": {"index": index, "verifier": verifier, "problem": json.dumps(problem)},
    }
