import pytest
import yaml
from tiny_protocol import TINY

from simko.studies.head_to_head import run as runner
from simko.studies.head_to_head.protocol import read_protocol


@pytest.fixture
def protocol(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    return read_protocol(tmp_path / "tiny.yaml")


@pytest.fixture
def here(monkeypatch):
    """Cells run in this process, which is faster than starting others."""

    class Now:
        def __init__(self, *_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def submit(self, function, *args):
            future = runner.Future()
            future.set_result(function(*args))
            return future

        def shutdown(self, **_):
            pass

    monkeypatch.setattr(runner, "ProcessPoolExecutor", Now)
