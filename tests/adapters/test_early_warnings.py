"""Signs that a run goes wrong: each is told when it begins, and not in a run that goes well."""

import itertools

import pytest
from tiny import make_trainer, tiny_dataset
from trl import GRPOTrainer

from simko.adapters.trl import PassAtKCallback, RLVRTrainer, problems_to_dataset, reward_function
from simko.adapters.trl.early_warnings import SIGNS, EarlyWarnings, new_signs
from simko.adapters.trl.rewards import verdict_shares
from simko.records import Problem, Verdict

BAD = {
    "entropy": ([2.0, 1.0, 0.15, 0.1, 0.1], "entropy has collapsed"),
    "probe/gated_rank_probability_1": ([0.5, 0.97, 0.98, 0.99], "first candidate has 99%"),
    "clip_ratio/region_mean": ([0.0, 0.4, 0.5, 0.6], "60% of the tokens are clipped"),
    "completions/clipped_ratio": ([0.1, 0.6, 0.7, 0.8], "80% of the responses are cut"),
    "sampling/sampling_logp_difference/mean": ([0.01, 0.2, 0.2, 0.2], "disagree by 0.2 nats"),
    "verdicts/rule/whole response": ([0.0, 0.6, 0.8, 0.9], "by the rule whole response, from 0%"),
    "verdicts/commonest_answer": ([0.1, 0.6, 0.7, 0.8], "one and the same answer"),
}
WELL = {
    "entropy": [2.0, 1.5, 1.0, 0.6, 0.5],
    "probe/gated_rank_probability_1": [0.5, 0.6, 0.7, 0.7],
    "clip_ratio/region_mean": [0.0, 0.1, 0.2, 0.1],
    "completions/clipped_ratio": [0.9, 0.9, 0.9, 0.9],
    "sampling/sampling_logp_difference/mean": [0.01, 0.02, 0.01, 0.02],
    "verdicts/rule/box": [0.9, 0.95, 1.0, 1.0],
    "verdicts/commonest_answer": [0.6, 0.7, 0.6, 0.7],
}


def told(name, values):
    """What is told at each row."""
    rows = [{"loss": 0.0, name: value} for value in values]
    return [new_signs(rows[:end]) for end in range(1, len(rows) + 1)]


def test_there_is_a_case_for_every_sign():
    for cases in (BAD, WELL):
        assert all(any(name.startswith(sign.metric) for name in cases) for sign in SIGNS)


@pytest.mark.parametrize("name", BAD)
def test_a_sign_is_told_once_and_again_when_it_is_back(name):
    values, said = BAD[name]
    found = told(name, [*values, values[-1], values[0], *values[-3:]])
    assert [len(f) for f in found] == [0] * (len(values) - 1) + [1, 0, 0, 0, 0, 1]
    assert all(said in f[0] for f in found if f)


@pytest.mark.parametrize("name", WELL)
def test_a_run_that_goes_well_is_told_nothing(name):
    assert not any(told(name, WELL[name]))


def test_a_rule_that_was_not_there_at_first():
    phrase = {"loss": 0.0, "verdicts/rule/phrase": 0.9}
    boxed = {"loss": 0.0, "verdicts/rule/box": 1.0}
    assert len(new_signs([boxed, *[phrase] * 3])) == 1
    between = [
        row for _ in range(3) for row in ({"loss": 0.0}, phrase)
    ]  # rows of a rollout's later updates have no verdicts
    assert len(new_signs([boxed, *between])) == 1
    assert new_signs([boxed, *between, {"loss": 0.0}]) == []
    assert new_signs([{"loss": 0.0}, *[phrase] * 3]) == [], "nothing was correct before"


def test_what_a_verifier_tells_of_its_verdicts():
    verdicts = [Verdict("correct", "7", rule="box")] * 3 + [Verdict("correct", "8", rule="phrase"), Verdict("unparsed")]
    assert verdict_shares(verdicts) == {"rule/box": 0.75, "rule/phrase": 0.25, "commonest_answer": 0.75}
    assert verdict_shares([Verdict("unparsed")]) == {}


@pytest.mark.parametrize("cls", [GRPOTrainer, RLVRTrainer])
def test_a_run_is_stopped_where_that_was_asked_for(tmp_path, cls, caplog):
    """By a real run whose verifier finds its answers by another rule from the second rollout on."""
    calls = itertools.count()

    def judge(response, problem):
        return Verdict(
            "correct" if len(response) % 2 else "wrong", response, rule="box" if next(calls) < 8 else "phrase"
        )

    ours = {"early_warnings": "stop"} if cls is RLVRTrainer else {}
    trainer = make_trainer(
        tmp_path, cls, dataset=problems_to_dataset([Problem(str(i), f"{i}+{i}=") for i in range(8)]), max_steps=9,
        reward=reward_function(judge), save_strategy="steps", save_steps=100, **ours,
    )  # fmt: skip
    if cls is GRPOTrainer:
        trainer.add_callback(EarlyWarnings(stop=True))
    trainer.train()
    assert trainer.state.global_step == 4
    assert "by the rule phrase, from 0%" in caplog.text
    assert (tmp_path / "out" / "checkpoint-4").is_dir()


@pytest.mark.parametrize("value", ["loudly", None, True])
def test_another_choice_is_refused(tmp_path, value):
    with pytest.raises(ValueError, match="early_warnings must be one of tell, stop, off"):
        make_trainer(tmp_path, RLVRTrainer, early_warnings=value)


class Falling:
    """A verifier under which ever fewer of the held-out problems are ever solved, and pass@1 stays."""

    def __init__(self, problems, n):
        self.calls, self.problems, self.n = itertools.count(), problems, n

    def __call__(self, response, problem):
        call = next(self.calls)
        evaluation, index = divmod(call, self.problems * self.n)
        solved, draw = divmod(index, self.n)
        every = 2**evaluation  # a draw of n for each of all problems; 2 of n for each second one; ...
        return solved % every == 0 and draw < every


@pytest.mark.parametrize("cls", [GRPOTrainer, RLVRTrainer])
def test_falling_coverage_is_told_and_the_best_checkpoint_kept(tmp_path, cls, caplog):
    trainer = make_trainer(
        tmp_path, cls, dataset=tiny_dataset(8), max_steps=4, save_strategy="steps", save_steps=1, save_total_limit=2,
        max_completion_length=2,
    )  # fmt: skip
    held_out, n = [Problem(str(i), f"{i}+1=") for i in range(16)], 8
    trainer.add_callback(PassAtKCallback(trainer, held_out, Falling(16, n), n, 1, ks=(1, 4, 8), keep_best=8))
    trainer.train()
    assert "pass@8 has fallen by 0.500" in caplog.text
    assert "consider stopping here, with the checkpoint of step 0" in caplog.text
    assert trainer.state.best_global_step == 1
    assert trainer.state.best_model_checkpoint == str(tmp_path / "out" / "checkpoint-1")
    assert sorted(p.name for p in (tmp_path / "out").glob("checkpoint-*")) == ["checkpoint-1", "checkpoint-4"]


def test_a_run_may_stop_where_coverage_falls(tmp_path):
    options = {"max_steps": 4, "max_completion_length": 2, "save_strategy": "steps"}
    trainer = make_trainer(tmp_path, RLVRTrainer, dataset=tiny_dataset(8), **options)
    held_out, n = [Problem(str(i), f"{i}+1=") for i in range(16)], 8
    trainer.add_callback(PassAtKCallback(trainer, held_out, Falling(16, n), n, 1, keep_best=8, stop=True))
    trainer.train()
    assert trainer.state.global_step == 1


@pytest.mark.parametrize(
    ("options", "said"), [({"keep_best": 3}, "keep_best is 3"), ({"keep_best": 4}, "save_strategy")]
)
def test_what_cannot_be_kept(tmp_path, options, said):
    trainer = make_trainer(tmp_path, RLVRTrainer)
    with pytest.raises(ValueError, match=said):
        PassAtKCallback(trainer, [Problem("a", "1")], lambda r, p: True, 4, 1, **options)
