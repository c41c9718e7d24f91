import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import shutil

import pytest
import torch

torch.set_num_threads(1)


def system_package(command: str, package: str) -> str:
    """Path of a command; without it the test skips, or fails where SIMKO_REQUIRE_SYSTEM_PACKAGES is set."""
    path = shutil.which(command)
    if path is None and os.environ.get("SIMKO_REQUIRE_SYSTEM_PACKAGES"):
        pytest.fail(f"{package} is not installed: apt-get install {package}")
    if path is None:
        pytest.skip(f"needs the system package {package}")
    return path


@pytest.fixture
def chromium() -> str:
    return system_package("chromium", "chromium")


@pytest.fixture(scope="session")
def bubblewrap() -> str:
    return system_package("bwrap", "bubblewrap")


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
