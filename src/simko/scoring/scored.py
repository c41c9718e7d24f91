"""One model over stored responses, a batch at a time, continued where it stopped."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer

from simko.diagnostics import refuse_broken_weights, sampled_rank
from simko.objectives import entropy_gate, group_advantages, penalised_tokens
from simko.sampling.digest import check_folder, check_placement, model_identity
from simko.sampling.loading import loading_bars
from simko.sampling.prompts import encode
from simko.sampling.transformers_sampler import stop_tokens
from simko.scoring.records import Records, TokenRows, as_rows
from simko.scoring.responses import Responses, StoredResponse
from simko.scoring.teacher import TeacherForced
from simko.token_stats import TokenStats

_MOST_CANDIDATES = 32_766  # ranks are stored in 16 bits


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How responses are scored."""

    candidates: int = 20
    """K, the candidates kept of each token."""
    temperature: float = 1.0
    """Divides the logits. The probe of a training measures at that of its rollouts."""
    gate_quantile: float = 0.8
    """The entropy quantile of SimKO's gate."""
    chat: bool | None = None
    """Whether prompts are messages in a chat template, where the source does not say."""
    batch_size: int = 16
    """Responses scored together."""
    dtype: str = "auto"
    """The weights' type; "auto" for the checkpoint's own."""
    device: str | None = None
    """None for a GPU if there is one."""


@dataclass(frozen=True)
class ModelChoice:
    """A model and what it is called."""

    name: str
    """The name on the page."""
    path: str
    """A checkpoint or adapter folder, or a hub id."""
    revision: str | None = None
    """The revision on the hub."""


@dataclass
class _Encoded:
    """A response as tokens."""

    number: int
    response: StoredResponse
    prompt: list[int]
    tokens: list[int]
    advantage: float = 0.0


@dataclass
class _Encoding:
    kept: list[_Encoded] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    other_lengths: int = 0
    unknown_ends: int = 0


def score(choice: ModelChoice, responses: Responses, records: Records, options: Scoring, *, progress: bool) -> None:
    """Add the rows of all responses that the records lack.

    A response's tokens are those of its text, and the end token where that ended it. ValueError for a model that cannot be
    loaded, for records of something else, and where a chat template is in doubt.
    """
    check_folder(choice.path)
    try:
        identity = model_identity(choice.path, choice.revision)
        tokenizer = AutoTokenizer.from_pretrained(choice.path, revision=choice.revision)
    except (ImportError, OSError) as error:
        raise ValueError(f"the model {choice.path} cannot be loaded: {error}") from error
    encoding = _encode(tokenizer, responses, options)
    decides = {
        "weights": identity.weights,
        "tokenizer_and_config": identity.tokenizer_and_config,
        "responses_sha256": responses.digest,
        "responses": len(encoding.kept),
        "candidates": options.candidates,
        "temperature": options.temperature,
        "gate_quantile": options.gate_quantile,
        "chat": options.chat,
        "dtype": options.dtype,
    }
    says = {
        "model": identity.name,
        "path": choice.path,
        "source": responses.source,
        "settings": list(responses.settings),
        "judge": responses.judge,
        "left_out": responses.left_out | encoding.left_out,
        "other_lengths": encoding.other_lengths,
        "unknown_ends": encoding.unknown_ends,
    }
    records.begin(decides, says, _texts(tokenizer))
    there = records.scored()
    missing = [e for e in encoding.kept if e.number not in there]
    if not missing:
        return
    with loading_bars(progress):
        model = _load(choice, options)
    _check_length(model, missing, choice)
    teacher = TeacherForced(model, top_k=options.candidates, temperature=options.temperature)
    with tqdm(total=len(encoding.kept), initial=len(there), desc=choice.name, disable=not progress) as bar:
        for batch in _batches(missing, options.batch_size):
            stats = teacher.stats([e.prompt for e in batch], [e.tokens for e in batch])
            records.add([_rows(e, s, options.gate_quantile) for e, s in zip(batch, stats, strict=True)])
            bar.update(len(batch))


def check(options: Scoring) -> None:
    """ValueError, before anything is read, that names the option of simko diagnose that cannot be."""
    check_placement(options.dtype, options.device)
    if options.candidates > _MOST_CANDIDATES:
        raise ValueError(f"--candidates is {options.candidates}: give at most {_MOST_CANDIDATES}")


def _load(choice: ModelChoice, options: Scoring) -> Any:
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(choice.path, dtype=options.dtype, revision=choice.revision)
    except (ImportError, OSError) as error:
        raise ValueError(f"the model {choice.path} cannot be loaded: {error}") from error
    refuse_broken_weights(model, choice.path)
    tokens = getattr(model.config.get_text_config(), "vocab_size", options.candidates)
    if options.candidates > tokens:
        raise ValueError(
            f"--candidates is {options.candidates}: give at most the {tokens} tokens of {choice.path}'s vocabulary"
        )
    return model.to(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))


def _encode(tokenizer: Any, responses: Responses, options: Scoring) -> _Encoding:
    """The tokens of each response. Those of a text may be others than were sampled: how many differ in length is counted."""
    found, prompts = _Encoding(), {}  # type: _Encoding, dict[tuple[str, str], list[int]]
    texts = [r.sample.response for r in responses.responses]
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    cut = cache(partial(_may_be_cut, tokenizer))
    encoded = tokenizer(texts, add_special_tokens=False)["input_ids"]
    for number, (r, ids) in enumerate(zip(responses.responses, encoded, strict=True)):
        known = r.sample.tokens
        ended = r.sample.finish_reason == "stop" and known != len(ids)
        if ended and cut(r.stop):
            found.unknown_ends += 1
            found.other_lengths += known not in (0, len(ids) + 1)
        else:
            ids = [*ids, *end] if ended else ids
            found.other_lengths += known not in (0, len(ids))
        if not ids:
            found.left_out["the response has no tokens"] = found.left_out.get("the response has no tokens", 0) + 1
            continue
        key = r.problem.id, r.problem.prompt
        if key not in prompts:
            prompts[key] = encode(tokenizer, r.problem, _is_chat(tokenizer, r, options))
        found.kept.append(_Encoded(number, r, prompts[key], ids))
    for one, advantage in zip(found.kept, _advantages([e.response for e in found.kept]), strict=True):
        one.advantage = advantage
    return found


def _may_be_cut(tokenizer: Any, stop: Sequence[str]) -> bool:
    """Whether a stop string may have ended a response, so that its last token is not known."""
    return any(len(s) > 1 for s in stop) or bool(stop_tokens(tokenizer, stop))


def _is_chat(tokenizer: Any, response: StoredResponse, options: Scoring) -> bool:
    if None not in (options.chat, response.chat) and options.chat != response.chat:
        raise ValueError(f"the samples say that chat was {response.chat}: leave --chat and --no-chat out")
    chat = options.chat if response.chat is None else response.chat
    if chat is None and tokenizer.chat_template is not None:
        raise ValueError(
            "the samples do not say whether their prompts were in the model's chat template: give --chat or --no-chat"
        )
    return bool(chat)


def _advantages(responses: Sequence[StoredResponse]) -> list[float]:
    """GRPO's advantage of each response among those to its problem, of which SimKO reads the sign; 0 without a verdict."""
    places: dict[tuple[str, str], int] = {}
    groups = [places.setdefault((r.problem.id, r.problem.prompt), len(places)) for r in responses]
    rewards = [float("nan") if r.correct is None else float(r.correct) for r in responses]
    advantages: list[float] = group_advantages(torch.tensor(rewards), torch.tensor(groups)).tolist()
    return advantages


def _check_length(model: Any, missing: Sequence[_Encoded], choice: ModelChoice) -> None:
    most = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    longest = max(missing, key=lambda e: len(e.prompt) + len(e.tokens))
    length = len(longest.prompt) + len(longest.tokens)
    if most is not None and length > most:
        r = longest.response
        raise ValueError(
            f"response {r.sample.index} to {r.problem.id!r} has {length} tokens with its prompt, and {choice.path} takes "
            f"{most}: leave such responses out of --samples"
        )


def _batches(missing: Sequence[_Encoded], size: int) -> Iterator[list[_Encoded]]:
    """The longest first, so that a batch too large for the memory fails at once."""
    ordered = sorted(missing, key=lambda e: (-len(e.prompt) - len(e.tokens), e.number))
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def _rows(one: _Encoded, stats: TokenStats, gate_quantile: float) -> TokenRows:
    everywhere = torch.ones(1, len(one.tokens), dtype=torch.bool)
    gate = entropy_gate(stats.entropy[None], everywhere, gate_quantile)
    advantage = torch.tensor([[one.advantage]])
    penalised = penalised_tokens(stats.is_top1[None], advantage, gate)
    raised: Tensor = gate & (advantage > 0)
    r = one.response
    return as_rows(
        stats,
        response=one.number,
        problem_id=r.problem.id,
        sample=r.sample.index,
        correct=r.correct,
        tokens=torch.tensor(one.tokens, dtype=torch.int32).numpy(),
        rank=sampled_rank(stats.logp, stats.topk_logp).to(torch.int16).numpy(),
        gated=gate[0].numpy(),
        acts=(raised.to(torch.int8) - penalised.to(torch.int8))[0].numpy(),
    )


def _texts(tokenizer: Any) -> list[str]:
    """The text of each token id behind other text, where tokenizers keep the space before a word."""
    size = len(tokenizer)
    alone = tokenizer.batch_decode([[i] for i in range(size)], clean_up_tokenization_spaces=False)
    before = (tokenizer("a", add_special_tokens=False)["input_ids"] or [0])[-1]
    prefix = tokenizer.decode([before], clean_up_tokenization_spaces=False)
    behind = tokenizer.batch_decode([[before, i] for i in range(size)], clean_up_tokenization_spaces=False)
    pairs = zip(alone, behind, strict=True)
    return [text[len(prefix) :] if text.startswith(prefix) else single for single, text in pairs]
