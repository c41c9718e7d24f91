"""A row of METHODS trained by slime is the row, whoever shares its vocabulary and its responses."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import slime_call
import torch.distributed as dist

from simko.objectives import METHODS

SELECTING = ("forking_tokens", "clip_cov", "kl_cov")
OTHER_TOKENS = ("psr", "nsr")
CHANGING = ("simko_adaptive", "simko_adaptive_by_success")
ROWS = [name for name in METHODS if name not in (*SELECTING, *OTHER_TOKENS, *CHANGING)]
BY_ADVANTAGE = (
    "grpo", "rloo", "w_reinforce", "passk_training", "pkpo", "ordergrad", "maxrl", "f_grpo", "best_of_k", "unlikeliness",
    "ucpo", "ds_grpo",
)  # fmt: skip
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def slime():
    """The adapter, on one process."""
    with pytest.MonkeyPatch.context() as patch:
        if slime_call.OWN_CODE:
            slime_call.prepare()
        else:
            for name, module in slime_call.stand_in().items():
                patch.setitem(sys.modules, name, module)
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        from megatron.core import mpu

        import simko.adapters.slime as adapter

        mpu.initialize_model_parallel()
        yield adapter
        mpu.destroy_model_parallel()
        dist.destroy_process_group()
        del sys.modules["simko.adapters.slime"]


@pytest.mark.parametrize("name", ROWS)
def test_an_update_is_the_rows_however_it_is_split(slime, name):
    for micro_batches in (1, 2, 5):
        slime_call.assert_same(name, micro_batches)


def test_two_processes_train_what_one_does():
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    run = subprocess.run([*command, str(HERE / "slime_ranks.py")], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr[-3000:]


def refusal(slime, name, **changed):
    with pytest.raises(ValueError, match=r"\S") as error:
        slime.advantages(slime_call.flags(name, **changed), {})
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", SELECTING)
def test_a_row_that_chooses_tokens_over_the_update_is_refused(slime, name):
    assert "chooses tokens over the whole update" in refusal(slime, name, simko={"method": name})


@pytest.mark.parametrize("name", OTHER_TOKENS)
def test_a_row_that_divides_by_other_tokens_is_refused(slime, name):
    assert "divides by other tokens" in refusal(slime, name)


@pytest.mark.parametrize("name", CHANGING)
def test_a_row_that_changes_from_update_to_update_is_refused(slime, name):
    assert "changes from update to update" in refusal(slime, name)


@pytest.mark.parametrize("name", METHODS)
def test_rows_that_differ_by_their_advantages_alone_go_with_slimes_own_loss(slime, name):
    given = slime_call.flags(name, loss_type="policy_loss", custom_loss_function_path=None)
    rollout = slime_call.Rollout()
    data = {"raw_reward": rollout.rewards.tolist(), "partition": [0, 5], "kl": [old.float() for old in rollout.old[:2]]}
    columns = {"log_probs": rollout.old, "loss_masks": rollout.masks, "response_lengths": rollout.responses}
    data |= columns | {"total_lengths": [len(y) for y in rollout.tokens]}
    if METHODS[name].needs_old_logp:
        data |= {"partition": list(range(16)), "kl": [old.float() for old in rollout.old]}
    if name in BY_ADVANTAGE:
        slime.advantages(given, data)
        assert len(data["advantages"]) == len(data["partition"])
    else:
        with pytest.raises(ValueError, match=r"--custom-loss-function-path simko.adapters.slime.loss"):
            slime.advantages(given, data)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"simko": None}, "must hold a method"),
        ({"simko": "simko"}, "must hold a method"),
        ({"simko": {"alpha": 0.1}}, "must hold a method"),
        ({"simko": {"method": "simk"}}, "one of .*simko"),
        ({"simko": {"method": "simko", "beta": 0.1}}, "no option 'beta'; its options: alpha"),
        ({"simko": {"method": "simko", "alpha": 3}}, "alpha must lie in"),
        ({"simko": {"method": "pkpo"}}, r"no default for k.*"),
        ({"simko": {"method": "dr_grpo"}, "calculate_per_token_loss": False}, "length has no default"),
        ({"calculate_per_token_loss": False}, "divides by tokens: set --calculate-per-token-loss"),
        ({"simko": {"method": "gspo"}, "eps_clip": 3e-4, "eps_clip_high": 4e-4}, "leave out --calculate-per-token-loss"),
        ({"eps_clip_high": 0.28}, "--eps-clip-high 0.28: set both to the same"),
        ({"simko": {"method": "dapo"}}, "clip_high=0.28, slime at"),
        ({"normalize_advantages": True}, "--normalize-advantages"),
        ({"kl_coef": 0.1}, "--kl-coef"),
        ({"custom_advantage_function_path": None}, "--custom-advantage-function-path simko.adapters.slime.advantages"),
        ({"use_kl_loss": True, "use_tis": True}, "does not know --use-kl-loss, --use-tis"),
        ({"entropy_coef": 0.01}, "--entropy-coef"),
        ({"rollout_top_p": 0.9}, "--rollout-top-p"),
        ({"eps_clip_c": 3.0}, "--eps-clip-c"),
    ],
)  # fmt: skip
def test_what_would_train_another_objective_is_refused_in_one_line(slime, changed, message):
    given = slime_call.flags("simko", **changed)
    data = {"raw_reward": [0.0] * 16, "partition": [0], "kl": []}
    with pytest.raises(ValueError, match=message) as error:
        slime.advantages(given, data)
    assert "\n" not in str(error.value)


def test_rollouts_that_are_no_groups_are_refused(slime):
    with pytest.raises(ValueError, match="n_samples_per_prompt=4 responses to each of rollout_batch_size=4"):
        slime.advantages(slime_call.flags("simko"), {"raw_reward": [0.0] * 20})


def test_the_first_update_names_the_objective(slime, caplog):
    slime._say.cache_clear()
    for micro_batches in (1, 2):
        slime_call.assert_same("simko", micro_batches)
    (line,) = [r.getMessage() for r in caplog.records if r.name == "simko"]
    assert line.startswith("simko trains simko (alpha=0.3, clip_high=0.2")


def test_the_page_says_which_rows_train_how():
    page = (HERE.parents[1] / "docs" / "slime.md").read_text("utf-8")
    lines = re.findall(r"^\| (`[a-z_]+`(?:, `[a-z_0-9]+`)*) \|", page, re.MULTILINE)
    own_loss, by_advantage, *refused = (tuple(re.findall(r"[a-z_0-9]+", line)) for line in lines)
    assert by_advantage == BY_ADVANTAGE[1:]  # grpo without its own loss needs no simko
    assert {*own_loss, *by_advantage} == {*ROWS}
    assert refused == [OTHER_TOKENS, SELECTING, CHANGING]
