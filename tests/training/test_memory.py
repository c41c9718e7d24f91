"""The formulas of docs/scaling.md: against counted bytes, against the code that they describe, and on the page."""

import importlib
import json
from pathlib import Path

import pytest
import torch

from simko.token_stats.choice import default_chunk
from simko.training import memory

ROOT = Path(__file__).parents[2]


@pytest.fixture
def scaling(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("scaling")


def assert_counted(rows):
    for row in rows:
        counted, formula = row["counted"], row["formula"]
        assert counted["gathered_bytes"] == formula["gathered_bytes"]
        assert counted["loss_bytes"] == pytest.approx(formula["loss_bytes"], rel=0.02)


def test_two_processes_hold_and_send_what_the_formulas_say(scaling):
    rows = scaling.counts(positions=256, vocabulary=40_001)
    assert len({json.dumps(row["formula"]) for row in rows}) == len(rows)
    assert_counted(rows)


def test_the_page_is_the_record_and_the_formulas(scaling):
    rows = json.loads(scaling.KEPT.read_text())["rows"]
    assert_counted(rows)
    for row in rows:
        size = {"float32": 4, "bfloat16": 2}[row["logits"]]
        sizes = row["positions"], row["vocabulary"], row["processes"]
        assert memory.loss_bytes(*sizes, size=size, chunk=128) == row["formula"]["loss_bytes"]
        assert (
            memory.gathered_bytes(row["positions"], row["top_k"], row["processes"]) == row["formula"]["gathered_bytes"]
        )
    page = scaling.PAGE.read_text("utf-8")
    assert scaling.with_tables(page, rows) == page


@pytest.mark.parametrize("width", [1000, 19_008, 152_064, 10**7])
def test_a_gpus_chunk_is_that_of_token_stats(width):
    rows = default_chunk(torch.device("cuda"), width)
    found = memory.loss_bytes(10**9, width) - memory.logit_bytes(10**9, width)
    assert found == rows * width * 4
    assert memory.loss_bytes(5, width) == 2 * memory.logit_bytes(5, width)


def test_what_grows_with_what():
    assert memory.logit_bytes(10, 1001, 4) == 10 * 251 * 4
    assert memory.gathered_bytes(10, 3, 1) == 0
    assert memory.gathered_bytes(1, 3, 2) == (4 + 2 * 3) * 4
    assert memory.gathered_bytes(1, 3, 8) == 7 * memory.gathered_bytes(1, 3, 2)
    assert memory.candidate_bytes(1, 3) == 24
    assert memory.state_bytes(100, 8) == 200
    assert memory.state_bytes(100, 1, 1) == 1800


@pytest.mark.slow
def test_parameters_are_those_of_the_architectures(scaling):
    from transformers import AutoModelForCausalLM, Qwen2Config, Qwen3MoeConfig

    shapes = {
        "Qwen2.5-Math-7B": Qwen2Config(
            vocab_size=152_064, hidden_size=3584, intermediate_size=18_944, num_hidden_layers=28, num_attention_heads=28,
            num_key_value_heads=4, tie_word_embeddings=False,
        ),
        "Qwen2.5-32B": Qwen2Config(
            vocab_size=152_064, hidden_size=5120, intermediate_size=27_648, num_hidden_layers=64, num_attention_heads=40,
            num_key_value_heads=8, tie_word_embeddings=False,
        ),
        "Qwen3-235B-A22B": Qwen3MoeConfig(
            vocab_size=151_936, hidden_size=4096, intermediate_size=12_288, num_hidden_layers=94, num_attention_heads=64,
            num_key_value_heads=4, head_dim=128, num_experts=128, num_experts_per_tok=8, moe_intermediate_size=1536,
            tie_word_embeddings=False,
        ),
    }  # fmt: skip
    for name, (parameters, experts, vocabulary) in scaling.MODELS.items():
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(shapes[name])
        assert sum(p.numel() for p in model.parameters()) == parameters
        assert sum(p.numel() for key, p in model.named_parameters() if "experts" in key) == experts
        assert model.config.vocab_size == vocabulary
