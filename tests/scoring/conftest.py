from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from simko.cli.main import main
from simko.evaluate import SampleStore
from simko.records import Verdict


@pytest.fixture(scope="module")
def other(tiny_base, tmp_path_factory) -> Path:
    """Another model with tiny_base's tokenizer."""
    folder = tmp_path_factory.mktemp("other")
    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_base).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def run(tiny_base, tmp_path_factory) -> Path:
    """An evaluation of tiny_base."""
    out = tmp_path_factory.mktemp("evaluated") / "run"
    words = ["--task", "operator_puzzle", "--limit", "5", "-n", "6", "--temperature", "1", "--quiet"]
    assert main(["evaluate", "--model", str(tiny_base), "--out", str(out), *words]) == 0
    with SampleStore(out / "samples.db") as store:  # an untrained model solves nothing
        (setting,) = store.settings()
        said = [(s, Verdict("correct" if "3" in s.response else "wrong")) for s, _ in store.rows(setting)]
        store.regrade(setting, "says three", said)
    return out
