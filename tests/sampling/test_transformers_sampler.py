"""TransformersSampler on tiny random models: prefix sharing, end tokens, seeding, and what it leaves untouched."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GenerationConfig

from simko.records import Problem, Sample
from simko.sampling import Sampler, SamplingSettings, Wanted
from simko.sampling.digest import model_identity
from simko.sampling.transformers_sampler import TransformersSampler, stop_tokens

PAD, END = 0, 1
PROBLEMS = [
    Problem("a", "1+1="),
    Problem("b", "a much longer prompt than that: 12+30="),
    Problem("c", "7"),
    Problem("d", "2*3="),
]


def first(n: int, problems: list[Problem] = PROBLEMS) -> Wanted:
    return {problem.id: range(n) for problem in problems}


def keyed(samples: list[Sample]) -> dict[tuple[str, int], Sample]:
    drawn = {(s.problem_id, s.index): s for s in samples}
    assert len(drawn) == len(samples)
    return drawn


def draw(sampler: Sampler, n: int, seed: int = 0, wanted: Wanted | None = None, **settings: Any) -> Any:
    lists = list(sampler.sample(PROBLEMS, wanted or first(n), SamplingSettings(**settings), seed=seed))
    return keyed([sample for samples in lists for sample in samples])


def responses(drawn: dict[tuple[str, int], Sample]) -> dict[tuple[str, int], str]:
    return {key: sample.response for key, sample in drawn.items()}


@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_greedy_with_and_without_sharing_is_plain_generate(
    family: str, tokenizer: Any, tiny_model: Callable[[str], Any]
) -> None:
    model = tiny_model(family)
    settings: dict[str, Any] = {"temperature": 0, "max_new_tokens": 12}
    shared = draw(TransformersSampler(model, tokenizer, batch_size=16, share_prefix=True), 3, **settings)
    apart = draw(TransformersSampler(model, tokenizer, batch_size=16, share_prefix=False), 3, **settings)
    assert shared == apart
    for problem in PROBLEMS:  # one at a time, so without padding
        ids = tokenizer(problem.prompt, return_tensors="pt")["input_ids"]
        tokens = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12)
        expected = tokenizer.decode(tokens[0, ids.shape[1] :], skip_special_tokens=True)
        assert [shared[problem.id, i].response for i in range(3)] == [expected] * 3
        assert shared[problem.id, 0].prompt_tokens == ids.shape[1]


def test_drawn_samples_are_the_same_with_and_without_sharing(model: Any, tokenizer: Any) -> None:
    shared = draw(TransformersSampler(model, tokenizer, batch_size=16, share_prefix=True), 4, max_new_tokens=12)
    apart = draw(TransformersSampler(model, tokenizer, batch_size=16, share_prefix=False), 4, max_new_tokens=12)
    assert shared == apart
    assert len(set(responses(shared).values())) > len(PROBLEMS)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_first_tokens_follow_the_models_distribution(model: Any, tokenizer: Any, temperature: float) -> None:
    n, problem = 6_000, PROBLEMS[0]
    sampler = TransformersSampler(model, tokenizer, batch_size=2_000)
    settings = SamplingSettings(temperature=temperature, max_new_tokens=1)
    lists = sampler.sample([problem], {problem.id: range(n)}, settings, seed=3)
    drawn = [s.response for samples in lists for s in samples]
    ids = torch.tensor([tokenizer(problem.prompt)["input_ids"]])
    with torch.no_grad():
        expected = (model(ids).logits[0, -1] / temperature).softmax(-1)
    found = torch.tensor(
        [drawn.count(tokenizer.decode([i], skip_special_tokens=True)) / n for i in range(2, len(expected))]
    )
    assert (found - expected[2:]).abs().sum() / 2 < 0.06  # total variation; the noise of 6,000 draws is about .04


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_models_generation_defaults_do_not_count(model: Any, tokenizer: Any, temperature: float) -> None:
    settings: dict[str, Any] = {"max_new_tokens": 8, "temperature": temperature}
    before = draw(TransformersSampler(model, tokenizer), 4, **settings)
    own = model.generation_config
    try:
        for do_sample in (True, False):
            model.generation_config = GenerationConfig(
                do_sample=do_sample,
                temperature=0.3,
                top_p=0.2,
                top_k=1,
                repetition_penalty=9.0,
                min_new_tokens=8,
                max_length=3,
                suppress_tokens=[5],
                eos_token_id=[END],
            )
            assert draw(TransformersSampler(model, tokenizer), 4, **settings) == before
    finally:
        model.generation_config = own


def test_top_k_and_top_p_narrow_the_draw(model: Any, tokenizer: Any) -> None:
    sampler = TransformersSampler(model, tokenizer)
    greedy = responses(draw(sampler, 3, temperature=0, max_new_tokens=6))
    assert responses(draw(sampler, 3, top_k=1, max_new_tokens=6)) == greedy
    assert responses(draw(sampler, 3, top_p=1e-6, max_new_tokens=6)) == greedy
    assert responses(draw(sampler, 3, max_new_tokens=6)) != greedy


def test_responses_end_at_end_tokens_and_are_cut_at_stop_strings(model: Any, tokenizer: Any) -> None:
    sampler = TransformersSampler(model, tokenizer)
    plain = draw(sampler, 16, max_new_tokens=40)
    for s in plain.values():
        assert s.tokens == 40 if s.truncated else 1 <= s.tokens <= 40
    assert {s.finish_reason for s in plain.values()} == {"stop", "length"}
    stopped = draw(sampler, 16, max_new_tokens=40, stop=("\n",))
    assert any(not s.truncated and s.tokens < 40 for s in stopped.values())
    assert all("\n" not in s.response for s in stopped.values())
    assert any(s.response.endswith("!") and not s.truncated for s in stopped.values()), '"!\\n" ends a response too'


def test_every_token_that_holds_a_stop_string_is_an_end_token(tokenizer: Any) -> None:
    assert stop_tokens(tokenizer, ()) == []
    assert stop_tokens(tokenizer, ("\n",)) == [len(tokenizer) - 2, len(tokenizer) - 1]
    assert stop_tokens(tokenizer, ("ab",)) == []  # in no single token: such a string only cuts


@pytest.mark.parametrize("at", [3, 40])
def test_a_stop_string_of_several_tokens_ends_the_response(model: Any, tokenizer: Any, at: int) -> None:
    steps = []
    hook = model.register_forward_hook(lambda *_: steps.append(1))
    try:
        sampler = TransformersSampler(model, tokenizer)
        one: dict[str, Any] = {"wanted": {"d": [0]}, "max_new_tokens": 64}
        drawn = ((seed, draw(sampler, 1, seed=seed, **one)["d", 0]) for seed in range(200))
        seed, text = next(  # of one character a token, without padding among them
            (seed, s.response)
            for seed, s in drawn
            if len(s.response) > at + 3 and s.tokens <= len(s.response) + 1 and "!" not in s.response
        )
        steps.clear()
        stop = text[at : at + 3]
        cut = draw(sampler, 1, seed=seed, stop=(stop,), **one)["d", 0]
    finally:
        hook.remove()
    assert cut.response == text[: text.index(stop)]
    assert cut.tokens == len(cut.response) + 3
    assert not cut.truncated
    assert len(steps) <= at + 3 + 16, "it is not generated to the end"


def test_a_chat_prompt_is_put_into_the_template(model: Any, tokenizer: Any) -> None:
    sampler = TransformersSampler(model, tokenizer)
    chat = draw(sampler, 1, temperature=0, max_new_tokens=8, chat=True)
    wrapped = Problem("a", "<user>1+1=<assistant>")
    settings = SamplingSettings(temperature=0, max_new_tokens=8)
    [[plain]] = sampler.sample([wrapped], {"a": [0]}, settings, seed=0)
    assert chat["a", 0].response == plain.response
    assert chat["a", 0].prompt_tokens == plain.prompt_tokens == len(wrapped.prompt)


def test_a_chat_prompt_needs_a_template(model: Any, tokenizer: Any) -> None:
    template, tokenizer.chat_template = tokenizer.chat_template, None
    try:
        with pytest.raises(ValueError, match="no chat template"):
            draw(TransformersSampler(model, tokenizer), 1, chat=True)
    finally:
        tokenizer.chat_template = template


@pytest.mark.parametrize("batch_size", [3, 8])
def test_resuming_draws_what_was_missing(model: Any, tokenizer: Any, batch_size: int) -> None:
    sampler = TransformersSampler(model, tokenizer, batch_size=batch_size)
    settings = SamplingSettings(max_new_tokens=6)
    whole = draw(sampler, 5, max_new_tokens=6)
    assert set(whole) == {(p.id, i) for p in PROBLEMS for i in range(5)}
    lists = list(sampler.sample(PROBLEMS, first(5), settings, seed=0))
    assert max(map(len, lists)) <= batch_size
    for stored in (1, len(lists) // 2, len(lists) - 1):
        kept = keyed([s for samples in islice(lists, stored) for s in samples])
        missing = {p.id: [i for i in range(5) if (p.id, i) not in kept] for p in PROBLEMS}
        assert kept | draw(sampler, 5, wanted=missing, max_new_tokens=6) == whole


@pytest.mark.parametrize("batch_size", [3, 16])
def test_a_larger_n_repeats_no_draw(model: Any, tokenizer: Any, batch_size: int) -> None:
    sampler = TransformersSampler(model, tokenizer, batch_size=batch_size)
    drawn: dict[tuple[str, int], Sample] = {}
    for low, high in [(0, 3), (3, 4), (4, 10), (10, 16)]:
        wanted = {p.id: range(low, high) for p in PROBLEMS[:2]}
        drawn |= draw(sampler, 0, wanted=wanted, max_new_tokens=12)
    assert set(drawn) == {(p.id, i) for p in PROBLEMS[:2] for i in range(16)}
    for problem in PROBLEMS[:2]:
        full = [drawn[problem.id, i].response for i in range(16) if drawn[problem.id, i].truncated]
        assert len(full) == len(set(full)) > 8, "draws of 12 tokens do not coincide by chance"


def test_the_first_samples_do_not_depend_on_n(model: Any, tokenizer: Any) -> None:
    sampler = TransformersSampler(model, tokenizer, batch_size=4)
    small, large = draw(sampler, 4, max_new_tokens=6), draw(sampler, 9, max_new_tokens=6)
    assert {key: large[key] for key in small} == small


def test_seeds_differ_and_repeat(model: Any, tokenizer: Any) -> None:
    sampler = TransformersSampler(model, tokenizer, batch_size=4)
    one = draw(sampler, 4, seed=1, max_new_tokens=6)
    assert one == draw(sampler, 4, seed=1, max_new_tokens=6)
    two = draw(sampler, 4, seed=2, max_new_tokens=6)
    assert responses(one) != responses(two)
    assert not {s.seed for s in one.values()} & {s.seed for s in two.values()}


@pytest.mark.parametrize("training", [True, False])
def test_the_model_and_the_random_state_are_left_alone(model: Any, tokenizer: Any, training: bool) -> None:
    model.train(training)
    defaults, state = model.generation_config, torch.get_rng_state()
    seen = []
    hook = model.register_forward_hook(lambda module, *_: seen.append(module.training))
    try:
        sampler = TransformersSampler(model, tokenizer, batch_size=1)
        iterator: Any = sampler.sample(PROBLEMS, first(2), SamplingSettings(max_new_tokens=4), seed=0)
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
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    loaded = TransformersSampler.from_pretrained(tmp_path / "base", device="cpu")
    settings: dict[str, Any] = {"temperature": 0, "max_new_tokens": 8}
    assert draw(loaded, 1, **settings) == draw(TransformersSampler(model, tokenizer), 1, **settings)
    assert loaded.identity["model"] == "base"
    assert loaded.identity["dtype"] == "float32"
    half = TransformersSampler.from_pretrained(tmp_path / "base", device="cpu", dtype="bfloat16")
    differing = {key for key in half.identity if half.identity[key] != loaded.identity[key]}
    assert differing == {"dtype"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dtype": "foo"}, "--dtype foo is no type of weights: write float32"),
        ({"dtype": "int8"}, "--dtype int8 is no type"),
        ({"dtype": "nn"}, "--dtype nn is no type"),
        ({"device": "foo"}, "--device foo cannot be used: "),
        ({"device": "xpu:7"}, "--device xpu:7 cannot be used: "),
    ],
)
def test_weights_of_no_type_or_on_no_device_are_refused(tmp_path: Any, given: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TransformersSampler.from_pretrained(tmp_path, **given)


def test_a_checkpoints_identity_says_what_changed(model: Any, tokenizer: Any, tmp_path: Any) -> None:
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)

    def changed() -> set[str]:
        identity = TransformersSampler.from_pretrained(tmp_path, device="cpu").identity
        found = {key for key in identity if identity[key] != seen.get(key)}
        seen.update(identity)
        return found

    seen: dict[str, Any] = {}
    changed()
    assert len(seen["weights"]) == len(seen["tokenizer_and_config"]) == 16
    (tmp_path / "README.md").write_text("notes")
    assert changed() == set()
    (tmp_path / "chat_template.jinja").write_text("another template")
    assert changed() == {"tokenizer_and_config"}
    (tmp_path / "modeling_own.py").write_text("code of the model's own")
    assert changed() == {"tokenizer_and_config"}
    with nudged(model):
        model.save_pretrained(tmp_path)
    assert changed() == {"weights"}


def test_a_models_identity_follows_its_tensors(model: Any, tokenizer: Any) -> None:
    sampler = TransformersSampler(model, tokenizer)
    before = dict(sampler.identity)
    with nudged(model):
        assert {key for key in before if before[key] != sampler.identity[key]} == {"weights"}
    assert sampler.identity == before


@contextmanager
def nudged(model: Any) -> Iterator[None]:
    """A first number of the model that is a little larger, for a while."""
    tensor = next(model.parameters())
    before = tensor.detach().clone()
    try:
        tensor.data.flatten()[0] += 1e-3
        yield
    finally:
        tensor.data.copy_(before)


def test_an_adapters_identity_covers_its_base(tiny_model: Any, tokenizer: Any, tmp_path: Any) -> None:
    peft = pytest.importorskip("peft")
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    tiny_model("llama").save_pretrained(base)
    tokenizer.save_pretrained(base)
    lora = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora).save_pretrained(adapter)
    tokenizer.save_pretrained(adapter)

    def changed() -> set[str]:
        identity = TransformersSampler.from_pretrained(adapter, device="cpu").identity
        found = {key for key in identity if identity[key] != seen.get(key)}
        seen.update(identity)
        return found

    seen: dict[str, Any] = {}
    changed()
    assert seen["model"] == "adapter"
    assert changed() == set()
    other = AutoModelForCausalLM.from_pretrained(base)
    with nudged(other):
        other.save_pretrained(base)
    assert changed() == {"weights"}
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 64}))
    assert changed() == {"tokenizer_and_config"}
    tensors = load_file(adapter / "adapter_model.safetensors")
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, adapter / "adapter_model.safetensors")
    assert changed() == {"weights"}


def test_an_adapter_of_a_model_on_the_hub_is_known_by_its_commit(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    adapter, repository = tmp_path / "adapter", tmp_path / "cache" / "models--some--model"
    adapter.mkdir()
    (adapter / "adapter_model.bin").write_bytes(b"tensors")
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "some/model"}))
    seen = [model_identity(adapter)]
    for commit in ("a" * 40, "b" * 40):
        (repository / "refs").mkdir(parents=True, exist_ok=True)
        (repository / "refs" / "main").write_text(commit)
        (repository / "snapshots" / commit).mkdir(parents=True)
        (repository / "snapshots" / commit / "config.json").write_text("{}")
        seen.append(model_identity(adapter))
    assert len({checkpoint.weights for checkpoint in seen}) == 3
    assert len({checkpoint.tokenizer_and_config for checkpoint in seen}) == 1


def test_a_folder_without_a_model_is_refused_in_a_line(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="holds no model") as refused:
        TransformersSampler.from_pretrained(tmp_path)
    assert "\n" not in str(refused.value)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="holds no weights"):
        model_identity(tmp_path)


def test_impossible_requests_are_refused(model: Any, tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="batch_size is 0: give at least 1"):
        TransformersSampler(model, tokenizer, batch_size=0)
    with pytest.raises(ValueError, match="'e': the prompt has no tokens"):
        next(TransformersSampler(model, tokenizer).sample([Problem("e", "")], {"e": [0]}, SamplingSettings(), seed=0))


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_weights_that_are_no_numbers_are_named(tiny_model: Any, tokenizer: Any, tmp_path: Any, value: float) -> None:
    """At temperature 0 a model that holds them would answer all the same."""
    tiny_model("qwen3").save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][1, 2] = value
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ValueError, match=rf"{tmp_path.name}: the weight model\.layers\.0\.mlp\.up_proj\.weight holds inf"
    ):
        TransformersSampler.from_pretrained(tmp_path)
