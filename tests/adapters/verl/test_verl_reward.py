"""simko's verifiers as verl's reward function, alone and through verl's own reward workers."""

import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("verl.protocol", reason="verl is not installed: make test-verl")

import numpy as np
import torch
from hydra import compose, initialize_config_module
from toy import make_rows, row
from verl.experimental.reward_loop.reward_loop import RewardLoopWorker
from verl.protocol import DataProto

from simko.adapters.verl import check_config, reward
from simko.adapters.verl.reward import check_reward, compute_score
from simko.verifiers import VerifierError

HOSTILE = Path(__file__).parents[2] / "verifiers" / "hostile_answers.json"
FUNCTION = "reward.custom_reward_function"
OURS = f"{FUNCTION}.path=pkg://simko.adapters.verl.reward"
OWN = """
from simko.records import Verdict

def judge(response, problem):
    if response == "fail":
        return Verdict("error")
    if response == "raise":
        raise KeyError("gold")
    return response == problem.metadata.get("also", problem.answer)
"""


def config(*options):
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", [OURS, *options])


@pytest.fixture
def own(tmp_path):
    """A verifier of the user's own."""
    (tmp_path / "own.py").write_text(OWN)
    return f"{tmp_path / 'own.py'}:judge"


def problem(**changed):
    """extra_info with a whole problem."""
    return {"problem": json.dumps({"id": "p", "prompt": "", "answer": "2", "metadata": {}} | changed)}


def test_a_response_is_graded_against_the_ground_truth():
    correct = {"score": 1.0, "acc": 1.0, "outcome": "correct", "pred": "0.5"}
    assert compute_score("maths", r"so \boxed{\frac12}", "0.5") == correct
    assert compute_score("maths", r"\boxed{3}", 2)["outcome"] == "wrong"
    unparsed = {"score": 0.0, "acc": 0.0, "outcome": "unparsed", "pred": ""}
    assert compute_score("maths", "no idea", "2", verifier="last_integer") == unparsed


def test_the_option_goes_before_the_row_and_the_row_before_the_default():
    extra = {"verifier": "last_box", "index": 0, "problem": None}  # as parquet fills what other rows alone have
    assert compute_score("d", "It is 2.", "2", extra)["outcome"] == "unparsed"
    assert compute_score("d", "It is 2.", "2", extra, verifier="last_integer")["outcome"] == "correct"
    assert compute_score("d", "The answer is 2.", "2", {})["outcome"] == "correct"


def test_the_row_holds_the_whole_problem(own):
    assert compute_score("d", "two", "2", problem(metadata={"also": "two"}), verifier=own)["score"] == 1.0
    assert compute_score("d", "2", "2", problem(metadata={"also": "two"}), verifier=own)["score"] == 0.0


def test_what_verl_cannot_mean_is_refused(own):
    for arguments, said in [
        (("2", None, "mathz"), "mathz"),
        ((["1", "2"], None, "exact"), "a text or a number"),
        ((True, None, "exact"), "a text or a number"),
        (("3", problem(), "exact"), "'2' in extra_info, '3' in reward_model"),
        (("2", {"problem": '{"id": 1'}, "exact"), "not the JSON of a Problem"),
        (("2", {"problem": '{"idd": "x"}'}, "exact"), "not the JSON of a Problem"),
        (("", None, "math"), "d/"),
    ]:
        truth, extra, verifier = arguments
        with pytest.raises(ValueError, match=said):
            compute_score("d", "2", truth, extra, verifier=verifier)


@pytest.mark.parametrize("response", ["fail", "raise"])
def test_a_failure_of_the_verifier_is_no_reward(own, response, monkeypatch):
    monkeypatch.setattr(reward, "_WAITING", reward._Waiting())
    compute_score("d", "2", "2", verifier=own)
    with pytest.raises(VerifierError, match=r"problem 'd/\?'"):
        compute_score("d", response, "2", verifier=own)
    assert reward._WAITING.count() == "1 of this process's 2 so far"


def test_calls_that_wait_are_graded_together(own, monkeypatch):
    """Also where the verifier fails on some of them: the others keep their rewards."""
    batches, first = [], threading.Event()
    grade_many = reward.grade_many

    def spy(judge, answers):
        batches.append(len(answers))
        first.wait(60)
        return grade_many(judge, answers)

    monkeypatch.setattr(reward, "grade_many", spy)
    monkeypatch.setattr(reward, "_WAITING", reward._Waiting())
    responses = ["2", "1", "raise", "2", "fail", "2"]
    with ThreadPoolExecutor(len(responses)) as threads:
        calls = [threads.submit(compute_score, "d", r, "2", verifier=own) for r in responses]
        while reward._WAITING._queue.qsize() < len(responses) - 1:
            pass
        first.set()
    assert batches[:2] == [1, 5]
    assert [None if c.exception() else c.result()["score"] for c in calls] == [1.0, 0.0, None, 1.0, None, 1.0]


def test_a_config_that_can_grade(tmp_path):
    make_rows(tmp_path / "train.parquet", 3)
    (tmp_path / "val.jsonl").write_text(json.dumps(row(0, 1, "exact")) + "\n")
    check_reward(config(f"data.train_files={tmp_path}/train.parquet", f"data.val_files=[{tmp_path}/val.jsonl]"))
    check_reward(config(f"+{FUNCTION}.reward_kwargs.verifier=last_box"))
    check_reward(config(f"{FUNCTION}.path=theirs.py", f"+{FUNCTION}.reward_kwargs.verifier=theirs"))


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (f"+{FUNCTION}.reward_kwargs.verifier=mathz", "no verifier is called 'mathz'"),
        (f"+{FUNCTION}.reward_kwargs.verifyer=math", "has verifyer: it takes verifier alone"),
        (f"{FUNCTION}.name=score", "say compute_score"),
        ("reward.reward_manager.name=rate_limited", "reward 0 to a response on which the verifier failed"),
    ],
)
@pytest.mark.parametrize("path", ["pkg://simko.adapters.verl.reward", "pkg://simko/adapters/verl/reward"])
def test_a_config_that_cannot_grade(option, said, path):
    with pytest.raises(ValueError, match=said) as caught:
        check_config(config(option, f"{FUNCTION}.path={path}"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"extra_info": {"verifier": "mathz"}}, "no verifier is called 'mathz'"),
        ({"extra_info": {"verifier": "math"}, "reward_model": {"ground_truth": ""}}, "successor"),
        ({"reward_model": {"style": "rule"}}, "has no ground_truth"),
    ],
)
def test_a_row_that_cannot_be_graded_is_named(tmp_path, changed, said):
    file = tmp_path / "train.jsonl"
    file.write_text(json.dumps(row(0, 1, "exact") | changed) + "\n")
    with pytest.raises(ValueError, match=rf"data.train_files=.*train.jsonl, row 0: .*{said}"):
        check_reward(config(f"data.train_files={file}"))


def byte_tokenizer(folder):
    """Any text, a token a byte."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    symbols = ["<pad>", "<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({symbol: i for i, symbol in enumerate(symbols)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>")
    fast.save_pretrained(folder)
    return fast


def test_good_answers_among_hostile_ones_through_verls_reward_worker(tmp_path):
    tokenizer = byte_tokenizer(tmp_path)
    texts = ["".join(part * times for part, times in row) for row in json.loads(HOSTILE.read_text())]
    hostile = [(f"\\boxed{{{text}}}", "42", 0.0) for text in texts if len(text) < 1000]
    good = [(f"\\boxed{{x^2+{n + 3}x+{3 * n}}}", f"(x+{n})(x+3)", 1.0) for n in range(16)]
    rows = hostile + good
    random.Random(0).shuffle(rows)
    assert len(hostile) >= 15

    ids = [tokenizer.encode(response) for response, _, _ in rows]
    width = max(map(len, ids))
    responses = torch.tensor([row + [0] * (width - len(row)) for row in ids])
    lengths = torch.tensor([[len(row)] for row in ids])
    data = DataProto.from_dict(
        tensors={
            "prompts": torch.ones(len(rows), 1, dtype=torch.long),
            "responses": responses,
            "attention_mask": (torch.arange(-1, width) < lengths).long(),
        },
        non_tensors={
            "data_source": np.array(["maths"] * len(rows), dtype=object),
            "reward_model": np.array([{"ground_truth": gold} for _, gold, _ in rows], dtype=object),
            "extra_info": np.array([{"index": i} for i in range(len(rows))], dtype=object),
        },
    )
    worker = RewardLoopWorker(config(f"actor_rollout_ref.model.path={tmp_path}"))
    results = worker.loop.run_until_complete(worker.compute_score_batch(data))
    assert [result["reward_score"] for result in results] == [reward for _, _, reward in rows]
    assert {"outcome", "acc", "pred"} < set(results[0]["reward_extra_info"])
