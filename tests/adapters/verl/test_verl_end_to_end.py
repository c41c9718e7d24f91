"""verl's own trainer on Ray, on two raylets that pose as two machines: rewards rise, a death is clear, resume goes on."""

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


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a whole run of a method, which is made once."""
    made = {}

    def folder(method):
        if method not in made:
            made[method] = tmp_path_factory.mktemp(method)
            status = run(made[method], *LINES[method], nodes=2, plugins=WAYS[method], timeout=900)
            assert status == 0, (made[method] / "log.txt").read_text()[-3000:]
        return made[method]

    return folder


@pytest.mark.parametrize("method", LINES)
def test_rewards_rise(trained, method):
    curve = rewards(trained(method))
    assert list(curve) == list(range(1, 26))
    assert mean(curve[step] for step in (1, 2)) < 0.2
    assert mean(curve[step] for step in (23, 24, 25)) > 0.8


def wait_for_step(folder, step, seconds=600):
    """Until verl has logged a step."""
    until = time.monotonic() + seconds
    while not (folder / "metrics.jsonl").exists() or step not in metrics(folder):
        assert time.monotonic() < until, (folder / "log.txt").read_text()[-3000:]
        time.sleep(0.5)


def test_a_killed_worker_ends_the_run_and_resume_continues_it(trained, tmp_path):
    options = *LINES["grpo"], "trainer.save_freq=2"
    with running(tmp_path, *options, nodes=2) as process:
        wait_for_step(tmp_path, 3)
        workers = [p for p in psutil.Process().children(recursive=True) if "ray::WorkerDict" in " ".join(p.cmdline())]
        assert len({p.ppid() for p in workers}) == 2  # one of each raylet's
        workers[-1].kill()
        assert process.wait(300) != 0
    assert "ActorDiedError" in (tmp_path / "log.txt").read_text()
    before = rewards(tmp_path)

    assert run(tmp_path, *options, "trainer.total_training_steps=6", nodes=2, timeout=600) == 0
    after = rewards(tmp_path)
    assert min(after) in (3, 5)  # after the last step that was saved
    assert max(after) == 6
    whole = rewards(trained("grpo"))
    assert before | after == pytest.approx({step: whole[step] for step in before | after}, abs=0.02)
