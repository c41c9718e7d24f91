"""The probe in trainers that are not simko's, and what it says of verdicts."""

import json

import pytest
import torch
from tiny import LORA, make_trainer, tiny_dataset
from transformers import TrainerCallback
from trl import GRPOTrainer

from simko.adapters.trl import ConcentrationCallback, RLVRTrainer
from simko.adapters.trl.probe import verdicts
from simko.cli.main import main
from simko.evaluate import SampleStore
from simko.records import Problem, Sample, Verdict


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
    for name in ("gated", "correct", "incorrect"):
        for rank in (1, 2, 3):
            logged = seen[0][f"probe/{name}/concentration_{rank}"]
            assert logged == pytest.approx(line[name]["concentration"][rank - 1])
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


def test_teacher_forcing_gives_what_the_probe_logged(tmp_path):
    """`simko diagnose` on the checkpoint and the responses of a probed rollout, read back as text."""
    rollouts = []

    generated = []

    def reward(prompts, completions, completion_ids, **_):
        generated[:] = zip(prompts, completions, completion_ids, has_digit(completions), strict=True)
        return has_digit(completions)

    trainer = make_trainer(
        tmp_path, RLVRTrainer, reward=reward, max_steps=4, probe_every=2, probe_rows=8, save_strategy="steps", save_steps=2,
        generation_kwargs={"suppress_tokens": [0, 2]},  # text does not keep padding and unknown tokens
    )  # fmt: skip
    measure = trainer.probe.measure
    trainer.probe.measure = lambda *words: (
        rollouts.append((trainer.state.global_step, list(generated))),
        measure(*words),
    )
    trainer.train()
    lines = [json.loads(line) for line in (tmp_path / "out" / "diagnostics.jsonl").read_text().splitlines()]
    (step, rows), line = rollouts[-1], lines[-1]
    assert step == line["step"] == 2
    problems = [Problem(prompt, prompt) for prompt in dict.fromkeys(prompt for prompt, *_ in rows)]
    with SampleStore(tmp_path / "samples.db") as store:
        setting = store.begin("rollout", "T=1", {"chat": False}, "has digit", problems, len(rows))
        for i, (prompt, text, ids, right) in enumerate(rows):
            sample = Sample(prompt, i, text, len(ids), "stop" if ids[-1] == 1 else "length")
            store.add(setting, [sample], [Verdict("correct" if right else "wrong")])
    words = [
        "--samples",
        str(tmp_path / "samples.db"),
        "--out",
        str(tmp_path / "page.html"),
        "--candidates",
        "6",
        "--quiet",
    ]
    checkpoint = tmp_path / "out" / "checkpoint-2"
    assert main(["diagnose", "--model", f"policy={checkpoint}", *words]) == 0
    (model,) = json.loads((tmp_path / "page.records" / "diagnosis.json").read_text())["models"]
    assert (model["other_lengths"], model["left_out"]) == (0, {})
    found = flat(model["summary"])
    expected = flat({key: value for key, value in line.items() if key != "step"})
    assert found.keys() == expected.keys()
    assert line["correct"]["responses"] not in (0, 8)
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, abs=2e-5), key


def flat(value, name=""):
    if isinstance(value, dict):
        return {k: v for key, x in value.items() for k, v in flat(x, f"{name}.{key}").items()}
    if isinstance(value, list):
        return {k: v for i, x in enumerate(value) for k, v in flat(x, f"{name}.{i}").items()}
    return {name: value}
