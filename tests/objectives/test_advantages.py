import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simko.objectives import METHODS, group_advantages


def by_loop(rewards, groups, eps):
    out = torch.zeros(len(rewards), dtype=torch.float64)
    for i, group in enumerate(groups.tolist()):
        members = rewards[groups == group].double()
        if len(members) > 1 and members.unique().numel() > 1:
            out[i] = (rewards[i] - members.mean()) / (members.std() + eps)
    return out


@settings(max_examples=50, deadline=None)
@given(
    rewards=st.lists(st.sampled_from([0.0, 1.0, 0.5, -2.0, 0.3]), min_size=1, max_size=20),
    seed=st.integers(0, 10**6),
    eps=st.sampled_from([1e-6, 1e-4]),
)
def test_against_a_loop(rewards, seed, eps):
    """Groups in any order, of any size, with any labels."""
    rewards = torch.tensor(rewards, dtype=torch.float64)
    groups = torch.randint(-3, 4, rewards.shape, generator=torch.Generator().manual_seed(seed)) * 7
    torch.testing.assert_close(
        group_advantages(rewards, groups, eps=eps), by_loop(rewards, groups, eps), rtol=1e-9, atol=1e-9
    )


def test_one_correct_answer_in_four():
    found = group_advantages(torch.tensor([1.0, 0.0, 0.0, 0.0]), torch.zeros(4, dtype=torch.long))
    torch.testing.assert_close(found, torch.tensor([1.5, -0.5, -0.5, -0.5]), rtol=1e-5, atol=0)  # std 0.5, ddof 1


def test_a_group_of_one_gets_zero():
    assert group_advantages(torch.tensor([5.0, 1.0, 0.0]), torch.tensor([9, 2, 2]))[0] == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.1, 0.3, 1 / 3, 97.3, -0.7])
def test_equal_rewards_get_zero_exactly(dtype, value):
    """The mean of 7 times 0.3 is not 0.3 in float32, and eps is small."""
    for size in range(1, 40):
        rewards = torch.full((size,), value, dtype=dtype)
        assert group_advantages(rewards, torch.zeros(size, dtype=torch.long)).eq(0).all()


@pytest.mark.parametrize("dtype", [torch.bool, torch.int32, torch.int64, torch.float64])
def test_types_of_reward(dtype):
    rewards, groups = torch.tensor([1, 0, 1, 1]), torch.tensor([0, 0, 0, 1])
    found = group_advantages(rewards.to(dtype), groups)
    torch.testing.assert_close(found.double(), by_loop(rewards, groups, 1e-6), rtol=1e-5, atol=1e-7)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


@pytest.mark.parametrize("bad", [float("inf"), float("-inf")])
def test_infinite_rewards_are_named(bad):
    with pytest.raises(ValueError, match=f"sample 2 is {bad}"):
        group_advantages(torch.tensor([0.0, 1.0, bad, bad]), torch.tensor([0, 0, 1, 1]))


def test_a_nan_reward_is_unscorable():
    """It gets 0, and its group's mean and std are those of the other responses."""
    nan = float("nan")
    rewards, groups = torch.tensor([1.0, nan, 0.0, 0.0, 0.0, nan, 1.0]), torch.tensor([4, 4, 4, 4, 4, 7, 9])
    found = group_advantages(rewards, groups)
    torch.testing.assert_close(found[[0, 2, 3, 4]], torch.tensor([1.5, -0.5, -0.5, -0.5]), rtol=1e-5, atol=0)
    assert found[[1, 5, 6]].eq(0).all()
    assert group_advantages(torch.full((3,), nan), torch.zeros(3, dtype=torch.long)).eq(0).all()


def test_no_rewards():
    assert group_advantages(torch.zeros(0), torch.zeros(0, dtype=torch.long)).shape == (0,)


@pytest.mark.parametrize("name", [name for name, row in METHODS.items() if row.needs_old_logp])
def test_rewards_may_be_of_another_type_than_log_probabilities(name):
    method = METHODS[name].with_options(**{option: 0.1 for option in METHODS[name].missing_options})
    rewards, groups = torch.tensor([1.0, 0.0, 1.0, 0.0]), torch.zeros(4, dtype=torch.long)
    old_logp, mask = -torch.rand(4, 3, dtype=torch.float64), torch.ones(4, 3)
    assert method.advantages(rewards, groups, old_logp=old_logp, mask=mask).dtype == rewards.dtype
