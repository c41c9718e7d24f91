import json
from pathlib import Path

import pandas as pd
import pytest
from tiny import make_trainer

from simko.adapters.trl import RLVRTrainer, problems_to_dataset, reward_function
from simko.records import Problem, Verdict
from simko.verifiers import VerifierError, get_verifier


def equals(response, problem):
    """Correct if the response is the answer; an error of its own on a problem it cannot read."""
    if problem.answer == "?":
        return Verdict("error")
    if problem.metadata.get("broken"):
        raise KeyError("gold")
    return Verdict("correct" if response == problem.answer else "wrong", extracted=response)


PROBLEMS = [
    Problem("a", "1+1=", "2"),
    Problem("b", "2+2=", "4", {"level": 3, "tags": ["x"]}),
    Problem("c", "c", "?"),
    Problem("d", "d", "5", {"broken": True}),
]


def columns(*ids, **changed):
    rows = [row for row in problems_to_dataset(PROBLEMS) if row["problem_id"] in ids]
    table = {name: [row[name] for row in rows] for name in ("problem_id", "answer", "metadata")}
    return {"prompts": [row["prompt"] for row in rows]} | table | changed


def test_dataset_of_texts():
    rows = problems_to_dataset(PROBLEMS)
    assert rows.column_names == ["prompt", "problem_id", "answer", "metadata"]
    assert rows["prompt"][0] == "1+1="
    assert json.loads(rows["metadata"][1]) == {"level": 3, "tags": ["x"]}
    assert json.loads(rows["metadata"][0]) == {}


def test_dataset_of_conversations():
    assert problems_to_dataset(PROBLEMS[:1], chat=True)["prompt"][0] == [{"role": "user", "content": "1+1="}]


def test_no_problems():
    with pytest.raises(ValueError, match="no problems"):
        problems_to_dataset([])


def test_rewards():
    reward = reward_function(equals)
    assert reward(completions=["2", "5"], **columns("a", "b")) == [1.0, 0.0]


def test_an_error_of_the_verifiers_own_is_no_reward():
    assert reward_function(equals)(completions=["2", "2"], **columns("a", "c")) == [1.0, None]


def test_chat_completions():
    said = [[{"role": "assistant", "content": "thinking"}, {"role": "assistant", "content": "2"}]]
    asked = columns("a", prompts=[[{"role": "system", "content": "s"}, {"role": "user", "content": "1+1="}]])
    prompts = []

    def spy(response, problem):
        prompts.append(problem.prompt)
        return equals(response, problem)

    assert reward_function(spy)(completions=said, **asked) == [1.0]
    assert prompts == ["1+1="]


def test_the_verifier_sees_the_whole_problem():
    seen = []
    reward_function(lambda response, problem: seen.append(problem) or Verdict("wrong"))(
        completions=["x"], **columns("b")
    )
    assert seen == [PROBLEMS[1]]


@pytest.mark.parametrize("column", ["problem_id", "answer", "metadata"])
def test_missing_column(column):
    rest = columns("a")
    del rest[column]
    with pytest.raises(ValueError, match=f"no column {column}.*problems_to_dataset"):
        reward_function(equals)(completions=["2"], **rest)


def test_verifier_that_raises():
    with pytest.raises(VerifierError, match=r"raised KeyError on problem 'd'.*'some answer'") as caught:
        reward_function(equals)(completions=["some answer"], **columns("d"))
    assert isinstance(caught.value.__cause__, KeyError)


def test_samples_file(tmp_path):
    path = tmp_path / "samples.jsonl"
    reward = reward_function(equals, samples=path)
    state = type("State", (), {"global_step": 7})()
    reward(completions=["2", "é\n5"], trainer_state=state, **columns("a", "b"))
    reward(completions=["9"], **columns("c"))
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == [
        {
            "step": 7,
            "problem_id": "a",
            "response": "2",
            "outcome": "correct",
            "extracted": "2",
            "score": None,
            "rule": None,
        },
        {
            "step": 7,
            "problem_id": "b",
            "response": "é\n5",
            "outcome": "wrong",
            "extracted": "é\n5",
            "score": None,
            "rule": None,
        },
        {
            "step": None,
            "problem_id": "c",
            "response": "9",
            "outcome": "error",
            "extracted": None,
            "score": None,
            "rule": None,
        },
    ]


def test_a_full_disk_is_named():
    reward = reward_function(equals, samples=Path("/dev/full"))
    with pytest.raises(OSError, match=r"/dev/full cannot be written \(No space left on device\)"):
        reward(completions=["2"], **columns("a"))


def test_names():
    assert reward_function(equals).__name__ == "equals"
    assert reward_function(equals, name="right").__name__ == "right"
    assert reward_function(get_verifier("last_integer")).__name__ == "verify_last_integer"

    class Judge:
        def __call__(self, response, problem):
            return Verdict("wrong")

    assert reward_function(Judge()).__name__  # TRL names the reward's metrics by it


@pytest.mark.parametrize("chat", [False, True])
def test_in_a_trainer(tmp_path, chat):
    """The columns arrive from the dataset, the step from the trainer, and unscorable responses train nothing."""

    def digits(response, problem):
        if problem.id == "p0":
            return Verdict("error")
        return Verdict("correct" if any(ch.isdigit() for ch in response[:2]) else "wrong")

    problems = [Problem(f"p{i}", f"{i}+{i}=") for i in range(8)]
    path = tmp_path / "samples.jsonl"
    trainer = make_trainer(
        tmp_path, RLVRTrainer, dataset=problems_to_dataset(problems, chat=chat), max_steps=2,
        per_device_train_batch_size=16, reward=reward_function(digits, samples=path), before=chat_template if chat else None,
    )  # fmt: skip
    trainer.train()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [0] * 16 + [1] * 16
    assert {line["problem_id"] for line in lines} <= {p.id for p in problems}
    shares = [row["rewards/digits/mean"] for row in trainer.state.log_history if "rewards/digits/mean" in row]
    for step, share in enumerate(shares):
        graded = [line for line in lines if line["step"] == step and line["outcome"] != "error"]
        assert share == pytest.approx(sum(line["outcome"] == "correct" for line in graded) / len(graded))


def chat_template(tokenizer):
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


def test_verdicts_are_a_column_of_trls_table_of_completions(tmp_path):
    """A rollout without verdicts has none there, not those of the last one."""
    problems = [Problem(f"p{i}", f"{i}+{i}=") for i in range(8)]
    calls = []

    def digits(response, problem):
        if len(calls) == 2:
            raise KeyError("gold")
        return "0" <= response[:1] <= "9"

    reward = reward_function(digits)

    def counted(prompts, completions, **more):
        calls.append(completions)
        return reward(prompts, completions, **more)

    options = {"reward_failures": "mask", "log_completions": True, "max_steps": 3}
    trainer = make_trainer(tmp_path, RLVRTrainer, dataset=problems_to_dataset(problems), reward=counted, **options)
    trainer.train()
    tables = [pd.read_parquet(path) for path in sorted((tmp_path / "out" / "completions").iterdir())]
    assert len(tables) == len(calls) == 3
    for table, completions in zip(tables, calls, strict=True):
        assert list(table["completion"]) == completions
    told = [list(table["digits/verdict"]) for table in tables]
    assert told[1] == [None] * 8
    for i in (0, 2):
        assert told[i] == ["correct" if "0" <= text[:1] <= "9" else "wrong" for text in calls[i]]
