import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRITON_INTERPRET", "1")  # kernels run on the CPU; read when they are first imported
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import shutil
from collections import defaultdict
from pathlib import Path

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("simko", deadline=None)  # the machine may do other things
settings.load_profile("simko")


@pytest.hookimpl(tryfirst=True)  # before -m deselects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The marker `few`."""
    cases = defaultdict(list)
    for item in items:
        if (marker := item.get_closest_marker("few")) and not item.get_closest_marker("slow"):
            cases[item.nodeid.partition("[")[0], marker.args[0]].append(item)
    for (_, few), found in cases.items():
        kept = {i * (len(found) - 1) // (few - 1) for i in range(few)}
        for i, item in enumerate(found):
            if i not in kept:
                item.add_marker(pytest.mark.slow)


DATA = Path(__file__).resolve().parent / "data"
WHOLE = Path(__file__).resolve().parents[2] / "shared" / "bench-data"


@pytest.fixture(scope="session", params=["samples", pytest.param("whole", marks=pytest.mark.slow)])
def bench_data(request: pytest.FixtureRequest) -> Path:
    """The folder of the benchmarks' problems: a few of each (see data/README.md), or all of them where they are here."""
    if request.param == "samples":
        return DATA
    if not WHOLE.is_dir():
        pytest.skip(f"the whole benchmarks are not in {WHOLE}")
    return WHOLE


def lacking(reason: str) -> None:
    """Skip for want of a system package, or fail where SIMKO_REQUIRE_SYSTEM_PACKAGES is set."""
    if os.environ.get("SIMKO_REQUIRE_SYSTEM_PACKAGES"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def chromium() -> str:
    """Path of the browser."""
    path = shutil.which("chromium")
    if path is None:
        lacking("chromium is not installed: apt-get install chromium")
    return path


@pytest.fixture
def bwrap() -> str:
    """Path of a sandbox that starts."""
    from simko.verifiers.code.sandbox import SandboxMissing, check_sandbox

    try:
        check_sandbox()
    except SandboxMissing as error:
        lacking(str(error))
    return shutil.which("bwrap")


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory):
    """A checkpoint folder of an untrained one-layer model that speaks the operator puzzle."""
    from simko.studies.warm_start import WarmStart, puzzle_model, puzzle_tokenizer

    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    tokenizer = puzzle_tokenizer("operator_puzzle")
    puzzle_model(WarmStart(layers=1, hidden=16, heads=2), tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
