"""The rows' advantages as verl computes them."""

import numpy as np
import pytest

pytest.importorskip("verl.protocol", reason="verl is not installed: make test-verl")

import torch
import verl_on_cpu  # noqa: F401
from omegaconf import OmegaConf
from verl.protocol import DataProto
from verl.trainer.ppo.core_algos import get_adv_estimator_fn, get_policy_loss_fn
from verl.trainer.ppo.ray_trainer import compute_advantage
from verl.workers.config import FSDPActorConfig

from simko.adapters.verl import PolicyLoss, register_rows
from simko.adapters.verl.advantages import known_old_logp
from simko.adapters.verl_rows import plan_row
from simko.objectives import METHODS

OPTIONS = {"ds_grpo": {"gamma_right": 0.1, "gamma_wrong": 0.1}} | {
    name: {"k": 3} for name in ("passk_training", "pkpo", "ordergrad")
}


def rollout():
    draw = torch.Generator().manual_seed(0)
    mask = (torch.arange(5) < torch.randint(1, 6, (12, 1), generator=draw)).long()
    groups = torch.arange(12) % 3
    scores = (torch.arange(12) // 3 <= groups).float()  # one, two and three of four are correct
    rewards = torch.zeros(12, 5).scatter(1, mask.sum(1, keepdim=True) - 1, scores[:, None])
    old_logp = -torch.rand(12, 5, generator=draw)
    return (
        DataProto.from_dict(
            {"token_level_rewards": rewards, "response_mask": mask, "old_log_probs": old_logp},
            non_tensors={"uid": np.array([f"prompt {g}" for g in groups.tolist()], dtype=object)},
        ),
        scores,
        groups,
    )


@pytest.mark.parametrize("row", METHODS)
def test_verl_gets_the_advantages_of_the_row(row):
    data, scores, groups = rollout()
    mask, old_logp = data.batch["response_mask"], data.batch["old_log_probs"]
    config = OmegaConf.create({"simko": OPTIONS.get(row, {}), "trained_by_simko": True})
    with known_old_logp(old_logp):
        data = compute_advantage(data, f"simko/{row}", config=config)
    method = METHODS[row].with_options(**OPTIONS.get(row, {}))
    wanted = method.advantages(scores, groups, old_logp=old_logp, mask=mask)
    assert torch.equal(data.batch["advantages"], wanted[:, None] * mask)
    assert wanted.any()


@pytest.mark.parametrize("row", METHODS)
def test_lost_responses_and_rows_that_fill_up_a_batch_change_no_other_group(row):
    data, scores, groups = rollout()
    keep = [*range(1, 12), 0]  # the first response is lost, and stands for what fills up the batch
    data.reorder(torch.tensor(keep))
    data.batch["response_mask"][11] = 0
    data.non_tensor_batch["uid"][11] = "filled up"
    config = OmegaConf.create({"simko": OPTIONS.get(row, {}), "trained_by_simko": True})
    mask, old_logp = data.batch["response_mask"], data.batch["old_log_probs"]
    with known_old_logp(old_logp):
        found = compute_advantage(data, f"simko/{row}", config=config).batch["advantages"]
    rewards = torch.cat([scores[1:], torch.tensor([torch.nan])])
    method = METHODS[row].with_options(**OPTIONS.get(row, {}))
    wanted = method.advantages(rewards, groups[keep], old_logp=old_logp, mask=mask)
    assert torch.equal(found, wanted[:, None] * mask)
    assert not found[11].any()


def test_a_reward_counts_whether_or_not_its_token_does():
    """verl puts it at the last token, which a tool may have said, or rollout_correction may have rejected."""
    data, scores, groups = rollout()
    last = data.batch["response_mask"].sum(1) - 1
    data.batch["response_mask"][range(12), last] = 0
    data.batch["response_mask"][:, 0] = 1
    found = compute_advantage(data, "simko/rloo", config=OmegaConf.create({})).batch["advantages"]
    wanted = METHODS["rloo"].advantages(scores, groups)
    assert torch.equal(found, wanted[:, None] * data.batch["response_mask"])


@pytest.mark.parametrize("row", [row for row in METHODS if not plan_row(METHODS[row]).by_advantage])
def test_advantages_alone_are_refused_where_they_are_not_the_whole_row(row):
    config = OmegaConf.create({"simko": OPTIONS.get(row, {})})
    with pytest.raises(ValueError, match=r"trainer\.v1\.trainer_mode=simko"):
        compute_advantage(rollout()[0], f"simko/{row}", config=config)


def test_a_policy_loss_without_our_trainer_is_refused():
    loss = PolicyLoss(loss_mode="simko/simko")
    config = FSDPActorConfig(strategy="fsdp2", rollout_n=4, ppo_micro_batch_size_per_gpu=1, policy_loss=loss)
    tensors = [torch.zeros(2, 3)] * 4
    with pytest.raises(ValueError, match=r"set trainer\.v1\.trainer_mode=simko"):
        get_policy_loss_fn("simko/simko")(*tensors, config=config)


def test_a_row_of_ones_own_is_known_after_registering_again(monkeypatch):
    monkeypatch.setitem(METHODS, "mine", METHODS["rloo"])
    register_rows()
    data, scores, groups = rollout()
    advantages, _ = get_adv_estimator_fn("simko/mine")(
        token_level_rewards=data.batch["token_level_rewards"],
        response_mask=data.batch["response_mask"],
        index=data.non_tensor_batch["uid"],
    )
    wanted = METHODS["rloo"].advantages(scores, groups)
    assert torch.equal(advantages, wanted[:, None] * data.batch["response_mask"])
