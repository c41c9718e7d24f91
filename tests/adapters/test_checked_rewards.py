"""What a reward function may return, what becomes of one that fails or hangs, and how a run lives through it."""

import asyncio
import itertools
import math
import signal
import subprocess
import sys
import threading
import time
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from tiny import digit_share, make_trainer
from transformers import TrainerCallback

from simko.adapters.trl import RLVRTrainer
from simko.adapters.trl.rewards import checked_rewards
from simko.records import Verdict

NUMBERS = [1.0, None, 0.5]
READ = {
    "list": list,
    "tuple": tuple,
    "generator": lambda x: (r for r in x),
    "map": lambda x: map(NUMBERS.__getitem__, range(len(x))),
    "filter": lambda x: filter(lambda r: True, x),
    "dict values": lambda x: dict(enumerate(x)).values(),
    "array": lambda x: np.array(x, dtype=object),
    "scalars of numpy": lambda x: [r if r is None else np.float32(r) for r in x],
    "scalars of torch": lambda x: [r if r is None else torch.tensor(r) for r in x],
    "decimals": lambda x: [r if r is None else Decimal(r) for r in x],
    "fractions": lambda x: [r if r is None else Fraction(r) for r in x],
}
REFUSED = {
    "a dict": (lambda x: {str(i): r for i, r in enumerate(x)}, "returned a dict: return a list of 3 numbers"),
    "a set": (lambda x: {1.0, 2.0, 3.0}, "returned a set"),
    "text": (lambda x: "101", "returned a str"),
    "bytes": (lambda x: b"101", "returned a bytes"),
    "a number": (lambda x: 1.0, "returned a float"),
    "a truth value": (lambda x: True, "returned a bool"),
    "nothing": (lambda x: None, "returned None"),
    "a tensor without an axis": (lambda x: torch.tensor(1.0), "returned a float"),
    "an array with two axes": (lambda x: np.ones((3, 1)), r"gave \[1.0\] to sample 0"),
    "too few": (lambda x: x[:2], "returned 2 rewards for 3 completions"),
    "none at all": (lambda x: [], "returned 0 rewards"),
    "too many": (lambda x: [*x, 1.0], "returned more than 3"),
    "no end of them": (lambda x: itertools.repeat(1.0), "returned more than 3"),
    "nan": (lambda x: [0.0, math.nan, 1.0], "gave nan to sample 1 .* None for one that cannot be scored"),
    "nan of numpy": (lambda x: np.array([0.0, np.nan, 1.0]), "gave nan to sample 1"),
    "nan of a map": (lambda x: map(float, ["0", "nan", "1"]), "gave nan to sample 1"),
    "nan of decimals": (lambda x: [Decimal(0), Decimal("nan"), Decimal(1)], r"gave Decimal\('NaN'\) to sample 1"),
    "infinity": (lambda x: [0.0, 1.0, -math.inf], "gave -inf to sample 2"),
    "more than float32 holds": (lambda x: [0.0, 1e39, 1.0], r"gave 1e\+39 to sample 1"),
    "a huge integer": (lambda x: [0, 10**400, 1], "to sample 1"),
    "texts": (lambda x: ["1", "0", "1"], "gave '1' to sample 0"),
    "a complex number": (lambda x: [1j, 0, 1], "gave 1j to sample 0"),
    "verdicts": (lambda x: [Verdict("correct")] * 3, "gave Verdict.* to sample 0"),
    "an exit": (lambda x: sys.exit(0), r"ended the process \(exit code 0\)"),
    "an exit while it is drawn": (lambda x: (sys.exit(3) for _ in x), r"ended the process \(exit code 3\)"),
}


def answers(give, asynchronous, log_metric=None, **options):
    def graded(prompts, completions, **_):
        return give(NUMBERS)

    async def graded_later(prompts, completions, **_):
        await asyncio.sleep(0)
        return give(NUMBERS)

    checked = checked_rewards(graded_later if asynchronous else graded, **options)
    words = {} if log_metric is None else {"log_metric": log_metric}
    rewards = checked(prompts=["p"] * 3, completions=["c"] * 3, **words)
    return asyncio.run(rewards) if asynchronous else rewards


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("kind", READ)
def test_rewards_are_read(kind, asynchronous):
    found = answers(READ[kind], asynchronous)
    assert found == NUMBERS
    assert all(r is None or type(r) is float for r in found)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_list_of_rewards_is_refused(kind, asynchronous):
    give, said = REFUSED[kind]
    with pytest.raises(ValueError, match=f"reward function graded.* {said}"):
        answers(give, asynchronous)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_list_of_rewards_is_masked_and_counted_where_that_was_asked_for(kind, asynchronous):
    give, said = REFUSED[kind]
    logged = {}
    found = answers(give, asynchronous, failures="mask", log_metric=logged.__setitem__)
    sample = said.rpartition("to sample ")[2][:1] if "to sample" in said else ""
    if sample and kind not in ("texts", "verdicts", "an array with two axes"):
        assert found[int(sample)] is None
        assert found.count(None) == 1
    else:
        assert found == [None] * 3
    assert logged == {
        "rewards/graded/masked" if not asynchronous else "rewards/graded_later/masked": found.count(None) / 3
    }


def deaf(x):
    """It catches all that it can."""
    while True:
        try:
            time.sleep(0.05)
        except Exception:
            continue


HANGING = {
    "sleeps": lambda x: time.sleep(60),
    "computes": lambda x: next(i for i in itertools.count() if i < 0),
    "waits for a lock": lambda x: [threading.Lock().acquire(), locked_for_good.acquire()],
    "waits for a process": lambda x: subprocess.run(["sleep", "60"]),
    "while it is drawn": lambda x: (time.sleep(60) for _ in x),
    "resets the alarm": lambda x: [signal.alarm(0), time.sleep(60)],
    "catches exceptions": deaf,
}
locked_for_good = threading.Lock()
locked_for_good.acquire()


@pytest.mark.parametrize("kind", HANGING)
@pytest.mark.few(3)
def test_a_reward_that_hangs_has_a_time_limit(kind):
    handler = signal.getsignal(signal.SIGVTALRM)
    with pytest.raises(TimeoutError, match=r"reward function graded took longer than reward_timeout=0\.2 seconds"):
        answers(HANGING[kind], False, timeout=0.2)
    assert answers(HANGING[kind], False, timeout=0.2, failures="mask") == [None] * 3
    assert signal.getsignal(signal.SIGVTALRM) is handler
    assert answers(lambda x: x, False, timeout=0.2) == NUMBERS


POOL = """
import threading
from concurrent.futures import ThreadPoolExecutor
from simko.adapters.trl import checked_rewards

def left_with_a_daemon(completions, **_):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    threading.Event().wait()

checked_rewards(left_with_a_daemon, failures="mask", timeout=0.3)(completions=["c"])

def judged(completions, **_):
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda c: threading.Event().wait(), completions))

print(checked_rewards(judged, failures="FAILURES", timeout=0.3)(completions=["c"] * 3))
"""


@pytest.mark.slow
@pytest.mark.parametrize("failures", ["raise", "mask"])
def test_a_process_ends_though_a_rewards_own_threads_do_not(failures):
    program = [sys.executable, "-c", POOL.replace("FAILURES", failures)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert ("TimeoutError: reward function judged" in done.stderr) == (failures == "raise")
    assert done.stdout.strip() == ("" if failures == "raise" else "[None, None, None]")
    assert "threads of a function that took too long are left behind" in done.stderr


def test_an_asynchronous_reward_that_hangs_has_a_time_limit():
    async def hangs(completions, **_):
        await asyncio.sleep(60)

    for failures in ("raise", "mask"):
        checked = checked_rewards(hangs, timeout=0.2, failures=failures)
        if failures == "mask":
            assert asyncio.run(checked(completions=["c"] * 3)) == [None] * 3
            continue
        with pytest.raises(TimeoutError, match="reward function hangs took longer"):
            asyncio.run(checked(completions=["c"] * 3))


def test_a_timeout_of_the_functions_own_is_its_own():
    def fails(x):
        raise TimeoutError("the judge's server does not answer")

    for asynchronous in (False, True):
        with pytest.raises(TimeoutError, match="judge's server"):
            answers(fails, asynchronous, timeout=5.0)


def test_a_policy_that_is_none():
    with pytest.raises(ValueError, match="reward_failures is 'ignore': choose raise or mask"):
        checked_rewards(digit_share, failures="ignore")


def test_a_run_lives_through_rewards_that_fail(tmp_path):
    """A call that raises, one that is short, one that hangs, one with nan: counted, and the weights stay finite."""
    calls = itertools.count()

    def moody(completions, **_):
        found = [float(i % 2) for i in range(len(completions))]
        match next(calls):
            case 0:
                raise KeyError("gold")
            case 1:
                return found[1:]
            case 2:
                time.sleep(60)
            case 3:
                return [math.nan, math.inf, *found[2:]]
        return found

    trainer = make_trainer(
        tmp_path, RLVRTrainer, reward=moody, max_steps=6, reward_failures="mask", reward_timeout=0.5, weight_decay=0.1
    )
    kept = []
    trainer.add_callback(Weights(trainer, kept))
    trainer.train()
    assert [row.get("rewards/moody/masked") for row in trainer.state.log_history[:6]] == [1, 1, 1, 0.25, None, None]
    assert torch.equal(kept[2], kept[0])
    assert not torch.equal(kept[3], kept[2])
    assert kept[5].isfinite().all()


class Weights(TrainerCallback):
    """Keeps them after each update."""

    def __init__(self, trainer, kept):
        self.trainer, self.kept = trainer, kept

    def on_step_end(self, *_, **__):
        self.kept.append(torch.cat([p.detach().flatten().clone() for p in self.trainer.model.parameters()]))


def test_truth_values_are_rewards():
    assert answers(lambda x: [True, np.bool_(False), True], False) == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_exceptions_pass_unless_a_file_named_the_function(asynchronous):
    def failing(x):
        yield 1.0
        raise KeyError("gold")

    with pytest.raises(KeyError):
        answers(failing, asynchronous)
    with pytest.raises(ValueError, match=r"reward function judge\.py:graded raised KeyError: 'gold'"):
        answers(failing, asynchronous, place="judge.py:graded")


def test_a_coroutine_of_a_plain_function():
    async def later():
        return NUMBERS

    with pytest.raises(ValueError, match="returned a coroutine: declare it with async def"):
        answers(lambda x: later(), False)


async def shares_later(completions, **_):
    return map(float, digit_share(completions))


def shares_drawn(completions, **_):
    yield from digit_share(completions)


def shares_kept(completions, **_):
    return dict.fromkeys(range(len(completions)), 0.0)


@pytest.mark.parametrize("reward", [shares_later, shares_drawn])
def test_iterators_train_as_lists_do(tmp_path, reward):
    logs = []
    for i, function in enumerate((digit_share, reward)):
        trainer = make_trainer(tmp_path / str(i), RLVRTrainer, reward=function, max_steps=2)
        trainer.train()
        logs.append([row["reward"] for row in trainer.state.log_history if "reward" in row])
        assert trainer.reward_func_names == [function.__name__]
    assert logs[0] == logs[1]
    assert logs[0][0] > 0


def test_a_dict_does_not_train(tmp_path):
    with pytest.raises(ValueError, match="shares_kept returned a dict"):
        make_trainer(tmp_path, RLVRTrainer, reward=shares_kept, max_steps=1).train()
