"""Samples with verdicts in trackio (make test-viewers): what TRL logs of completions by itself, and what the reward function adds."""

import os
import tempfile

import pytest

os.environ["TRACKIO_DIR"] = tempfile.mkdtemp()  # which trackio reads when it is imported
trackio = pytest.importorskip("trackio")

from tiny import make_trainer  # noqa: E402
from trackio.sqlite_storage import SQLiteStorage  # noqa: E402
from trl import GRPOTrainer  # noqa: E402

from simko.adapters.trl import SimKOTrainer, problems_to_dataset, reward_function  # noqa: E402
from simko.records import Problem, Verdict  # noqa: E402

PROBLEMS = [Problem(f"p{i}\x00", f"{i}+1=", f"{i + 1}</script>") for i in range(8)]


def judge(response: str, problem: Problem) -> Verdict:
    even = any(digit in "02468" for digit in response)
    return Verdict("correct" if even else "wrong", f"\ud800\x00{response}", rule="box" if even else None)


def trained(folder, cls, **options):
    dataset, reward = problems_to_dataset(PROBLEMS), reward_function(judge, name="judge")
    steps = {"max_steps": 2, "project": folder.name, "run_name": "run"}
    trainer = make_trainer(folder, cls, dataset=dataset, reward=reward, **steps | options)
    trainer.train()
    return SQLiteStorage.get_traces(folder.name, "run", sort="step_asc"), SQLiteStorage.get_logs(folder.name, "run")


@pytest.mark.parametrize("cls", [GRPOTrainer, SimKOTrainer])
def test_every_rollout_leaves_traces_with_verdicts(cls, tmp_path):
    traces, _ = trained(tmp_path, cls, report_to="trackio")
    assert [trace["step"] for trace in traces] == [0] * 8 + [1] * 8
    asked = {p.prompt: p for p in PROBLEMS}
    for trace in traces:
        user, assistant = trace["messages"]
        problem, response = asked[user["content"]], assistant["content"]
        verdict = judge(response, problem)
        assert (user["role"], assistant["role"]) == ("user", "assistant")
        about = {"problem_id": problem.id, "answer": problem.answer, "status": verdict.outcome}
        about |= {"extracted": f"?\x00{response}", "reward": float(verdict.outcome == "correct")}
        assert trace["metadata"] == about | ({"rule": "box"} if verdict.rule else {})


def test_trl_logs_a_table_of_completions_by_itself_which_the_verdicts_join(tmp_path):
    traces, logs = trained(tmp_path, GRPOTrainer, report_to="trackio", log_completions=True, max_steps=1)
    (table,) = {str(row["completions"]): row["completions"] for row in logs if "completions" in row}.values()
    shown = [{key: row[key] for key in ("prompt", "completion", "judge/verdict")} for row in table["_value"]]
    told = [
        {
            "prompt": t["messages"][0]["content"],
            "completion": t["messages"][1]["content"],
            "judge/verdict": t["metadata"]["status"],
        }
        for t in traces
    ]
    key = lambda row: sorted(map(str, row.values()))  # noqa: E731
    assert sorted(shown, key=key) == sorted(told, key=key)


def test_no_run_of_trackio_no_traces(tmp_path):
    assert trained(tmp_path, GRPOTrainer) == ([], [])
