import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import shutil

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture
def chromium() -> str:
    """Path of the browser; without one the test skips, or fails where SIMKO_REQUIRE_SYSTEM_PACKAGES is set."""
    path = shutil.which("chromium")
    if path is None and os.environ.get("SIMKO_REQUIRE_SYSTEM_PACKAGES"):
        pytest.fail("chromium is not installed: apt-get install chromium")
    if path is None:
        pytest.skip("needs the system package chromium")
    return path


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory):
    """A checkpoint folder of an untrained one-layer model that speaks the operator puzzle."""
    from simko.studies.warm_start import WarmStart, puzzle_model, puzzle_tokenizer

    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    tokenizer = puzzle_tokenizer()
    puzzle_model(WarmStart(layers=1, hidden=16, heads=2), tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
