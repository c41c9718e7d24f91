"""Countdown's problems and traces: splits, several solutions for most problems, walks that the verifier accepts."""

import pytest

from simko.records import Problem
from simko.tasks import countdown_traces, get_task
from simko.verifiers import verify_countdown
from simko.verifiers.countdown import MAX_VALUE

PINNED = {
    "test": ["5_4_8_1=17", "6_11_1_10=6", "12_10_6_8=4"],
    "train": ["6_11_2_6=29", "4_5_9_3=36", "7_2_3_10=27"],
}


def _numbers(prompt: str) -> tuple[int, ...]:
    """A prompt's numbers, sorted."""
    return tuple(sorted(map(int, prompt.split(" = ")[0].split())))


def _solutions(numbers: list[int], target: int) -> list[str]:
    """Every response that passes, by trying all pairs and operators."""
    if len(numbers) == 1:
        return [""] if numbers == [target] else []
    found = set()
    for i, a in enumerate(numbers):
        for j, b in enumerate(numbers):
            if i == j:
                continue
            rest = [n for k, n in enumerate(numbers) if k not in (i, j)]
            for sign, result in (("+", a + b), ("-", a - b), ("*", a * b), ("/", a / b)):
                if result in range(1, MAX_VALUE + 1):
                    step = f"{a} {sign} {b} = {int(result)}"
                    found |= {f"{step} ; {more}" if more else step for more in _solutions([*rest, int(result)], target)}
    return sorted(found)


def test_the_splits_share_no_numbers_in_any_order() -> None:
    task = get_task("countdown")
    train, test = task.load("train"), task.load("test", 1_000)
    assert (len(train), len(task.load("test"))) == (20_000, 128)
    assert not {_numbers(p.prompt) for p in train} & {_numbers(p.prompt) for p in test}
    for problems in (train, test):  # nor does a problem occur again in another order
        assert len({(_numbers(p.prompt), p.prompt.split(" = ")[1]) for p in problems}) == len(problems)


def test_the_first_problems_are_pinned() -> None:
    # other problems under the same name would make old figures incomparable
    for split in ("train", "test"):
        assert [p.id for p in get_task("countdown").load(split, 3)] == PINNED[split]
    assert get_task("countdown").load("test", 1)[0].prompt == "5 4 8 1 = 17"


def test_it_says_when_it_runs_out() -> None:
    with pytest.raises(ValueError, match=r"countdown has about \d+ test problems to give.*lower the limit"):
        get_task("countdown").load("test", 10**7)


def test_most_problems_have_several_solutions_and_all_pass() -> None:
    counts = []
    for problem in get_task("countdown").load("test", 24):
        left, target = problem.prompt.split(" = ")
        solutions = _solutions([int(n) for n in left.split()], int(target))
        counts.append(len(solutions))
        assert all(verify_countdown(solution, problem).outcome == "correct" for solution in solutions)
    assert min(counts) >= 1
    assert sum(count > 1 for count in counts) > 0.9 * len(counts)


def test_traces_are_valid_walks_of_the_training_split() -> None:
    assert all(verify_countdown(r, Problem("p", p)).outcome == "correct" for p, r in countdown_traces(300, 3, 0.0))
    rows = countdown_traces(5_000, seed=3, shuffled_targets=0.7)
    assert not {_numbers(prompt) for prompt, _ in rows} & {
        _numbers(p.prompt) for p in get_task("countdown").load("test", 4_000)
    }
    reached = 0
    for prompt, response in rows:
        walked = f"{prompt.split(' = ')[0]} = {response.split()[-1]}"
        assert verify_countdown(response, Problem("p", walked)).outcome == "correct"
        reached += walked == prompt
    assert 0.28 < reached / len(rows) < 0.40  # 30 % untouched, and a few exchanged targets that happen to fit


def test_traces_are_seeded_and_each_is_seventeen_words() -> None:
    rows = countdown_traces(100, seed=0)
    assert {len(response.split()) for _, response in rows} == {17}
    assert rows == countdown_traces(100, seed=0)
    assert rows != countdown_traces(100, seed=1)
    assert [len(countdown_traces(n, seed=0)) for n in (0, 1, 7)] == [0, 1, 7]
    for share in (-0.1, 70, float("nan")):
        with pytest.raises(ValueError, match="share from 0 to 1"):
            countdown_traces(10, seed=0, shuffled_targets=share)
