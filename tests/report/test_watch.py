"""`simko watch` on a run that goes on."""

import http.client
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from simko.cli.main import main


def get(port: int, path: str = "/", host: str = "127.0.0.1") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={"Host": host})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


@pytest.fixture
def run(trained, tmp_path) -> Path:
    """A run that has logged two of its four steps."""
    run = tmp_path / "run"
    shutil.copytree(trained / "plain", run)
    rows = (trained / "simko" / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "config.json").write_text((trained / "simko" / "config.json").read_text())
    (run / "metrics.jsonl").write_text("".join(rows[:4]))
    return run


@pytest.fixture
def port(run) -> Iterator[int]:
    command = [sys.executable, "-m", "simko.cli", "watch", str(run), "--every", "5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as served:
        yield int(served.stdout.readline().rpartition(":")[2].strip("/\n"))
        served.kill()


def test_the_page_follows_the_run_and_is_for_this_machine_alone(run, port):
    status, page = get(port)
    assert status == 200
    assert '<meta http-equiv="refresh" content="5">' in page
    assert "has logged up to step 2 of 4" in page
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "loss": 0.1, "reward": 0.5}\n')
    assert "has logged up to step 3 of 4" in get(port)[1]
    whole = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text("{\n" + whole)
    broken = get(port)[1]
    assert "This page is old, as the run cannot be read" in broken
    assert "has logged up to step 3 of 4" in broken
    (run / "metrics.jsonl").write_text(whole)
    assert "This page is old" not in get(port)[1]
    assert get(port, "/../config.json")[0] == 404
    assert get(port, host="elsewhere.example")[0] == 403


def test_what_cannot_be_watched_is_one_line(run, tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["watch", str(run), "--port", port]) == 2
        assert f"port {port} cannot be opened" in capsys.readouterr().err
    for words, said in (
        (["watch", str(tmp_path / "none")], "there is no file or folder"),
        (["watch", str(run), "--every", "0"], "--every is 0"),
        (["watch", str(run), "--port", "99999"], "--port is 99999"),
    ):
        assert main(words) == 2
        assert said in capsys.readouterr().err
