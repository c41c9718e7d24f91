"""Sampling with Transformers' own `generate`, the prompt computed once for all of its samples."""

import hashlib
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from simko.records import Problem, Sample
from simko.sampling.protocol import SampleKey


@dataclass(frozen=True)
class _Batch:
    """`count` samples, numbered from `first`, of each of some problems: problem-major rows of one `generate` call."""

    problems: tuple[Problem, ...]
    prompts: tuple[list[int], ...]
    first: int
    count: int

    @property
    def keys(self) -> list[SampleKey]:
        return [(problem.id, self.first + i) for problem in self.problems for i in range(self.count)]

    def seed(self, seed: int) -> int:
        """A number from the caller's seed and what the batch holds, alike on every machine."""
        text = "\0".join([str(seed), str(self.first), str(self.count), *(p.id for p in self.problems)])
        return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1


class TransformersSampler:
    """Draws samples from a causal language model of Transformers.

    temperature: 0 is greedy; top_p 1 and top_k 0 leave the distribution whole; the model's own generation defaults
    count for nothing but its end tokens. stop: strings that end a response, which is cut before the first of them;
    generation ends at a token whose text contains one (a stop string that is never inside one token only cuts).
    batch_size: sequences generated together. share_prefix: compute the prompt once and copy its key-value cache for
    all samples; turn it off for a model whose cache cannot be copied.

    The model's mode, its generation defaults and torch's random state are left as they were found.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        max_new_tokens: int = 1024,
        stop: Sequence[str] = (),
        batch_size: int = 64,
        share_prefix: bool = True,
    ) -> None:
        _check_settings(temperature, top_p, top_k, max_new_tokens, batch_size, stop)
        self.model = model
        self.tokenizer = tokenizer
        self.stop = tuple(stop)
        self.batch_size = batch_size
        self.share_prefix = share_prefix
        end_tokens = _model_end_tokens(model, tokenizer)
        pad_token = tokenizer.pad_token_id
        if pad_token is None:
            pad_token = end_tokens[0] if end_tokens else 0
        end_tokens = sorted({*end_tokens, *stop_tokens(tokenizer, self.stop)})
        self._pad_token = pad_token
        self._end_tokens = torch.tensor(end_tokens, dtype=torch.long)
        drawing = {"temperature": temperature, "top_p": top_p, "top_k": top_k} if temperature > 0 else {}
        self._generation = GenerationConfig(
            do_sample=temperature > 0,
            max_new_tokens=max_new_tokens,
            eos_token_id=end_tokens or None,
            pad_token_id=pad_token,
            use_cache=True,
            **drawing,
        )

    @classmethod
    def from_pretrained(
        cls, path: str | Path, *, device: str | None = None, dtype: str = "auto", **settings: Any
    ) -> "TransformersSampler":
        """A sampler over a checkpoint folder or hub id; device None: a GPU if there is one; settings as in __init__."""
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
        return cls(model.to(device), AutoTokenizer.from_pretrained(path), **settings)

    def sample(
        self, problems: Sequence[Problem], n: int, *, seed: int, skip: AbstractSet[SampleKey] = frozenset()
    ) -> Iterator[Sample]:
        """See `Sampler.sample`: samples come batch by batch, longest prompts first.

        Batches are laid out over all problems before any is skipped, and each is seeded by itself, so the samples that
        are still missing come out as in an uninterrupted run (with the same batch_size, on the same hardware).
        """
        if n < 1:
            raise ValueError(f"n is {n}: draw at least one sample a problem")
        for batch in self._batches(problems, n):
            if all(key in skip for key in batch.keys):
                continue
            for sample in self._responses(batch, self._generate(batch, seed)):
                if (sample.problem_id, sample.index) not in skip:
                    yield sample

    def _batches(self, problems: Sequence[Problem], n: int) -> Iterator[_Batch]:
        prompts = {problem.id: self._encode(problem) for problem in problems}
        if len(prompts) != len(problems):
            raise ValueError("two problems share an id: ids must be unique")
        ordered = sorted(problems, key=lambda p: (-len(prompts[p.id]), p.id))
        together = max(1, self.batch_size // n)
        for start in range(0, len(ordered), together):
            part = tuple(ordered[start : start + together])
            for first in range(0, n, self.batch_size):
                count = min(self.batch_size, n - first)
                yield _Batch(part, tuple(prompts[p.id] for p in part), first, count)

    def _encode(self, problem: Problem) -> list[int]:
        ids: list[int] = self.tokenizer(problem.prompt)["input_ids"]
        if not ids:
            raise ValueError(f"problem {problem.id!r}: the prompt has no tokens")
        return ids

    def _generate(self, batch: _Batch, seed: int) -> torch.Tensor:
        """The new tokens of every row, padded on the right: [problems * count, <= max_new_tokens] on the CPU."""
        width = max(map(len, batch.prompts))
        rows = [[self._pad_token] * (width - len(ids)) + ids for ids in batch.prompts]
        seen = [[0] * (width - len(ids)) + [1] * len(ids) for ids in batch.prompts]
        device = self.model.device
        ids, mask = torch.tensor(rows, device=device), torch.tensor(seen, device=device)
        gpus = range(torch.cuda.device_count()) if device.type == "cuda" else ()
        with torch.random.fork_rng(devices=gpus), torch.no_grad(), _for_generation(self.model, self._generation):
            torch.manual_seed(batch.seed(seed))
            prefix = self._prefix(ids, mask, batch.count) if self.share_prefix and width > 1 else {}
            ids, mask = (x.repeat_interleave(batch.count, 0) for x in (ids, mask))
            return self._continue(ids, mask, prefix)[:, width:].cpu()

    def _continue(self, ids: torch.Tensor, mask: torch.Tensor, cache: dict[str, Any]) -> torch.Tensor:
        """`ids` with new tokens up to max_new_tokens, padded on the right. `generate` works on whole batches to their
        longest row, so it is called for a part of the tokens at a time, each time on the rows that have not ended."""
        total = ids.shape[1] + self._generation.max_new_tokens
        rows = torch.full((len(ids), total), self._pad_token, device=ids.device)
        rows[:, : ids.shape[1]] = ids
        going = torch.arange(len(ids), device=ids.device)
        while len(going) and ids.shape[1] < total:
            part = min(max(2, self._generation.max_new_tokens // 4), total - ids.shape[1])
            output = self.model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=part, return_dict_in_generate=True, **cache
            )
            new = output.sequences[:, ids.shape[1] :]
            rows[going, ids.shape[1] : output.sequences.shape[1]] = new
            goes_on = (~torch.isin(new, self._end_tokens.to(new.device)).any(1)).nonzero().flatten()
            going, ids = going[goes_on], output.sequences[goes_on]
            mask = torch.cat([mask[goes_on], mask.new_ones(len(goes_on), new.shape[1])], 1)
            name = "cache" if "cache" in output else "past_key_values"  # renamed in Transformers 5.24
            if self.share_prefix and len(going):
                output[name].batch_select_indices(goes_on)
                cache = {name: output[name]}
        return rows

    def _prefix(self, ids: torch.Tensor, mask: torch.Tensor, count: int) -> dict[str, Any]:
        """The cache of all prompt tokens but the last, copied for each sample, under the name the model gives it."""
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        output = self.model(
            input_ids=ids[:, :-1],
            attention_mask=mask[:, :-1],
            position_ids=positions[:, :-1],
            use_cache=True,
            logits_to_keep=1,
        )
        name = "cache" if "cache" in output else "past_key_values"  # renamed in Transformers 5.24
        output[name].batch_repeat_interleave(count)
        return {name: output[name]}

    def _responses(self, batch: _Batch, new_tokens: torch.Tensor) -> Iterator[Sample]:
        ended = torch.isin(new_tokens, self._end_tokens)
        width = new_tokens.shape[1]
        lengths = torch.where(ended.any(1), ended.int().argmax(1) + 1, width).tolist()
        kept = [row[:length] for row, length in zip(new_tokens.tolist(), lengths, strict=True)]
        texts = self.tokenizer.batch_decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        for (problem_id, index), text, length, at_end in zip(
            batch.keys, texts, lengths, ended.any(1).tolist(), strict=True
        ):
            cuts = [at for s in self.stop if (at := text.find(s)) >= 0]
            yield Sample(problem_id, index, text[: min(cuts, default=None)], length, not (at_end or cuts))


@contextmanager
def _for_generation(model: Any, generation: GenerationConfig) -> Iterator[None]:
    """Evaluation mode and our generation settings alone, for a while."""
    training, defaults = model.training, model.generation_config
    model.eval()
    model.generation_config = generation
    try:
        yield
    finally:
        model.generation_config = defaults
        model.train(training)


def _model_end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """The end tokens that the model's generation defaults and the tokenizer name."""
    named = getattr(model.generation_config, "eos_token_id", None)
    ids = named if isinstance(named, list) else [named]
    return [i for i in dict.fromkeys([tokenizer.eos_token_id, *ids]) if i is not None]


def stop_tokens(tokenizer: Any, stop: Sequence[str]) -> list[int]:
    """The tokens whose text contains a stop string."""
    if not stop:
        return []
    texts = tokenizer.batch_decode([[i] for i in range(len(tokenizer))], clean_up_tokenization_spaces=False)
    return [i for i, text in enumerate(texts) if any(s in text for s in stop)]


def _check_settings(
    temperature: float, top_p: float, top_k: int, max_new_tokens: int, batch_size: int, stop: Sequence[str]
) -> None:
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature is {temperature}: give 0 (greedy) or a finite number above")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}: give a share above 0, or 1 to keep every token")
    if top_k < 0:
        raise ValueError(f"top_k is {top_k}: give the number of tokens to keep, or 0 to keep every token")
    if max_new_tokens < 1 or batch_size < 1:
        raise ValueError(f"max_new_tokens is {max_new_tokens}, batch_size {batch_size}: give at least 1")
    if isinstance(stop, str) or not all(stop):
        raise ValueError(f"stop is {stop!r}: give a list of non-empty strings")
