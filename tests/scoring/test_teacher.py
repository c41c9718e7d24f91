"""Teacher forcing against the whole logits of each response alone, for models with heads of every kind."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from simko.scoring import TeacherForced
from simko.token_stats import token_stats

V = 40
SIZES = {
    "vocab_size": V, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 16, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": 1,
}  # fmt: skip
TEXTS = [([3], [4, 5, 6, 7, 8, 9]), ([3, 4, 5, 6, 7], [8]), ([2, 9, 9], [1, 0, 1, 39]), ([5] * 12, [6, 5])]


def qwen(**words):
    return Qwen3ForCausalLM(Qwen3Config(**SIZES, **words))


def lora(modules):
    def make():
        model = get_peft_model(qwen(), LoraConfig(r=4, target_modules=modules, init_lora_weights=False))
        return model.base_model.model  # as from_pretrained gives an adapter: with its layers injected

    return make


MODELS = {
    "untied": (qwen, True),
    "tied": (lambda: qwen(tie_word_embeddings=True), True),
    "absolute positions": (lambda: GPT2LMHeadModel(GPT2Config(vocab_size=V, n_embd=32, n_layer=2, n_head=2)), True),
    "soft cap": (lambda: Gemma2ForCausalLM(Gemma2Config(**SIZES, final_logit_softcapping=2.0)), False),
    "scale": (lambda: CohereForCausalLM(CohereConfig(**SIZES | {"bos_token_id": 2}, logit_scale=0.3)), False),
    "adapter": (lora(["q_proj"]), True),
    "adapter on the head": (lora(["lm_head"]), False),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_against_the_logits_of_each_response_alone(name, temperature):
    torch.manual_seed(0)
    make, by_head = MODELS[name]
    model = make()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3)
    model.train()
    teacher = TeacherForced(model, top_k=7, temperature=temperature)
    found = teacher.stats(*zip(*TEXTS, strict=True))
    assert teacher.by_head is by_head
    assert model.training
    model.eval()
    for (prompt, response), stats in zip(TEXTS, found, strict=True):
        ids = torch.tensor([[*prompt, *response]])
        with torch.no_grad():
            logits = model(ids).logits[0, len(prompt) - 1 : -1].double()
        expected = token_stats(logits, torch.tensor(response), top_k=7, temperature=temperature)
        for ours, theirs in zip(stats[:3], expected[:3], strict=True):
            torch.testing.assert_close(ours.double(), theirs, atol=2e-4, rtol=2e-4)
        assert stats.topk_ids[:, 0].tolist() == expected.topk_ids[:, 0].tolist()


def test_a_head_that_hides_what_it_does_is_not_read():
    """A model that changes its logits without saying so in its configuration."""
    torch.manual_seed(0)
    model = qwen()
    forward = model.forward

    def capped(*args, **words):
        output = forward(*args, **words)
        output.logits = 2 * torch.tanh(output.logits / 2)
        return output

    model.forward = capped
    with torch.no_grad():
        model.lm_head.weight.mul_(20)
    teacher = TeacherForced(model, top_k=3)
    (stats,) = teacher.stats([[3]], [[4, 5]])
    assert teacher.by_head is False
    with torch.no_grad():
        logits = model(torch.tensor([[3, 4, 5]])).logits[0, :-1]
    torch.testing.assert_close(
        stats.logp, token_stats(logits, torch.tensor([4, 5]), top_k=3).logp, atol=1e-5, rtol=1e-5
    )
