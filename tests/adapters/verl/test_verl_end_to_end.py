"""verl's own trainer on Ray, on two raylets that pose as two machines: rewards rise, a death is clear, resume goes on."""

import re
import time
from statistics import mean

import pytest

pytest.importorskip("verl.protocol", reason="verl is not installed: make test-verl")

import psutil
from on_cpu import LINES, metrics, run, running

pytestmark = pytest.mark.slow

WAYS = {"grpo": "modules", "simko": "entry-points"}
"""How each run's plug-ins reach the workers of both machines."""


def rewards(folder):
    """The mean reward of each step."""
    return {step: row["critic/rewards/mean"] for step, row in metrics(folder).items()}


@pytest.mark.parametrize("method", LINES)
def test_rewards_rise(tmp_path, method):
    status = run(tmp_path, *LINES[method], nodes=2, plugins=WAYS[method], timeout=1200)
    assert status == 0, (tmp_path / "log.txt").read_text()[-3000:]
    curve = rewards(tmp_path)
    assert list(curve) == list(range(1, 26))
    assert mean(curve[step] for step in (1, 2)) < 0.2
    assert mean(curve[step] for step in (23, 24, 25)) > 0.8


def wait_for_step(process, folder, step, seconds=900):
    """Until verl has logged a step."""
    until = time.monotonic() + seconds
    while not (folder / "metrics.jsonl").exists() or step not in metrics(folder):
        going_on = process.poll() is None and time.monotonic() < until
        assert going_on, (folder / "log.txt").read_text()[-3000:]
        time.sleep(0.5)


def test_a_killed_worker_ends_the_run_and_resume_continues_it(tmp_path):
    options = *LINES["simko"], "trainer.save_freq=2"
    with running(tmp_path, *options, nodes=2) as process:
        wait_for_step(process, tmp_path, 3)
        workers = [p for p in psutil.Process().children(recursive=True) if "ray::WorkerDict" in " ".join(p.cmdline())]
        assert len({p.ppid() for p in workers}) == 2  # one of each raylet's
        workers[-1].kill()
        assert process.wait(300) != 0
    # from Ray, or from the rank that waits for the dead one
    assert re.search("ActorDiedError|Connection closed by peer", (tmp_path / "log.txt").read_text())
    before = rewards(tmp_path)
    assert list(before) == [1, 2, 3]

    assert run(tmp_path, *options, "trainer.total_training_steps=4", nodes=2, timeout=900) == 0
    after = rewards(tmp_path)
    assert list(after) == [3, 4]  # from step 2 on, which was saved
    assert after[3] == before[3]  # the same weights, prompts and draws
