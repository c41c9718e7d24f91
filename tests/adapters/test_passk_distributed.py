"""PassAtKCallback on two processes, replicated (DDP) and sharded (FSDP2): one answer, no hang, the same weights."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from passk_ranks import train
from test_passk_callback import kept

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    store = tmp_path_factory.mktemp("alone") / "samples.db"
    train(store)
    return kept(store)


@pytest.fixture(scope="module", params=["replicated", "sharded"])
def ranks(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    sharded = {"SIMKO_TEST_FSDP": "1"} if request.param == "sharded" else {}
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
         str(HERE / "passk_ranks.py"), str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | sharded,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    results = [torch.load(folder / f"rank{i}.pt") for i in (0, 1)]
    assert results[0]["with"]["type"].endswith("FSDP" if sharded else "MULTI_CPU")
    return results, kept(folder / "samples.db")


def test_both_processes_log_the_same_and_train_as_without(ranks):
    main, other = ranks[0]
    assert main["with"]["rows"] == other["with"]["rows"]
    assert [row["step"] for row in main["with"]["rows"]] == [0, 1, 2]
    assert main["without"]["rows"] == []
    for rank in (main, other):
        assert torch.equal(rank["with"]["weights"], rank["without"]["weights"])


def test_two_processes_draw_what_one_draws(ranks, alone):
    """9 responses in batches of 4, of which the second process has one, at the same weights."""
    samples = ranks[1]
    assert samples.keys() == alone.keys()
    at_start = {key: value for key, value in alone.items() if key[0] == "step=0, T=1"}
    assert len(at_start) == 9
    assert {key: samples[key] for key in at_start} == at_start
    for row in ranks[0][0]["with"]["rows"]:
        verdicts = [v.outcome == "correct" for key, (_, v) in samples.items() if key[0] == f"step={row['step']}, T=1"]
        assert row["eval_pass@1"] == pytest.approx(sum(verdicts) / 9)


def test_what_fails_on_one_process_is_said_on_both(ranks):
    for rank in ranks[0]:
        assert rank["broken"]["said"].startswith("VerifierError: the verifier raised KeyError on problem 'p2': 'gold'")
        assert "seed is 1 there and 2 here" in rank["refused"]["said"]
