"""The probe in trainers that are not simko's, and what it says of verdicts."""

import json

import pytest
import torch
from tiny import LORA, make_trainer, tiny_dataset
from transformers import TrainerCallback
from trl import GRPOTrainer

from simko.adapters.trl import ConcentrationCallback, RLVRTrainer
from simko.adapters.trl.probe import verdicts


def has_digit(completions, **_):
    return [float(any(ch in "02468" for ch in c)) for c in completions]


def probed(tmp_path, cls=GRPOTrainer, *, every=2, rows=6, **options):
    """A finished training and the lines of its probe; every=0: none."""
    own = {"probe_every": every, "probe_rows": rows} if cls is not GRPOTrainer else {}
    trainer = make_trainer(tmp_path, cls, **({"max_steps": 4, "reward": has_digit} | own | options))
    if cls is GRPOTrainer and every:
        trainer.add_callback(ConcentrationCallback(trainer, every=every, rows=rows))
    trainer.train()
    path = tmp_path / "out" / "diagnostics.jsonl"
    return trainer, [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_plain_trainer_logs_what_ours_logs(tmp_path):
    seen = []

    class Reported(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **_):
            seen.append({k: v for k, v in logs.items() if k.startswith("probe/")})

    _, theirs = probed(tmp_path / "trl", trainer={"callbacks": [Reported()]})
    _, ours = probed(tmp_path / "ours", RLVRTrainer)
    assert [line["step"] for line in theirs] == [0, 2]
    assert theirs == ours
    line = theirs[0]
    assert seen[0]["probe/concentration_1"] == pytest.approx(line["concentration"][0])
    assert seen[0]["probe/top_mass_3"] == pytest.approx(line["top_mass"][2])
    assert seen[0]["probe/sampled_rank1"] == pytest.approx(line["sampled_rank1"])
    assert seen[0]["probe/gated/entropy"] == pytest.approx(line["gated"]["entropy"])
    assert seen[0]["probe/correct/concentration_1"] == pytest.approx(line["correct"]["concentration"][0])
    assert seen[1] == {}  # TRL logs every step; the probe comes every second


@pytest.mark.parametrize("peft", [False, True])
def test_a_plain_training_is_left_to_the_bit(tmp_path, peft):
    ends = []
    for every in (0, 1):
        trainer, lines = probed(
            tmp_path / str(every), every=every, max_steps=2, trainer={"peft_config": LORA()} if peft else {}
        )
        assert len(lines) == 2 * every
        assert "_calculate_rewards" not in vars(trainer)
        ends.append(torch.cat([p.detach().flatten() for p in trainer.model.parameters()]))
    assert torch.equal(*ends)


def test_correct_and_incorrect_are_told_by_verdicts_alone(tmp_path):
    _, judged = probed(tmp_path / "judged", max_steps=1, rows=8)
    (line,) = judged
    assert line["correct"]["responses"] + line["incorrect"]["responses"] == line["responses"] == 8
    assert line["correct"]["tokens"] + line["incorrect"]["tokens"] == line["tokens"]
    _, graded = probed(
        tmp_path / "graded", max_steps=1, reward=lambda completions, **_: [len(c) / 10 for c in completions]
    )
    assert not {"correct", "incorrect"} & set(graded[0])


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ([0, 1, 1], [False, True, True]),
        ([-1, 1, -1], [False, True, False]),
        ([1, 1, 1], [True] * 3),
        ([0, 0], [False] * 2),
        ([0, 0.5, 1], None),
        ([-1, 0, 1], None),
        ([0, 1, float("nan")], None),
    ],
)
def test_what_a_verdict_is(rewards, expected):
    found = verdicts(torch.tensor(rewards, dtype=torch.float32))
    assert (None if found is None else found.tolist()) == expected


def test_what_the_callback_refuses(tmp_path):
    with pytest.raises(ValueError, match="GRPOTrainer of TRL's, got object"):
        ConcentrationCallback(object())
    with pytest.raises(ValueError, match="has the probe already: set probe_every"):
        ConcentrationCallback(make_trainer(tmp_path, RLVRTrainer, dataset=tiny_dataset()))
    trainer = make_trainer(tmp_path, GRPOTrainer)
    for words in ({"every": 0}, {"rows": 0}):
        with pytest.raises(ValueError, match="is 0: give a whole number"):
            ConcentrationCallback(trainer, **words)
