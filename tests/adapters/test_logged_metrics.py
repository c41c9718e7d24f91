"""What is logged is what it says: shares of all counted tokens, means over the tokens that there are, or nothing."""

import json
import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from methods import log, right, some_decided, trained
from paper import GradientCheck
from tiny import digit_share, fixed_rollout, make_trainer, tiny_model

from simko.adapters.trl import MethodTrainer, RLVRTrainer, SimKOTrainer
from simko.objectives import METHODS

SPLITS = {
    "one micro-batch": {"per_device_train_batch_size": 16},
    "sixteen": {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 16},
}


def rows(trainer):
    return [row for row in trainer.state.log_history if "loss" in row]


def some_groups_alike(completions, prompts, **_):
    return [0.5 if "x" in p else d for p, d in zip(prompts, digit_share(completions), strict=True)]


def of_digits(completions, **_):
    """Right or wrong, one way or the other for whole groups where the reward of some prompts would be."""
    return [float(c[:1].isdigit()) for c in completions]


@pytest.mark.parametrize("split", SPLITS)
def test_simko_shares_do_not_depend_on_skipping_nor_on_micro_batches(tmp_path, caplog, split):
    logged, said = [], []
    for skip in (False, True):
        caplog.clear()
        trainer = make_trainer(
            tmp_path / str(skip), reward=some_groups_alike, skip_zero_advantage=skip, max_steps=1,
            simko_gate_quantile=0.5, **SPLITS[split],
        )  # fmt: skip
        check = GradientCheck.watch(trainer)
        trainer.train()
        counted = sum(int(b["completion_mask"].sum()) for b in check.fresh.values())
        (row,) = rows(trainer)
        assert row["simko/raised"] == pytest.approx(check.raised / counted, abs=1e-6)
        assert row["simko/penalised"] == pytest.approx(check.penalised / counted, abs=1e-6)
        assert 0 < row["simko/penalised"] < row["simko/gated"]
        logged.append(row)
        (receipt,) = [m for m in map(str, caplog.messages) if "first update changes" in m]
        said.append(receipt)
        changed = 100 * (check.raised + check.penalised) / counted
        assert float(receipt.split("first update changes ")[1].split("%")[0]) == pytest.approx(changed, abs=0.06)
    for name in ("raised", "penalised", "gap", "rank1"):
        assert logged[0][f"simko/{name}"] == pytest.approx(logged[1][f"simko/{name}"], abs=1e-5)
    assert said[0] == said[1]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("method", ["nsr", "pkpo"])
def test_shares_of_rows_with_a_loss_of_their_own(tmp_path, method, split):
    """kept and clipped over all counted tokens, ratio over those there are: 1 on the first, on-policy update."""
    logged = []
    for skip in (False, True):
        trainer = make_trainer(
            tmp_path / str(skip), MethodTrainer, method=method, method_options={"k": 2} if method == "pkpo" else None,
            reward=of_digits, skip_zero_advantage=skip, max_steps=1, trainer={"rollout_func": fixed_rollout()},
            **SPLITS[split],
        )  # fmt: skip
        seen, loss = [], trainer._compute_loss
        trainer._compute_loss = lambda model, inputs, loss=loss, seen=seen: seen.append(inputs) or loss(model, inputs)
        trainer.train()
        (row,) = rows(trainer)
        tokens = sum(float(b["completion_mask"].sum()) for b in seen)
        kept = sum(float(b["completion_mask"][b["advantages"] != 0].sum()) for b in seen)
        assert 0 < kept < tokens
        if method != "pkpo":
            assert row[f"{method}/kept"] == pytest.approx(kept / tokens, abs=1e-6)
            assert row[f"{method}/ratio"] == pytest.approx(1, abs=1e-5)
        logged.append(row)
    names = [k for k in logged[0] if k.startswith((method, "clip_ratio/region", "groups", "reward"))]
    assert len(names) > 6
    assert all(logged[0][k] == pytest.approx(logged[1][k], abs=1e-5) for k in names)


def test_a_mean_over_no_tokens_is_not_logged(tmp_path):
    """Updates without anything to average stay out of the mean over logging_steps."""
    calls = []

    def at_times(completions, **_):  # every second rollout is all wrong
        calls.append(0)
        return digit_share(completions) if len(calls) % 2 else [0.0] * len(completions)

    every = make_trainer(tmp_path / "a", reward=at_times, max_steps=4, trainer={"rollout_func": fixed_rollout()})
    every.train()
    present = ["simko/gap" in row for row in rows(every)]
    assert present == [True, False, True, False]
    assert all("simko/gated" in row for row in rows(every))
    calls.clear()
    averaged = make_trainer(
        tmp_path / "b", reward=at_times, max_steps=4, logging_steps=4, trainer={"rollout_func": fixed_rollout()}
    )
    averaged.train()
    gaps = [row["simko/gap"] for row in rows(every) if "simko/gap" in row]
    assert rows(averaged)[0]["simko/gap"] == pytest.approx(sum(gaps) / 2)


def test_ratio_over_no_tokens_is_not_logged(tmp_path):
    calls = []

    def at_times(completions, **_):  # every second rollout is all right, so that nsr keeps no token
        calls.append(0)
        return [float(len(calls) % 2 == 0)] * len(completions)

    trainer = make_trainer(tmp_path, MethodTrainer, method="nsr", reward=at_times, max_steps=4)
    trainer.train()
    assert ["nsr/ratio" in row for row in rows(trainer)] == [True, False, True, False]
    assert [row["nsr/kept"] for row in rows(trainer)] == [1, 0, 1, 0]


@pytest.mark.parametrize("method", ["grpo", "cispo"])
def test_trl_s_clipped_share_covers_skipped_responses(tmp_path, method):
    logged = []
    for skip in (False, True):
        trainer = make_trainer(
            tmp_path / str(skip), MethodTrainer, method=method, reward=some_groups_alike, skip_zero_advantage=skip,
            max_steps=2, num_iterations=2, per_device_train_batch_size=16, learning_rate=0.1,
            trainer={"rollout_func": fixed_rollout()},
            **({"method_options": {"ratio_cap": 1.05}} if method == "cispo" else {}),
        )  # fmt: skip
        trainer.train()
        logged.append([row["clip_ratio/region_mean"] for row in rows(trainer)])
    assert logged[0][1] > 0.02
    assert logged[0] == pytest.approx(logged[1], abs=1e-5)


@pytest.mark.parametrize("method", ["nsr", "pkpo", "entropy_advantage", "grpo"])
@pytest.mark.few(2)
def test_means_over_trained_responses_do_not_depend_on_micro_batches(tmp_path, method):
    """Responses of advantage 0 that fill up a process's share are in no mean."""
    logged = []
    for split in SPLITS:
        trainer = make_trainer(
            tmp_path / split, MethodTrainer, method=method, method_options={"k": 2} if method == "pkpo" else None,
            reward=some_right, skip_zero_advantage=True, max_steps=2, num_iterations=2, learning_rate=0.1,
            optim="sgd", trainer={"rollout_func": fixed_rollout()}, **SPLITS[split],
        )  # fmt: skip
        trainer.train()
        logged.append(rows(trainer)[1])
    own = {"nsr": ["nsr/ratio"], "entropy_advantage": ["entropy_advantage/bonus"]}.get(method, [])
    for name in ["entropy", "clip_ratio/region_mean", *own]:
        assert [row[name] for row in logged] == pytest.approx([logged[0][name]] * len(SPLITS), abs=1e-4)


def some_right(completions, prompts, **_):
    return [float(c[:1].isdigit() or "x" in p) for c, p in zip(completions, prompts, strict=True)]


@pytest.mark.parametrize("options", [{}, {"beta": 0.1}, {"loss_type": "cispo", "epsilon_high": 5.0}])
def test_trl_s_means_leave_out_micro_batches_without_tokens(tmp_path, options):
    """TRL has 0 for a mean over no tokens, as where a group of one outcome is dropped, and averages it."""
    tiny_model().save_pretrained(tmp_path / "model")
    model = type(tiny_model()).from_pretrained(tmp_path / "model")
    trainer = make_trainer(
        tmp_path, RLVRTrainer, model=model, reward=some_right, drop_one_outcome_groups=True, max_steps=1,
        trainer={"rollout_func": fixed_rollout()}, **SPLITS["sixteen"], **options,
    )  # fmt: skip
    trainer.train()
    (row,) = rows(trainer)
    assert row["groups/mixed"] < 1
    assert 3.2 < row["entropy"] < math.log(35)
    assert ("kl" in row) == ("beta" in options)
    assert None not in [v for k, v in row.items() if k.startswith("clip_ratio/")]


def test_an_update_without_tokens_logs_no_mean(tmp_path):
    trainer = make_trainer(
        tmp_path, RLVRTrainer, reward=lambda completions, **_: [1.0] * len(completions),
        drop_one_outcome_groups=True, max_steps=1,
    )  # fmt: skip
    trainer.train()
    assert not {"entropy", "clip_ratio/region_mean"} & rows(trainer)[0].keys()


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        ({"delta": 1.3}, True),
        ({"delta": 1.4}, True),
        ({"delta": 4.0}, True),
        ({"delta": 1.3, "simko_penalty": "advantage"}, False),
        ({"delta": 1.3, "simko_top_penalty": 1.0}, False),
    ],
)
def test_delta_would_swallow_lambda_on_the_ratio(tmp_path, options, refused):
    if refused:
        with pytest.raises(ValueError, match=r'delta=.* caps the ratio.*simko_penalty="advantage"'):
            make_trainer(tmp_path, **options)
        with pytest.raises(ValueError, match="delta="):
            make_trainer(tmp_path, MethodTrainer, method="simko", delta=options["delta"], reward=right)
    else:
        make_trainer(tmp_path, **options)


# ---- the probe


def test_the_probe_is_on_by_default_and_measures_few_responses(tmp_path):
    trainer = make_trainer(tmp_path, RLVRTrainer, max_steps=2, per_device_train_batch_size=16)
    measured, stats = [], trainer.probe.stats
    trainer.probe.stats = lambda rows: measured.append(len(rows["completion_ids"])) or stats(rows)
    trainer.train()
    assert trainer.args.probe_every == 20
    assert measured == [8]  # of 20 rollouts of 16, one response in 40
    assert "probe/concentration_1" in rows(trainer)[0]
    (line,) = (tmp_path / "out" / "diagnostics.jsonl").read_text().splitlines()
    assert json.loads(line)["step"] == 0


@pytest.mark.parametrize(
    ("here", "every", "updates", "rows"),
    [(1024, 20, 1, 256), (1024, 20, 2, 256), (64, 20, 1, 32), (64, 20, 4, 8), (16, 1, 1, 1), (16, 1, 8, 1)],
)
def test_a_probe_scores_one_response_in_forty(tmp_path, here, every, updates, rows):
    trainer = make_trainer(
        tmp_path, RLVRTrainer, probe_every=every, per_device_train_batch_size=4, steps_per_generation=updates
    )
    assert trainer.probe.updates_per_rollout == updates
    assert trainer.probe.size({"completion_ids": torch.zeros(here, 3)}) == rows


@pytest.mark.parametrize("options", [{"max_completion_length": 1}, {"mask_truncated_completions": True}])
def test_a_probe_of_no_tokens_has_no_numbers(tmp_path, options):
    """One-token responses have no token above the gate; of truncated ones that are masked out nothing is left."""
    endless = {"suppress_tokens": [0, 1]}  # TRL takes a padding token for an end, too
    trainer = make_trainer(tmp_path, RLVRTrainer, max_steps=1, generation_kwargs=endless, **options)
    trainer.train()
    (row,) = rows(trainer)
    assert row["completions/clipped_ratio"] == 1
    assert "probe/gated_rank_probability_1" not in row
    assert ("probe/concentration_1" in row) == ("max_completion_length" in options)
    text = (tmp_path / "out" / "diagnostics.jsonl").read_text()
    assert json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))["step"] == 0


def test_a_step_is_probed_once(tmp_path):
    """Also where it opens several rollouts."""
    trainer = make_trainer(
        tmp_path, RLVRTrainer, probe_every=2, steps_per_generation=2, gradient_accumulation_steps=4, max_steps=5,
        per_device_train_batch_size=4,
    )  # fmt: skip
    trainer.train()
    lines = (tmp_path / "out" / "diagnostics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 2, 4]


@pytest.mark.parametrize("cls", [RLVRTrainer, SimKOTrainer])
def test_the_probe_draws_no_random_numbers(tmp_path, cls):
    """With dropout, a pass in training mode would."""
    ends = []
    for every in (0, 1):
        model = tiny_model()
        for layer in model.model.layers:
            layer.self_attn.attention_dropout = 0.3
        trainer = make_trainer(tmp_path / str(every), cls, model=model, max_steps=2, probe_every=every)
        trainer.train()
        assert trainer.model.training
        ends.append([p.detach() for p in trainer.model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_the_probe_leaves_images_alone(tmp_path, caplog):
    trainer = make_trainer(tmp_path, RLVRTrainer)
    for _ in range(2):
        trainer.probe.measure({"completion_ids": torch.zeros(4, 3), "num_images": [1, 1, 0, 1]})
    assert not trainer._metrics["train"]
    assert len([m for m in caplog.messages if "does not know images" in m]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("cls", [SimKOTrainer, RLVRTrainer, MethodTrainer])
def test_a_compiled_model_trains_the_same_gradient(tmp_path, cls):
    options = {"method": "nsr", "reward": right} if cls is MethodTrainer else {}
    ends = []
    for compiled in (False, True):
        trainer = make_trainer(
            tmp_path / str(compiled), cls, torch_compile=compiled, max_steps=3, probe_every=1, learning_rate=1e-3,
            trainer={"rollout_func": fixed_rollout()}, **options,
        )  # fmt: skip
        trainer.train()
        ends.append(torch.cat([p.detach().flatten() for p in trainer.model.parameters()]))
        assert "probe/concentration_1" in rows(trainer)[2]
    assert (ends[0] - ends[1]).abs().max() < 1e-5


def test_tokens_that_a_link_moves_are_counted_without_its_saying_so(tmp_path, caplog, monkeypatch):
    def lower(tokens):
        return tokens._replace(logp=1.5 * tokens.logp), {}

    monkeypatch.setitem(
        METHODS, "lower", replace(METHODS["entropy_advantage"], name="lower", token_links=(partial(lower),))
    )
    trainer = trained(tmp_path, "lower", max_steps=1)
    (row,) = rows(trainer)
    assert row["lower/raised"] > 0
    assert any("first update changes 100.0% of its tokens" in m for m in caplog.messages)


@pytest.mark.parametrize("skip", [False, True])
def test_a_clip_of_whole_responses_is_a_share_of_responses(tmp_path, monkeypatch, skip):
    """It does not depend on the micro-batches, though responses differ in length."""
    row = replace(METHODS["gspo"], name="odd", reduction=METHODS["grpo"].reduction)
    monkeypatch.setitem(METHODS, "odd", row.with_options(clip_low=1e-3, clip_high=1e-3))
    found = []
    for accumulate in (1, 16):
        trainer = trained(
            tmp_path / str(accumulate), "odd", accumulate=accumulate, num_iterations=2, max_steps=2, learning_rate=3.0,
            reward=some_decided, skip_zero_advantage=skip,
        )  # fmt: skip
        found.append(log(trainer)[1]["clip_ratio/region_mean"])
    assert found[0] == pytest.approx(found[1], abs=1e-6)
    assert 0 < found[0] < 1
    assert found[0] * 16 == pytest.approx(round(found[0] * 16), abs=1e-4)
