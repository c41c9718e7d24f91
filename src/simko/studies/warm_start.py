"""The base models of the studies on puzzles: a tiny Llama that learns a puzzle's moves by imitation, but hardly to plan."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from simko.studies.cached import cached_folder
from simko.studies.puzzles import PUZZLES


@dataclass(frozen=True)
class WarmStart:
    """The model's size and its supervised training. The defaults are the quickstart's."""

    task: str = "operator_puzzle"
    """A name in PUZZLES."""
    layers: int = 2
    """The number of layers."""
    hidden: int = 96
    """The hidden size."""
    heads: int = 4
    """The number of attention heads."""
    steps: int = 700
    """The number of updates."""
    batch: int = 256
    """The rows of an update."""
    learning_rate: float = 2e-3
    """The peak learning rate."""
    unsolved: float = 0.7
    """How much of the traces is at random: see the task's traces."""
    seed: int = 0
    """Of weights and traces."""


def warm_started_model(settings: WarmStart, threads: int = 2) -> Path:
    """The folder of the warm-started model and its tokenizer, which are made (in about a minute) if they are not cached.

    The key of the user's cache is the settings, the number of threads, this file's code, the puzzle's words and the torch
    release.
    """
    content = (
        json.dumps([asdict(settings), threads, PUZZLES[settings.task].words, torch.__version__])
        + Path(__file__).read_text()
    )
    name = f"{settings.task}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
    return cached_folder(name, partial(_make, settings, threads))


def _make(settings: WarmStart, threads: int, folder: Path) -> None:
    previous = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        model, tokenizer = _train(settings)
    finally:
        torch.set_num_threads(previous)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def puzzle_tokenizer(task: str) -> PreTrainedTokenizerFast:
    """A tokenizer with one token for each word of the puzzle, split at spaces."""
    words = ["<pad>", "<eos>", *PUZZLES[task].words]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", padding_side="left", model_max_length=64
    )


def puzzle_model(settings: WarmStart, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """An untrained model of these sizes."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden,
        intermediate_size=8 * settings.hidden // 3,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        max_position_embeddings=64,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def _train(settings: WarmStart) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    tokenizer = puzzle_tokenizer(settings.task)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        model = puzzle_model(settings, tokenizer)
    traces = PUZZLES[settings.task].traces(settings.steps * settings.batch, settings.seed, settings.unsolved)
    prompts = torch.tensor(tokenizer([prompt for prompt, _ in traces])["input_ids"])
    ended = [f"{answer} {tokenizer.eos_token}" for _, answer in traces]
    answers = tokenizer(ended, padding=True, padding_side="right", return_tensors="pt")["input_ids"]
    rows = torch.cat([prompts, answers], 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    warm_up, total = 50, settings.steps
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / warm_up) * max(0.02, 1 - step / total)
    )
    for batch in tqdm(rows.split(settings.batch), desc="warm start", unit="step"):
        logits = model(batch[:, :-1]).logits[:, prompts.shape[1] - 1 :]
        labels = batch[:, prompts.shape[1] :].flatten()
        loss = F.cross_entropy(logits.flatten(0, 1), labels, ignore_index=tokenizer.pad_token_id)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval(), tokenizer
