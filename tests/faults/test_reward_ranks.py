"""Rewards that fail on one of two processes: named by their place in the whole rollout, or masked and survived."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kills import RUN
from tiny import digit_share, make_trainer, tiny_dataset

from simko.adapters.trl import RLVRTrainer

SAID = {
    "nan": "gave nan to sample 10 of the rollout",
    "large": "gave 1e+20 to sample 10 of the rollout: float32",
    "hangs": "took longer than reward_timeout=2 seconds",
}


def run(folder, fault, policy):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += [str(Path(__file__).with_name("reward_ranks.py")), str(folder), fault, policy]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)


@pytest.mark.slow
@pytest.mark.parametrize("fault", SAID)
def test_a_reward_that_fails_on_one_process_ends_the_run_by_name(tmp_path, fault):
    assert run(tmp_path, fault, "raise").returncode != 0
    assert SAID[fault] in (tmp_path / "error-1").read_text()


@pytest.mark.slow
def test_a_reward_that_fails_on_one_process_is_masked(tmp_path):
    for fault in SAID:
        done = run(tmp_path / fault, fault, "mask")
        assert done.returncode == 0, done.stderr[-3000:]
        assert SAID[fault] in done.stderr
        assert (tmp_path / fault / "hash-0").read_text() == (tmp_path / fault / "hash-1").read_text()
    options = RUN | {"reward": digit_share, "dataset": tiny_dataset(8), "max_steps": 8}
    with pytest.raises(ValueError, match="its world size is 2, and this run's 1"):
        make_trainer(tmp_path / "nan", RLVRTrainer, **options).train(resume_from_checkpoint=True)


@pytest.mark.slow
def test_a_time_limit_that_torch_does_not_wait_for_is_refused(tmp_path):
    assert run(tmp_path, "waits longer than torch", "raise").returncode != 0
    assert "reward_timeout=2 is not below ddp_timeout=2" in (tmp_path / "error-0").read_text()
