"""TransformersSampler on tiny random models: prefix sharing, end tokens, seeding, and what it leaves untouched."""

from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from simko.records import Problem, Sample
from simko.sampling import Sampler
from simko.sampling.transformers_sampler import TransformersSampler

PAD, END = 0, 1
PROBLEMS = [
    Problem("a", "1+1="),
    Problem("b", "a much longer prompt than that: 12+30="),
    Problem("c", "7"),
    Problem("d", "2*3="),
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """One token a printable character, and one for "!\\n"."""
    characters = [chr(i) for i in range(32, 127)] + ["\n", "!\n"]
    vocabulary = {text: i for i, text in enumerate(["<pad>", "<end>", *characters])}
    fast = Tokenizer(BPE(vocabulary, []))
    fast.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=fast, pad_token="<pad>", eos_token="<end>")


def tiny_model(family: str, tokenizer: Any) -> Any:
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.3,
        "pad_token_id": PAD,
        "bos_token_id": None,
        "eos_token_id": END,
    }
    if family == "qwen3":
        return Qwen3ForCausalLM(Qwen3Config(**shape, head_dim=16)).eval()
    return LlamaForCausalLM(LlamaConfig(**shape)).eval()


@pytest.fixture(scope="module")
def model(tokenizer: Any) -> Any:
    return tiny_model("qwen3", tokenizer)


def draw(sampler: Sampler, n: int, seed: int = 0, **more: Any) -> dict[tuple[str, int], Sample]:
    rows = list(sampler.sample(PROBLEMS, n, seed=seed, **more))
    drawn = {(s.problem_id, s.index): s for s in rows}
    assert len(drawn) == len(rows)
    return drawn


@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_greedy_with_and_without_sharing_is_plain_generate(family: str, tokenizer: Any) -> None:
    model = tiny_model(family, tokenizer)
    settings: dict[str, Any] = {"temperature": 0, "max_new_tokens": 12, "batch_size": 16}
    shared = draw(TransformersSampler(model, tokenizer, share_prefix=True, **settings), 3)
    apart = draw(TransformersSampler(model, tokenizer, share_prefix=False, **settings), 3)
    assert shared == apart
    for problem in PROBLEMS:  # one at a time, so without padding
        ids = tokenizer(problem.prompt, return_tensors="pt")["input_ids"]
        tokens = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12)
        expected = tokenizer.decode(tokens[0, ids.shape[1] :], skip_special_tokens=True)
        assert [shared[problem.id, i].response for i in range(3)] == [expected] * 3


def test_drawn_samples_are_the_same_with_and_without_sharing(model: Any, tokenizer: Any) -> None:
    settings: dict[str, Any] = {"max_new_tokens": 12, "batch_size": 16}
    shared = draw(TransformersSampler(model, tokenizer, share_prefix=True, **settings), 4)
    assert shared == draw(TransformersSampler(model, tokenizer, share_prefix=False, **settings), 4)
    assert len({s.response for s in shared.values()}) > len(PROBLEMS)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_first_tokens_follow_the_models_distribution(model: Any, tokenizer: Any, temperature: float) -> None:
    n, problem = 6_000, PROBLEMS[0]
    sampler = TransformersSampler(model, tokenizer, temperature=temperature, max_new_tokens=1, batch_size=2_000)
    drawn = [s.response for s in sampler.sample([problem], n, seed=3)]
    ids = torch.tensor([tokenizer(problem.prompt)["input_ids"]])
    with torch.no_grad():
        expected = (model(ids).logits[0, -1] / temperature).softmax(-1)
    found = torch.tensor(
        [drawn.count(tokenizer.decode([i], skip_special_tokens=True)) / n for i in range(2, len(expected))]
    )
    assert (found - expected[2:]).abs().sum() / 2 < 0.06  # total variation; the noise of 6,000 draws is about .04


def test_the_models_generation_defaults_do_not_count(model: Any, tokenizer: Any) -> None:
    before = draw(TransformersSampler(model, tokenizer, max_new_tokens=8), 4)
    own = model.generation_config
    try:
        model.generation_config = GenerationConfig(
            top_k=1, repetition_penalty=9.0, min_new_tokens=8, max_length=3, suppress_tokens=[5], eos_token_id=[END]
        )
        assert draw(TransformersSampler(model, tokenizer, max_new_tokens=8), 4) == before
    finally:
        model.generation_config = own


def test_top_k_and_top_p_narrow_the_draw(model: Any, tokenizer: Any) -> None:
    greedy = draw(TransformersSampler(model, tokenizer, temperature=0, max_new_tokens=6), 3)
    assert draw(TransformersSampler(model, tokenizer, top_k=1, max_new_tokens=6), 3) == greedy
    assert draw(TransformersSampler(model, tokenizer, top_p=1e-6, max_new_tokens=6), 3) == greedy


def test_responses_end_at_end_tokens_and_are_cut_at_stop_strings(model: Any, tokenizer: Any) -> None:
    plain = draw(TransformersSampler(model, tokenizer, max_new_tokens=40), 16)
    for s in plain.values():
        assert s.tokens == 40 if s.truncated else 1 <= s.tokens <= 40
    assert {s.truncated for s in plain.values()} == {True, False}
    stopped = draw(TransformersSampler(model, tokenizer, max_new_tokens=40, stop=["\n"]), 16)
    assert any(not s.truncated and s.tokens < 40 for s in stopped.values())
    assert all("\n" not in s.response for s in stopped.values())
    assert any(s.response.endswith("!") and not s.truncated for s in stopped.values()), '"!\\n" ends a response too'


def test_every_token_that_holds_a_stop_string_is_an_end_token(model: Any, tokenizer: Any) -> None:
    def ends(*stop: str) -> list[int]:
        return TransformersSampler(model, tokenizer, stop=stop)._end_tokens.tolist()

    assert ends() == [END]
    assert ends("\n") == [END, len(tokenizer) - 2, len(tokenizer) - 1]
    assert ends("ab") == [END]  # in no single token: such a string only cuts


def test_a_stop_string_of_several_tokens_cuts(model: Any, tokenizer: Any) -> None:
    plain = draw(TransformersSampler(model, tokenizer, temperature=0, max_new_tokens=10), 1)
    text = plain["a", 0].response
    cut = draw(TransformersSampler(model, tokenizer, temperature=0, max_new_tokens=10, stop=[text[3:6]]), 1)["a", 0]
    assert cut.response == text[: text.index(text[3:6])]
    assert not cut.truncated


def test_resuming_draws_what_was_missing(model: Any, tokenizer: Any) -> None:
    for batch_size in (3, 5, 8):  # a problem over several batches, one a batch, two a batch
        sampler = TransformersSampler(model, tokenizer, max_new_tokens=6, batch_size=batch_size)
        whole = draw(sampler, 4)
        assert set(whole) == {(p.id, i) for p in PROBLEMS for i in range(4)}
        kept = set(list(whole)[:6])
        assert draw(sampler, 4, skip=kept) == {key: s for key, s in whole.items() if key not in kept}
        assert draw(sampler, 4, skip=set(whole)) == {}


def test_seeds_differ_and_repeat(model: Any, tokenizer: Any) -> None:
    sampler = TransformersSampler(model, tokenizer, max_new_tokens=6, batch_size=4)
    assert draw(sampler, 4, seed=1) == draw(sampler, 4, seed=1) != draw(sampler, 4, seed=2)
    texts = [[s.response for s in draw(sampler, 8, seed=1).values()][i : i + 4] for i in (0, 4)]
    assert texts[0] != texts[1], "two batches of one problem must not repeat each other"


@pytest.mark.parametrize("training", [True, False])
def test_the_model_and_the_random_state_are_left_alone(model: Any, tokenizer: Any, training: bool) -> None:
    model.train(training)
    defaults, state = model.generation_config, torch.get_rng_state()
    seen = []
    hook = model.register_forward_hook(lambda module, *_: seen.append(module.training))
    try:
        iterator: Any = TransformersSampler(model, tokenizer, max_new_tokens=4, batch_size=1).sample(
            PROBLEMS, 2, seed=0
        )
        next(iterator)
        assert model.training is training
        assert model.generation_config is defaults
        iterator.close()
    finally:
        hook.remove()
        model.eval()
    assert seen
    assert not any(seen)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_saved_checkpoint_samples_alike(model: Any, tokenizer: Any, tmp_path: Any) -> None:
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    settings: dict[str, Any] = {"temperature": 0, "max_new_tokens": 8}
    loaded = TransformersSampler.from_pretrained(tmp_path, device="cpu", **settings)
    assert draw(loaded, 1) == draw(TransformersSampler(model, tokenizer, **settings), 1)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": -1.0},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"top_k": -1},
        {"max_new_tokens": 0},
        {"batch_size": 0},
        {"stop": "\n"},
        {"stop": [""]},
    ],
)
def test_impossible_settings_are_refused(model: Any, tokenizer: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give"):
        TransformersSampler(model, tokenizer, **settings)


def test_impossible_problems_are_refused(model: Any, tokenizer: Any) -> None:
    sampler = TransformersSampler(model, tokenizer)
    with pytest.raises(ValueError, match="at least one sample"):
        next(sampler.sample(PROBLEMS, 0, seed=0))
    with pytest.raises(ValueError, match="share an id"):
        next(sampler.sample([PROBLEMS[0], PROBLEMS[0]], 1, seed=0))
    with pytest.raises(ValueError, match="'e': the prompt has no tokens"):
        next(sampler.sample([Problem("e", "")], 1, seed=0))
