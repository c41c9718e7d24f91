"""Sampling with vLLM in this process. One request draws all samples of a problem and computes its prompt once."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vllm import LLM, SamplingParams

from simko.records import FinishReason, Problem, Sample
from simko.sampling.batches import lay_out
from simko.sampling.digest import check_folder, model_identity
from simko.sampling.prompts import encode
from simko.sampling.protocol import SamplingSettings, Wanted, block_seed, check_wanted


class VLLMSampler:
    """Samples from a `vllm.LLM`.

    Args:
        llm: the engine.
        name: the model's name in `identity`.
        weights: the digest or revision in `identity`.
        tokenizer_and_config: the digest of a checkpoint's other files in `identity`.
        batch_size: sequences given to the engine together, which schedules them itself. A list of samples holds a batch.
    """

    def __init__(
        self,
        llm: LLM,
        *,
        name: str = "model",
        weights: str | None = None,
        tokenizer_and_config: str | None = None,
        batch_size: int = 1024,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}: give at least 1")
        self.llm = llm
        self.name = name
        self.weights = weights
        self.tokenizer_and_config = tokenizer_and_config
        self.batch_size = batch_size

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        revision: str | None = None,
        dtype: str = "auto",
        batch_size: int = 1024,
        **engine: Any,
    ) -> "VLLMSampler":
        """A sampler over a checkpoint folder or hub id.

        Args:
            path: the folder or id.
            revision: the revision on the hub.
            dtype: the weights' type; "auto" for the checkpoint's own.
            batch_size: as above.
            engine: further arguments of `vllm.LLM`.
        """
        check_folder(path)
        llm = LLM(model=str(path), revision=revision, tokenizer_revision=revision, dtype=dtype, **engine)
        return cls(llm, **model_identity(path, revision)._asdict(), batch_size=batch_size)

    @property
    def identity(self) -> Mapping[str, Any]:
        """See `Sampler`. It includes the batch size, which decides which samples share a request and its seed."""
        return {
            "backend": "vllm",
            "model": self.name,
            "weights": self.weights,
            "tokenizer_and_config": self.tokenizer_and_config,
            "dtype": str(self.llm.llm_engine.model_config.dtype).removeprefix("torch."),
            "batch_size": self.batch_size,
        }

    def sample(
        self, problems: Sequence[Problem], wanted: Wanted, settings: SamplingSettings, *, seed: int
    ) -> Iterator[list[Sample]]:
        """See `Sampler.sample`: one list per batch, the first indices of all problems first."""
        check_wanted(problems, wanted)
        tokenizer = self.llm.get_tokenizer()
        prompts = {problem.id: encode(tokenizer, problem, settings.chat) for problem in problems}
        for batch in lay_out(sorted(prompts), wanted, self.batch_size):
            seeds = [
                block_seed(seed, i, indices[0]) for i, indices in zip(batch.problem_ids, batch.indices, strict=True)
            ]
            outputs = self.llm.generate(
                [{"prompt_token_ids": prompts[i]} for i in batch.problem_ids],
                [_params(settings, n, s) for n, s in zip(batch.counts, seeds, strict=True)],
                use_tqdm=False,
            )
            yield [
                sample
                for problem_id, indices, request_seed, output in zip(
                    batch.problem_ids, batch.indices, seeds, outputs, strict=True
                )
                for sample in _samples(problem_id, indices, request_seed, output)
            ]


def _params(settings: SamplingSettings, n: int, seed: int) -> SamplingParams:
    """One request's parameters. The engine seeds its n samples with seed, seed + 1, ...; greedy decoding draws one."""
    return SamplingParams(
        n=n if settings.do_sample else 1,
        seed=seed,
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k or -1,
        min_p=0.0,
        repetition_penalty=1.0,
        max_tokens=settings.max_new_tokens,
        stop=list(settings.stop),
    )


def _samples(problem_id: str, indices: Sequence[int], seed: int, output: Any) -> list[Sample]:
    completions = list(output.outputs)
    if len(completions) == 1:  # greedy: each sample is the same text
        completions *= len(indices)
    prompt_tokens = len(output.prompt_token_ids)
    samples = []
    for index, completion in zip(indices, completions, strict=True):
        if completion.finish_reason not in ("stop", "length"):
            raise RuntimeError(f"problem {problem_id!r}: vLLM ended a response with {completion.finish_reason!r}")
        finish: FinishReason = completion.finish_reason
        tokens = len(completion.token_ids)
        samples.append(Sample(problem_id, index, completion.text, tokens, finish, prompt_tokens, seed))
    return samples
