from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_copies import BENCHMARKS, UNPINNED, bbh, bbh_rows, deepcoder, hub_rows, math, rows_of, snapshot, synlogic

from simko.tasks import TASKS


@pytest.fixture
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The hub's cache, with nothing in it."""
    datasets, constants = pytest.importorskip("datasets"), pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    return tmp_path / "hub"


@pytest.fixture(scope="session")
def hub_cache(bench_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The hub's cache, with a copy of every dataset that a task reads."""
    datasets, constants = pytest.importorskip("datasets"), pytest.importorskip("huggingface_hub.constants")
    cache = tmp_path_factory.mktemp("hub")
    for name, (lay, hub_id) in BENCHMARKS.items():
        lay(snapshot(cache, hub_id, _commit(name, hub_id)), hub_rows(bench_data, name))
    bbh(snapshot(cache, "lukaemon/bbh", _commit("bbh", "lukaemon/bbh")), bbh_rows(bench_data))
    math_id = "DigitalLearningGmbH/MATH-lighteval"
    math(snapshot(cache, math_id, _commit("math_l3_5", math_id)))
    deepcoder_id = "agentica-org/DeepCoder-Preview-Dataset"
    deepcoder(snapshot(cache, deepcoder_id, _commit("deepcoder", deepcoder_id)))
    synlogic(snapshot(cache, "MiniMaxAI/SynLogic", UNPINNED), rows_of(bench_data, "synlogic_generated"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        yield cache


def _commit(name: str, hub_id: str) -> str:
    """The commit at which the task reads the dataset, from what it tells users."""
    return TASKS[name].source.split(f"{hub_id} at ")[1][:40]
