"""The base models of the studies on pretrained models: a short supervised start teaches the form of a puzzle's answers.

Prompts and responses are plain text in the model's own tokens, without a chat template.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from simko.studies.cached import cached_folder
from simko.studies.loop import Rollout, score
from simko.studies.puzzles import PUZZLES
from simko.studies.smollm2 import smollm2

_MICRO_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class SupervisedStart:
    """A pretrained model, and its training on traces of a puzzle."""

    task: str
    """A name in PUZZLES."""
    model: str
    """As `pretrained_model` takes it."""
    steps: int
    """The number of updates."""
    batch: int
    """The traces of an update."""
    learning_rate: float
    """AdamW's peak learning rate; it rises over the first twentieth, and falls to 0."""
    unsolved: float
    """How much of the traces is at random: see the task's traces."""
    seed: int
    """Of the traces."""


def pretrained_model(model: str) -> Path:
    """The folder of a model: "smollm2" (see `smollm2`), a folder, or the hub's id, which is fetched if it is not cached."""
    if model == "smollm2":
        return smollm2()
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(model, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model"]))


def supervised_model(settings: SupervisedStart, threads: int = 2) -> Path:
    """The folder of the trained model and its tokenizer, which are made if they are not cached.

    The key of the user's cache is the settings, the pretrained weights, the number of threads, this file's code and the torch
    release.
    """
    pretrained = pretrained_model(settings.model)
    key = hashlib.sha256(Path(__file__).read_bytes())
    key.update(json.dumps([asdict(settings), threads, torch.__version__]).encode())
    for weights in sorted(pretrained.glob("*.safetensors")):
        with weights.open("rb") as file:
            key.update(hashlib.file_digest(file, "sha256").digest())
    name = f"{settings.task}-supervised-{key.hexdigest()[:16]}"
    return cached_folder(name, partial(_make, settings, pretrained, threads))


def _make(settings: SupervisedStart, pretrained: Path, threads: int, folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(pretrained, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(pretrained)
    traces = PUZZLES[settings.task].traces(settings.steps * settings.batch, settings.seed, settings.unsolved)
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
    steps = settings.steps
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, 20 * (step + 1) / steps) * (1 - step / steps)
    )
    previous = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for step in tqdm(range(steps), desc="supervised start", unit="step"):
            batch = as_rollout(tokenizer, traces[step * settings.batch : (step + 1) * settings.batch])
            for places in torch.arange(settings.batch).split(_MICRO_BATCH):
                part = batch.rows(places)
                loss = -score(model, part, 1).logp[part.mask].sum() / batch.mask.sum()
                loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    finally:
        torch.set_num_threads(previous)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def as_rollout(tokenizer: PreTrainedTokenizerBase, traces: Sequence[tuple[str, str]]) -> Rollout:
    """Pairs of prompt and response in the tokens in which the loop samples; the log-probabilities are 0."""
    prompts = tokenizer([prompt for prompt, _ in traces], padding=True, padding_side="left", return_tensors="pt")
    ended = [f" {response}{tokenizer.eos_token}" for _, response in traces]
    responses = tokenizer(ended, add_special_tokens=False, padding=True, padding_side="right", return_tensors="pt")
    tokens, mask = responses["input_ids"], responses["attention_mask"].bool()
    return Rollout(prompts["input_ids"], prompts["attention_mask"].bool(), tokens, mask, torch.zeros(tokens.shape))
