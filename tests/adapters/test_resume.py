"""A run continued from a checkpoint ends on the weights of the run that was never stopped, or is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from methods import right
from resume_ranks import weights_after
from tiny import LORA, TRAINING, make_trainer, tiny_dataset, tiny_model
from transformers import TrainerCallback
from trl import GRPOConfig

import simko.adapters.trl.resume as resume_module
from simko.adapters.trl import MethodTrainer, RLVRTrainer, SimKOTrainer
from simko.adapters.trl.checkpoints import _AlignedSaves
from simko.adapters.trl.resume import misplaced_checkpoints, opens_a_rollout, updates_in_all, updates_per_epoch
from simko.evaluate.checkpoint_files import damage

# steps_per_generation, gradient_accumulation_steps, num_iterations, prompts, updates: through the first epoch and into
# the next ones, among them epochs whose last update is a short one
OTHERS = ((1, 1, 1, 3, 8), (3, 2, 1, 9, 7), (2, 3, 1, 8, 5), (2, 4, 3, 4, 5))
RHYTHMS = [(2, 3, 1, 5, 5), *(pytest.param(*each, marks=pytest.mark.slow) for each in OTHERS)]


@pytest.mark.parametrize(("generation", "accumulation", "iterations", "prompts", "updates"), RHYTHMS)
def test_every_checkpoint_continues_exactly_or_is_refused(
    tmp_path, generation, accumulation, iterations, prompts, updates, monkeypatch
):
    options = {
        "steps_per_generation": generation,
        "gradient_accumulation_steps": accumulation,
        "num_iterations": iterations,
        "dataset": prompts,
        "max_steps": updates,
    }
    whole = weights_after(tmp_path / "aligned", **options)
    with monkeypatch.context() as patch:
        patch.setattr(_AlignedSaves, "on_step_end", TrainerCallback.on_step_end)
        weights_after(tmp_path, **options)
    boundaries = rollout_boundaries(config(generation, accumulation, iterations), prompts, updates)
    for step in range(1, updates):
        assert (tmp_path / "aligned" / "out" / f"checkpoint-{step}").is_dir() == (step in boundaries)
        if step in boundaries:
            assert torch.equal(weights_after(tmp_path, step=step, **options), whole), step
            continue
        with pytest.raises(ValueError, match="inside a rollout"):
            weights_after(tmp_path, step=step, **options)
        with monkeypatch.context() as patch:
            patch.setattr(resume_module, "opens_a_rollout", lambda *_: True)
            assert not torch.equal(weights_after(tmp_path, step=step, **options), whole), step


def config(generation, accumulation, iterations, **options):
    return GRPOConfig(
        "out",
        **TRAINING
        | {"per_device_train_batch_size": 4, "steps_per_generation": generation, "num_iterations": iterations}
        | {"gradient_accumulation_steps": accumulation, "save_strategy": "steps"}
        | options,
    )


def rollout_boundaries(args, prompts, updates):
    """Updates before which a rollout begins, by walking through Trainer's and TRL's loops."""
    every = args.steps_per_generation * args.num_iterations
    epoch = prompts // (args.generation_batch_size // args.num_generations) * every
    found, update, micro = set(), 0, 0
    while update <= updates:
        left = epoch
        while left:
            if micro % every == 0:
                found.add(update)
            taken = min(args.gradient_accumulation_steps, left)
            micro, left, update = micro + taken, left - taken, update + 1
    return found


@given(
    generation=st.integers(1, 6),
    accumulation=st.integers(1, 6),
    iterations=st.integers(1, 4),
    rollouts=st.integers(1, 7),
    save_steps=st.integers(1, 12),
    updates=st.integers(1, 60),
)
def test_save_steps_are_refused_exactly_where_a_checkpoint_lies_inside_a_rollout(
    generation, accumulation, iterations, rollouts, save_steps, updates
):
    prompts = rollouts * generation + generation - 1
    args = config(generation, accumulation, iterations, max_steps=updates, save_steps=save_steps)
    per_epoch = updates_per_epoch(prompts, args)
    boundaries = rollout_boundaries(args, prompts, updates)
    assert {s for s in range(updates) if opens_a_rollout(s, args, per_epoch)} == {s for s in boundaries if s < updates}
    said = misplaced_checkpoints(args, per_epoch)
    assert (said is None) == all(step in boundaries for step in range(save_steps, updates, save_steps))
    if said is not None:
        args.save_steps = int(said.rpartition(" ")[2])
        assert misplaced_checkpoints(args, per_epoch) is None


def test_the_multiple_that_is_named():
    for generation, accumulation, iterations, multiple in ((3, 2, 1, 3), (2, 3, 1, 2), (2, 4, 3, 3), (8, 2, 1, 4)):
        args = config(generation, accumulation, iterations, max_steps=40, save_steps=1)
        per_epoch = updates_per_epoch(1000 * generation, args)
        assert misplaced_checkpoints(args, per_epoch).endswith(f"a multiple of {multiple}")
    share = config(2, 1, 1, max_steps=40, save_steps=0.125)  # 5 updates
    assert "save_steps=0.125" in misplaced_checkpoints(share, 100)
    by_epochs = config(2, 1, 1, num_train_epochs=1.5, save_steps=3)
    assert updates_in_all(by_epochs, 10) == 15
    assert misplaced_checkpoints(config(2, 1, 1, save_strategy="epoch"), 10) is None


def on_disk(folder, **changes):
    """The tiny model in a folder, from which TRL makes a reference model."""
    model = tiny_model()
    for name, value in changes.items():
        setattr(model.config, name, value)
    model.save_pretrained(folder / "model")
    return type(model).from_pretrained(folder / "model")


VARIANTS = {
    "simko": (SimKOTrainer, {"grpo_warmup_steps": 4, "probe_every": 2}),
    "a schedule": (RLVRTrainer, {"lr_scheduler_type": "cosine", "warmup_steps": 3}),
    "in order": (RLVRTrainer, {"shuffle_dataset": False}),
    "workers": (RLVRTrainer, {"dataloader_num_workers": 1}),
    "evaluated": (RLVRTrainer, {"eval_strategy": "steps", "eval_steps": 2}),
    "a fixed reference": (RLVRTrainer, {"beta": 0.1}),
    "a moving reference": (RLVRTrainer, {"beta": 0.1, "sync_ref_model": True, "ref_model_sync_steps": 2}),
    "adaptive entropy": (RLVRTrainer, {"use_adaptive_entropy": True, "entropy_target": 3.2}),
    "LoRA": (RLVRTrainer, {"beta": 0.1}),
    "dropout": (RLVRTrainer, {"disable_dropout": False}),
    "selected tokens": (MethodTrainer, {"method": "kl_cov", "num_iterations": 2}),
}


QUICK = ("simko", "a moving reference")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in VARIANTS]
)
def test_what_else_a_run_carries_from_update_to_update(tmp_path, name):
    cls, options = VARIANTS[name]
    dropout = {"attention_dropout": 0.3} if name == "dropout" else {}
    trainer = {"peft_config": LORA()} if name == "LoRA" else {}
    if "eval_strategy" in options:
        trainer["eval_dataset"] = tiny_dataset(4)
    reward = {"reward": right} if cls is MethodTrainer else {}
    step = 6 if options.get("num_iterations") else 5
    run = {
        "dataset": 3,
        "max_steps": 8,
        "per_device_eval_batch_size": 4,
        "cls": cls,
        "trainer": trainer,
        **reward,
        **options,
    }
    whole = weights_after(tmp_path, model=on_disk(tmp_path, **dropout), **run)
    continued = weights_after(tmp_path, model=on_disk(tmp_path, **dropout), step=step, **run)
    assert torch.equal(continued, whole)


def test_what_cannot_be_continued_is_said(tmp_path):
    moving = {"beta": 0.1, "sync_ref_model": True, "ref_model_sync_steps": 1, "max_steps": 4, "dataset": 3}
    weights_after(tmp_path, model=on_disk(tmp_path), **moving)
    checkpoint = tmp_path / "out" / "checkpoint-2"
    for options, message in (
        ({"ignore_data_skip": True}, "ignore_data_skip"),
        ({"dataloader_persistent_workers": True, "dataloader_num_workers": 1}, "dataloader_persistent_workers"),
        ({"steps_per_generation": 3}, r"checkpoint-2 lies inside a rollout.*after update 0"),
        ({"sync_ref_model": False, "model": type(tiny_model()).from_pretrained(checkpoint)}, "began with"),
    ):
        with pytest.raises(ValueError, match=message):
            weights_after(tmp_path, **{"model": on_disk(tmp_path), "step": 2, **moving, **options})
    for name in ("reference.safetensors", "rng_state.pth"):
        (checkpoint / name).rename(checkpoint / "elsewhere")
        with pytest.raises(ValueError, match=rf"checkpoint-2 cannot be continued \({name} is missing"):
            weights_after(tmp_path, model=on_disk(tmp_path), step=2, **moving)
        (checkpoint / "manifest.json").rename(checkpoint / "kept")
        with pytest.raises(ValueError, match=f"checkpoint-2 has no {name}"):
            weights_after(tmp_path, model=on_disk(tmp_path), step=2, **moving)
        (checkpoint / "kept").rename(checkpoint / "manifest.json")
        (checkpoint / "elsewhere").rename(checkpoint / name)


def test_a_streamed_dataset_in_its_first_pass(tmp_path):
    run = {"max_steps": 9}
    stream = tiny_dataset(6).to_iterable_dataset
    whole = weights_after(tmp_path, dataset=stream(), **run)
    assert torch.equal(weights_after(tmp_path, dataset=stream(), step=4, **run), whole)
    with pytest.raises(ValueError, match="beyond the first pass"):
        weights_after(tmp_path, dataset=stream(), step=8, **run)


def test_checkpoints_that_will_not_continue_are_warned_of(tmp_path, caplog):
    weights_after(tmp_path, max_steps=2, steps_per_generation=2, save_steps=1)
    assert "make it a multiple of 2" in caplog.text


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_weights_that_are_no_numbers_are_named(tmp_path, value):
    model = tiny_model()
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 4] = value
    with pytest.raises(ValueError, match=r"layers\.1\.mlp\.up_proj\.weight holds inf or nan"):
        make_trainer(tmp_path, RLVRTrainer, model=model, max_steps=1).train()


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [{}, {"SIMKO_TEST_FSDP": "1"}], ids=["replicated", "sharded"])
def test_two_processes(tmp_path, sharded):
    (tmp_path / "options.json").write_text(json.dumps({"per_device_train_batch_size": 2, "max_steps": 8}))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    here = Path(__file__).parent / "resume_ranks.py"
    done = subprocess.run(
        [*command, str(here), str(tmp_path), str(tmp_path / "options.json"), "2", "3", "4", "7"],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | sharded,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for rank in "01":
        same = json.loads((tmp_path / f"same-{rank}.json").read_text())
        assert same == dict.fromkeys("2347", True)
    assert damage(tmp_path / "out" / "checkpoint-4", needed=["rng_state_0.pth", "rng_state_1.pth"]) is None


class _BestAtEveryStep(TrainerCallback):
    """Marks each model as the best so far, as a rising pass@K does."""

    def on_step_end(self, args, state, control, **_):
        state.best_global_step, control.should_save = state.global_step, True


@pytest.mark.parametrize(("rising", "limit"), [(False, 1), (False, 2), (True, 2)])  # of 1 Trainer keeps the best alone
def test_rotation_spares_the_last_checkpoint_that_a_run_continues_from(tmp_path, rising, limit):
    """Saves inside a rollout, of the best model and of the run's end, would else leave only themselves."""
    options = {"steps_per_generation": 4, "save_strategy": "steps", "save_steps": 4, "save_total_limit": limit}
    options |= {"lr_scheduler_type": "constant", "per_device_train_batch_size": 4, "num_iterations": 1}
    trainer = make_trainer(tmp_path, RLVRTrainer, dataset=tiny_dataset(16), max_steps=7, **options)
    if rising:
        trainer.callback_handler.callbacks.insert(0, _BestAtEveryStep())  # before saves are put off
    trainer.train()
    left = {int(p.name.removeprefix("checkpoint-")) for p in (tmp_path / "out").glob("checkpoint-*")}
    assert {4, 7} <= left
    assert len(left) <= max(limit, 2)
    again = make_trainer(tmp_path, RLVRTrainer, dataset=tiny_dataset(16), max_steps=8, **options)
    assert again.train(resume_from_checkpoint=True).global_step == 8
