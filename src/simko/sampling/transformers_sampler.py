"""Sampling with Transformers' `generate`. A prompt is computed once for all of its samples."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from simko.diagnostics import refuse_broken_weights
from simko.records import FinishReason, Problem, Sample
from simko.sampling.batches import Batch, lay_out
from simko.sampling.digest import check_folder, check_placement, model_digest, model_identity
from simko.sampling.prompts import encode
from simko.sampling.protocol import SamplingSettings, Wanted, check_wanted
from simko.sampling.roomy_cache import select_with_room


class TransformersSampler:
    """Samples from a causal language model of Transformers.

    Of the model's generation defaults only the end tokens apply. Generation ends at a token whose text contains a stop
    string. A stop string that spans tokens is searched for every max_new_tokens / 4 tokens (at least 16).

    A resumed run draws the same missing samples as an uninterrupted one on the same hardware. The model's mode, its
    generation defaults and torch's random state are restored.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer.
        name: the model's name in `identity`.
        weights: the digest or revision in `identity`; None for a digest of the model's tensors.
        tokenizer_and_config: the digest of a checkpoint's other files in `identity`.
        batch_size: sequences generated together.
        share_prefix: compute the prompt once and copy its key-value cache for all samples. Turn it off for a model whose cache
            cannot be copied.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str = "model",
        weights: str | None = None,
        tokenizer_and_config: str | None = None,
        batch_size: int = 64,
        share_prefix: bool = True,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}: give at least 1")
        refuse_broken_weights(model, name)
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.weights = weights
        self.tokenizer_and_config = tokenizer_and_config
        self.batch_size = batch_size
        self.share_prefix = share_prefix

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        revision: str | None = None,
        device: str | None = None,
        dtype: str = "auto",
        batch_size: int = 64,
        share_prefix: bool = True,
    ) -> "TransformersSampler":
        """A sampler over a checkpoint folder or hub id.

        Args:
            path: the folder or id.
            revision: the revision on the hub.
            device: None for a GPU if there is one.
            dtype: the weights' type; "auto" for the checkpoint's own.
            batch_size: as above.
            share_prefix: as above.

        Raises:
            ValueError: no model is at the path, or its weights cannot be of this type or on this device.
        """
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        check_placement(dtype, device)
        check_folder(path)
        model: Any = AutoModelForCausalLM.from_pretrained(path, revision=revision, dtype=dtype)
        return cls(
            model.to(device),
            AutoTokenizer.from_pretrained(path, revision=revision),
            **model_identity(path, revision)._asdict(),
            batch_size=batch_size,
            share_prefix=share_prefix,
        )

    @property
    def identity(self) -> Mapping[str, Any]:
        """See `Sampler`. It includes the batch size, because the random numbers of a batch are drawn together."""
        return {
            "backend": "transformers",
            "model": self.name,
            "weights": self.weights or model_digest(self.model),
            "tokenizer_and_config": self.tokenizer_and_config,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "batch_size": self.batch_size,
        }

    def sample(
        self, problems: Sequence[Problem], wanted: Wanted, settings: SamplingSettings, *, seed: int
    ) -> Iterator[list[Sample]]:
        """See `Sampler.sample`: one list per batch, the first indices of all problems first, longest prompts first."""
        check_wanted(problems, wanted)
        prompts = {problem.id: encode(self.tokenizer, problem, settings.chat) for problem in problems}
        ordered = sorted(prompts, key=lambda i: (-len(prompts[i]), i))
        generation = _Generation.of(self.model, self.tokenizer, settings)
        for batch in lay_out(ordered, wanted, self.batch_size):
            batch_seed = batch.seed(seed)
            ids = [prompts[i] for i in batch.problem_ids]
            new_tokens = self._generate(ids, batch.counts, generation, batch_seed)
            yield self._samples(batch, prompts, new_tokens, generation, batch_seed)

    def _generate(
        self, prompts: Sequence[list[int]], counts: Sequence[int], generation: "_Generation", seed: int
    ) -> torch.Tensor:
        """The new tokens of counts[j] rows per prompts[j], padded on the right: [rows, <= max_new_tokens] on the CPU."""
        width = max(map(len, prompts))
        rows = [[generation.pad_token] * (width - len(ids)) + ids for ids in prompts]
        seen = [[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts]
        device = self.model.device
        ids, mask = torch.tensor(rows, device=device), torch.tensor(seen, device=device)
        copies = torch.arange(len(prompts), device=device).repeat_interleave(torch.tensor(counts, device=device))
        gpus = range(torch.cuda.device_count()) if device.type == "cuda" else ()
        with torch.random.fork_rng(devices=gpus), torch.no_grad(), _for_generation(self.model, generation.config):
            torch.manual_seed(seed)
            prefix = self._prefix(ids, mask) if self.share_prefix and width > 1 else {}
            return self._continue(ids, mask, copies, prefix, generation)[:, width:].cpu()

    def _continue(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor,
        copies: torch.Tensor,
        cache: dict[str, Any],
        generation: "_Generation",
    ) -> torch.Tensor:
        """`ids[copies]` with up to max_new_tokens new tokens, padded on the right.

        `generate` runs a whole batch to its longest row. It is therefore called for a part of the tokens at a time, on the
        rows that have not ended.
        """
        most, width = generation.config.max_new_tokens, ids.shape[1]
        total = width + most
        rows = torch.full((len(copies), total), generation.pad_token, device=ids.device)
        rows[:, :width] = ids[copies]
        going, goes_on = torch.arange(len(copies), device=ids.device), copies
        ids, mask = ids[goes_on], mask[goes_on]
        while len(going) and ids.shape[1] < total:
            part = min(max(16, most // 4), total - ids.shape[1])
            for kept in cache.values():
                select_with_room(kept, goes_on, part)
            output = self.model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=part, return_dict_in_generate=True, **cache
            )
            new = output.sequences[:, ids.shape[1] :]
            rows[going, ids.shape[1] : output.sequences.shape[1]] = new
            ended = torch.isin(new, generation.end_tokens.to(new.device)).any(1)
            if generation.stop:
                texts = self._decode(output.sequences[:, width:].tolist())
                ended |= torch.tensor([generation.cut(text) is not None for text in texts], device=ended.device)
            goes_on = (~ended).nonzero().flatten()
            going, ids = going[goes_on], output.sequences[goes_on]
            mask = torch.cat([mask[goes_on], mask.new_ones(len(goes_on), new.shape[1])], 1)
            name = "cache" if "cache" in output else "past_key_values"  # renamed in Transformers 5.24
            cache = {name: output[name]} if self.share_prefix else {}
        return rows

    def _prefix(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, Any]:
        """The cache of all prompt tokens but the last, under the model's name for it."""
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        output = self.model(
            input_ids=ids[:, :-1],
            attention_mask=mask[:, :-1],
            position_ids=positions[:, :-1],
            use_cache=True,
            logits_to_keep=1,
        )
        name = "cache" if "cache" in output else "past_key_values"  # renamed in Transformers 5.24
        return {name: output[name]}

    def _samples(
        self,
        batch: Batch,
        prompts: Mapping[str, list[int]],
        new_tokens: torch.Tensor,
        generation: "_Generation",
        seed: int,
    ) -> list[Sample]:
        ended = torch.isin(new_tokens, generation.end_tokens)
        width = new_tokens.shape[1]
        lengths = torch.where(ended.any(1), ended.int().argmax(1) + 1, width).tolist()
        kept = [row[:length] for row, length in zip(new_tokens.tolist(), lengths, strict=True)]
        samples = []
        for (problem_id, index), tokens, text, at_end in zip(
            batch.keys, kept, self._decode(kept), ended.any(1).tolist(), strict=True
        ):
            cut, count = generation.cut(text), len(tokens)
            if cut is not None and not at_end:  # the stop string spans tokens: count up to its last one
                count = 1 + bisect_left(
                    range(1, count), True, key=lambda n: generation.cut(self._decode([tokens[:n]])[0]) is not None
                )
            finish: FinishReason = "stop" if at_end or cut is not None else "length"
            samples.append(Sample(problem_id, index, text[:cut], count, finish, len(prompts[problem_id]), seed))
        return samples

    def _decode(self, rows: list[list[int]]) -> list[str]:
        texts: list[str] = self.tokenizer.batch_decode(
            rows, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return texts


@dataclass(frozen=True)
class _Generation:
    """Settings of `generate`, none of which is left to the model's defaults."""

    config: GenerationConfig
    """What `generate` reads."""
    end_tokens: torch.Tensor
    """[end tokens], on the CPU."""
    pad_token: int
    """The id that pads rows."""
    stop: tuple[str, ...]
    """Strings that end a response."""

    def cut(self, text: str) -> int | None:
        """Where the first stop string begins; None without one."""
        return min((at for s in self.stop if (at := text.find(s)) >= 0), default=None)

    @classmethod
    def of(cls, model: Any, tokenizer: Any, settings: SamplingSettings) -> "_Generation":
        ends = _model_end_tokens(model, tokenizer)
        pad_token = tokenizer.pad_token_id
        if pad_token is None:
            pad_token = ends[0] if ends else 0
        ends = sorted({*ends, *stop_tokens(tokenizer, settings.stop)})
        drawing = {"temperature": settings.temperature, "top_p": settings.top_p, "top_k": settings.top_k}
        config = GenerationConfig(
            do_sample=settings.do_sample,
            max_new_tokens=settings.max_new_tokens,
            eos_token_id=ends or None,
            pad_token_id=pad_token,
            use_cache=True,
            **(drawing if settings.do_sample else {}),
        )
        return cls(config, torch.tensor(ends, dtype=torch.long), pad_token, settings.stop)


@contextmanager
def _for_generation(model: Any, generation: GenerationConfig) -> Iterator[None]:
    """Puts the model in evaluation mode with our generation settings, and restores both."""
    training, defaults = model.training, model.generation_config
    model.eval()
    model.generation_config = generation
    try:
        yield
    finally:
        model.generation_config = defaults
        model.train(training)


def _model_end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """The end tokens of the tokenizer and of the model's generation defaults."""
    named = getattr(model.generation_config, "eos_token_id", None)
    ids = named if isinstance(named, list) else [named]
    return [i for i in dict.fromkeys([tokenizer.eos_token_id, *ids]) if i is not None]


def stop_tokens(tokenizer: Any, stop: Sequence[str]) -> list[int]:
    """The tokens whose text contains a stop string."""
    if not stop:
        return []
    texts = tokenizer.batch_decode([[i] for i in range(len(tokenizer))], clean_up_tokenization_spaces=False)
    return [i for i, text in enumerate(texts) if any(s in text for s in stop)]
