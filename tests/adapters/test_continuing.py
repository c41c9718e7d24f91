"""What a continued run does with options that changed, with copies of checkpoints, and with its best model."""

import math
import shutil

import pytest
import torch
from tiny import digit_share, make_trainer, tiny_dataset
from transformers import TrainerCallback
from trl import GRPOTrainer

from simko.adapters.trl import Checkpoints, Guards, RLVRConfig
from simko.evaluate.checkpoint_files import seal


class Mine(Checkpoints, Guards, GRPOTrainer):
    """TRL's own trainer with the mix-ins."""


RUN = {"per_device_train_batch_size": 4, "max_completion_length": 4, "save_strategy": "steps", "save_steps": 4}


class Stop(TrainerCallback):
    """Ends a run as a signal would, after a save."""

    def __init__(self, step):
        self.step = step

    def on_save(self, args, state, control, **_):
        if state.global_step == self.step:
            raise KeyboardInterrupt


def stopped(folder, at, **options):
    trainer = make_trainer(folder, Mine, **RUN | options)
    trainer.add_callback(Stop(at))
    with pytest.raises(KeyboardInterrupt):
        trainer.train()


def steps(folder):
    return sorted(int(p.name.removeprefix("checkpoint-")) for p in (folder / "out").glob("checkpoint-*"))


@pytest.mark.parametrize(
    ("changed", "saves", "logs"),
    [
        ({"save_steps": 2}, [4, 6, 8, 9], [5, 6, 7, 8, 9]),
        ({"save_steps": 0.5}, [4, 5, 9], [5, 6, 7, 8, 9]),
        ({"logging_steps": 3}, [4, 8, 9], [6, 9]),
        ({"save_steps": 3, "save_total_limit": 2}, [6, 9], [5, 6, 7, 8, 9]),
    ],
)
def test_a_changed_rhythm_is_that_of_the_continued_run(tmp_path, changed, saves, logs):
    stopped(tmp_path, 4, max_steps=9)
    trainer = make_trainer(tmp_path, Mine, **RUN | {"max_steps": 9} | changed)
    trainer.train(resume_from_checkpoint=True)
    assert steps(tmp_path) == saves
    assert [r["step"] for r in trainer.state.log_history if "loss" in r and r["step"] > 4] == logs


def test_other_evaluations_are_made_and_named(tmp_path, caplog):
    options = {"max_steps": 6, "eval_strategy": "steps", "per_device_eval_batch_size": 8}
    options["trainer"] = {"eval_dataset": tiny_dataset(2)}
    stopped(tmp_path, 4, eval_steps=3, **options)
    trainer = make_trainer(tmp_path, Mine, **RUN | options | {"eval_steps": 1})
    trainer.train(resume_from_checkpoint=True)
    assert [r["step"] for r in trainer.state.log_history if "eval_reward" in r] == [3, 5, 6]
    assert "other options: eval_steps (was 3, is 1)" in caplog.text


@pytest.mark.parametrize("best", [1, 2, 3])
def test_the_best_model_is_loaded_though_its_save_was_put_off(tmp_path, best):
    weights = {}

    class Weights(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            weights[state.global_step] = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])

    def judge(completions, **_):
        return [10.0 * (trainer.state.global_step == best) + r for r in digit_share(completions)]

    trainer = make_trainer(
        tmp_path, Mine, reward=judge, max_steps=4, eval_strategy="steps", eval_steps=1, per_device_eval_batch_size=8,
        load_best_model_at_end=True, metric_for_best_model="eval_reward", greater_is_better=True,
        trainer={"eval_dataset": tiny_dataset(2)}, **RUN | {"save_steps": 1, "steps_per_generation": 4, "save_total_limit": 1},
    )  # fmt: skip
    trainer.add_callback(Weights())
    trainer.train()
    assert trainer.state.best_global_step == best
    assert trainer.state.best_model_checkpoint == str(tmp_path / "out" / f"checkpoint-{best}")
    assert torch.equal(torch.cat([p.detach().flatten() for p in trainer.model.parameters()]), weights[best])


@pytest.mark.parametrize("name", ["best", "checkpoint-best", "2", "checkpoint-²"])
def test_a_copy_under_another_name_continues(tmp_path, name):
    options = RUN | {"max_steps": 2, "save_steps": 1, "lr_scheduler_type": "constant"}
    make_trainer(tmp_path, Mine, **options).train()
    shutil.copytree(tmp_path / "out" / "checkpoint-1", tmp_path / name)
    trainer = make_trainer(tmp_path, Mine, **options)
    if name == "2":  # a name that is a number says which step it is
        with pytest.raises(ValueError, match=r"2 cannot be continued \(manifest\.json is of another step, 1\)"):
            trainer.train(resume_from_checkpoint=str(tmp_path / name))
        return
    trainer.train(resume_from_checkpoint=str(tmp_path / name))
    assert trainer.state.global_step == 2
    (tmp_path / name / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=rf"{name} cannot be continued \(model\.safetensors has 0"):
        trainer.train(resume_from_checkpoint=str(tmp_path / name))


def test_a_run_that_is_done_makes_no_more_updates(tmp_path):
    """Trainer makes one, and saves it."""
    options = RUN | {"save_steps": 1, "lr_scheduler_type": "constant"}
    trainers = [make_trainer(tmp_path, Mine, max_steps=3, **options) for _ in range(2)]
    assert [trainer.train(resume_from_checkpoint=True).global_step for trainer in trainers] == [3, 3]
    assert all(map(torch.equal, trainers[0].model.parameters(), trainers[1].model.parameters()))
    assert steps(tmp_path) == [1, 2, 3]


def test_more_updates_than_the_run_has(tmp_path):
    options = RUN | {"save_steps": 1, "lr_scheduler_type": "constant"}
    make_trainer(tmp_path, Mine, max_steps=3, **options).train()
    with pytest.raises(ValueError, match=r"checkpoint-3 has more updates than the 2 of this run"):
        make_trainer(tmp_path, Mine, max_steps=2, **options).train(resume_from_checkpoint=True)


@pytest.mark.parametrize("wrote", [2, 4])
def test_checkpoints_of_more_processes_are_named(tmp_path, wrote):
    """As of a run of 2 or 4 that one process continues; its random states are its processes'."""
    options = RUN | {"max_steps": 2, "save_steps": 1}
    make_trainer(tmp_path, Mine, **options).train()
    for checkpoint in (tmp_path / "out").glob("checkpoint-*"):
        (checkpoint / "manifest.json").unlink()
        for rank in range(wrote):
            shutil.copy(checkpoint / "rng_state.pth", checkpoint / f"rng_state_{rank}.pth")
        (checkpoint / "rng_state.pth").unlink()
        seal(checkpoint, int(checkpoint.name.removeprefix("checkpoint-")), {})
    for given in (True, str(tmp_path / "out" / "checkpoint-1")):
        with pytest.raises(ValueError, match=rf"cannot be continued \(its world size is {wrote}, and this run's 1\)"):
            make_trainer(tmp_path, Mine, **options).train(resume_from_checkpoint=given)


@pytest.mark.parametrize("name", ["enable_jit_checkpoint", "ignore_data_skip"])
def test_options_without_exact_checkpoints_are_refused_at_the_start(tmp_path, name):
    with pytest.raises(ValueError, match=name):
        make_trainer(tmp_path, Mine, max_steps=1, **RUN | {name: True}).train()


NUMBERS = [
    "learning_rate",
    "weight_decay",
    "beta",
    "epsilon",
    "temperature",
    "adam_epsilon",
    "warmup_steps",
    "num_train_epochs",
]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (n, x) for n in NUMBERS for x in (math.nan, math.inf, -1.0) if (n, x) != ("epsilon", math.inf)
    ],  # which clips nothing
)
def test_numbers_that_no_option_takes(tmp_path, name, value):
    with pytest.raises(ValueError, match=rf"{name} must be (a finite number|at least 0), got"):
        RLVRConfig(str(tmp_path), **{name: value})
    if name == "learning_rate":
        with pytest.raises(ValueError, match="learning_rate must be"):
            make_trainer(tmp_path, Mine, max_steps=1, **RUN | {name: value}).train()


def test_weights_of_rewards_that_are_no_numbers(tmp_path):
    with pytest.raises(ValueError, match="reward_weights must hold finite numbers"):
        RLVRConfig(str(tmp_path), reward_weights=[1.0, float("nan")])


@pytest.mark.parametrize("path", ["", "  ", "a\x1b[31mred", "a\nb", "a\x00b", "a\u202eb", "a\x9bb"])
def test_paths_that_a_terminal_would_act_on(path):
    with pytest.raises(ValueError, match=r"output_dir is .*: give a path of printable characters") as error:
        RLVRConfig(path)
    assert str(error.value).isprintable()
