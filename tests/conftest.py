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
