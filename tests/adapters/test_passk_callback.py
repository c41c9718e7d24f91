"""PassAtKCallback in small real runs: it trains nothing, changes nothing, and says what its samples say."""

import random

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from methods import right
from tiny import LORA, make_trainer, tiny_model
from trl import GRPOTrainer

from simko.adapters.trl import MethodTrainer, PassAtKCallback, RLVRTrainer, SimKOTrainer
from simko.evaluate import SampleStore, pass_at_k_curve
from simko.records import Problem, Verdict
from simko.verifiers import VerifierError

PROBLEMS = [Problem(f"p{i}", "12+3="[: 2 + i] + "x" * i, str(i)) for i in range(3)]
CONFIGURATIONS = {
    "trl": (GRPOTrainer, {"gradient_accumulation_steps": 2, "steps_per_generation": 4, "log_completions": True}),
    "skipping": (SimKOTrainer, {"skip_zero_advantage": True, "reward": right, "num_iterations": 2}),
    "own loss": (MethodTrainer, {"method": "nsr", "reward": right, "gradient_accumulation_steps": 2}),
    "checkpointing": (RLVRTrainer, {"gradient_checkpointing": True, "trainer": {"peft_config": LORA()}}),
    "dropout": (RLVRTrainer, {"dropout": 0.2, "bf16": True}),
}


def begins(response, problem):
    """Right where the response begins with a digit, unparsed where it begins with none of our signs."""
    if not response[:1].isdigit():
        return Verdict("wrong" if response[:1].isalpha() else "unparsed")
    return Verdict("correct", response[:1])


def drawing_at_random(response, problem):
    random.random(), np.random.rand(), torch.rand(1)
    return begins(response, problem)


def run(tmp_path, cls=None, *, n=4, every=1, evaluate=True, resume=None, dropout=0.0, verifier=begins, **options):
    callback = {key: options.pop(key) for key in ("store", "ks", "problems") if key in options}
    problems = callback.pop("problems", PROBLEMS)
    model = tiny_model()
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = dropout
    trainer = make_trainer(tmp_path, cls, **{"model": model, "max_steps": 4} | options)
    if evaluate:
        trainer.add_callback(PassAtKCallback(trainer, problems, verifier, n, every, **callback))
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def logged(trainer, key):
    """{step: value}."""
    return {row["step"]: row[key] for row in trainer.state.log_history if key in row}


def training_rows(trainer):
    rows = [row for row in trainer.state.log_history if not any(key.startswith("eval_pass") for key in row)]
    return [
        {k: v for k, v in row.items() if not any(t in k for t in ("time", "runtime", "per_second"))} for row in rows
    ]


def kept(path):
    """{(setting, problem, index): (sample, verdict)}."""
    with SampleStore(path, read_only=True) as store:
        return {(s.name, row[0].problem_id, row[0].index): row for s in store.settings() for row in store.rows(s)}


SLOW = ("checkpointing", "dropout")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in CONFIGURATIONS])
def test_a_run_with_it_trains_the_same_weights_and_logs_the_same_metrics(tmp_path, name):
    cls, options = CONFIGURATIONS[name]
    runs = []
    for evaluate in (False, True):
        trainer = run(
            tmp_path / str(evaluate), cls, evaluate=evaluate, logging_steps=2, **options, verifier=drawing_at_random
        )
        assert trainer.model.training
        state = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
        runs.append((trainer, [p.detach() for p in trainer.model.parameters()], state))
    (without, before, theirs), (with_it, after, ours) = runs
    assert sorted(logged(with_it, "eval_pass@1")) == [0, 1, 2, 3, 4]
    assert not logged(without, "eval_pass@1")
    start = list((tiny_model() if "trainer" not in options else with_it.model).parameters())
    assert "trainer" in options or any(not torch.equal(a, b) for a, b in zip(before, start, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert ours == theirs
    assert training_rows(with_it) == training_rows(without)
    assert [row["step"] for row in training_rows(with_it)] == [2, 4, 4]
    assert with_it.state.num_input_tokens_seen == without.state.num_input_tokens_seen > 0
    assert with_it._logs == without._logs
    if options.get("log_completions"):
        names = sorted(p.name for p in (tmp_path / "True" / "out" / "completions").iterdir())
        assert names == sorted(p.name for p in (tmp_path / "False" / "out" / "completions").iterdir())
        for file in names:
            ours, theirs = (pd.read_parquet(tmp_path / f / "out" / "completions" / file) for f in ("True", "False"))
            pd.testing.assert_frame_equal(ours, theirs)


def test_the_log_says_what_the_kept_samples_say(tmp_path):
    store = tmp_path / "held-out" / "samples.db"
    trainer = run(tmp_path, every=3, n=5, store=store, max_completion_length=6)
    assert sorted(logged(trainer, "eval_pass@1")) == [0, 3, 4]
    with SampleStore(store, read_only=True) as kept_store:
        settings = kept_store.settings()
        assert [s.name for s in settings] == ["step=0, T=1", "step=3, T=1", "step=4, T=1"]
        truncated = []
        for setting, step in zip(settings, (0, 3, 4), strict=True):
            assert (setting.task, setting.n, setting.verifier) == ("held-out", 5, "begins")
            assert setting.record["max_new_tokens"] == 6
            assert setting.record["step"] == step
            counts, tally = kept_store.counts(setting), kept_store.tally(setting)
            assert {n for n, _ in counts.values()} == {5}
            for point in pass_at_k_curve(counts, [1, 2, 4]).points:
                values = [logged(trainer, f"eval_pass@{point.k}{end}")[step] for end in ("", "_low", "_high")]
                assert values == [point.estimate, point.low, point.high]
            assert logged(trainer, "eval_truncated")[step] == tally.truncated / 15
            assert logged(trainer, "eval_unparsed")[step] == tally.outcomes.get("unparsed", 0) / 15
            truncated.append(tally.truncated)
        assert 0 < sum(truncated) < 45
        assert all(0 < logged(trainer, "eval_unparsed")[s] < 1 for s in (0, 3, 4))
        assert "eval_pass@8" not in trainer.state.log_history[0]
        for sample, verdict in kept_store.rows(settings[0]):
            problem = next(p for p in PROBLEMS if p.id == sample.problem_id)
            assert verdict == begins(sample.response, problem)
            assert sample.prompt_tokens == len(problem.prompt)
            assert sample.tokens == 6 if sample.truncated else sample.tokens > len(sample.response)  # an end token


def evaluated(tmp_path, store, *, steps=(0,), problems=PROBLEMS, n=4, **options):
    """What a store holds once the untrained model was evaluated into it, called at these steps."""
    trainer = make_trainer(tmp_path, RLVRTrainer, **options)
    callback = PassAtKCallback(trainer, problems, begins, n, 1, store=store)
    for trainer.state.global_step in steps:
        callback.evaluate()
    return {key: sample.response for key, (sample, _) in kept(store).items()}


def test_draws_are_those_of_seed_and_step(tmp_path):
    first, second, other = (
        evaluated(tmp_path, tmp_path / f"{i}.db", steps=(0, 1), n=8, seed=seed) for i, seed in enumerate((1, 1, 2))
    )
    assert len(first) == 2 * 3 * 8
    assert first == second
    assert first != other
    steps = [[text for (name, *_), text in first.items() if name == f"step={s}, T=1"] for s in (0, 1)]
    assert steps[0] != steps[1]  # of the same weights
    assert len(set(steps[0])) > 18


def test_more_responses_are_drawn_beside_those_that_are_kept(tmp_path):
    store = tmp_path / "samples.db"
    few, many = evaluated(tmp_path, store, n=4), evaluated(tmp_path, store, n=8)
    assert len(many) == 24
    assert few.items() <= many.items()
    assert len(set(many.values())) > 18
    callback = PassAtKCallback(make_trainer(tmp_path, RLVRTrainer), PROBLEMS, begins, 4, 1, store=store)
    assert callback.evaluate().samples == 4  # of the eight


def test_held_out_problems_are_answered_without_dropout(tmp_path):
    models = tiny_model(), tiny_model()
    for layer in models[1].model.layers:
        layer.self_attn.attention_dropout = 0.5
    plain, dropping = (evaluated(tmp_path, tmp_path / f"{i}.db", model=m.train()) for i, m in enumerate(models))
    assert plain == dropping


def test_a_resumed_run_uses_what_its_store_holds(tmp_path, caplog):
    store = tmp_path / "samples.db"
    options = {"store": store, "save_strategy": "steps", "save_steps": 2, "every": 2, "n": 3}
    first = run(tmp_path, RLVRTrainer, **options)
    before = kept(store)
    with SampleStore(store) as open_store, open_store._db:
        step4 = next(s.id for s in open_store.settings() if s.name == "step=4, T=1")
        open_store._db.execute("DELETE FROM samples WHERE setting = ? AND problem = 'p1' AND sample > 0", (step4,))
        open_store._db.execute(
            "UPDATE samples SET response = '7 of the first run', outcome = NULL WHERE setting = ? AND problem = 'p0'",
            (step4,),
        )
    drawn = []

    def count(response, problem):
        drawn.append(problem.id)
        return begins(response, problem)

    count.__name__ = "begins"
    second = run(tmp_path, RLVRTrainer, **options, verifier=count, resume=str(tmp_path / "out" / "checkpoint-2"))
    after = kept(store)
    assert after.keys() == before.keys()
    assert drawn == ["p0"] * 3 + ["p1"] * 2
    assert after["step=4, T=1", "p0", 0][0].response == "7 of the first run"
    assert after["step=4, T=1", "p0", 0][1].outcome == "correct"
    assert all(after[key] == before[key] for key in before if "step=4" not in key[0])
    assert logged(second, "eval_pass@1")[2] == logged(first, "eval_pass@1")[2]
    assert "7 samples of step=4, T=1 are there already" in caplog.text


def test_a_store_of_another_run_is_refused(tmp_path):
    store = tmp_path / "samples.db"
    before = evaluated(tmp_path, store)
    for options, said in (
        ({"seed": 7}, "seed is 1 there and 7 here"),
        ({"top_p": 0.9}, r"top_p is 1.0 there and 0.9 here"),
        ({"problems": PROBLEMS[:2]}, "problems is 3 there and 2 here"),
    ):
        with pytest.raises(ValueError, match=said):
            evaluated(tmp_path, store, **options)
    after = evaluated(tmp_path, store, temperature=0.5, top_p=0.9)  # another setting
    assert before.items() <= after.items()
    assert len(after) == 2 * len(before)


CHAT = "{% for m in messages %}{{ m['role'][0] }} {{ m['content'] }}{% endfor %}{% if add_generation_prompt %}= a {% endif %}"


def test_prompts_are_messages_where_the_dataset_has_messages(tmp_path):
    def speak(tokenizer):
        tokenizer.chat_template = CHAT

    dataset = Dataset.from_list([{"prompt": [{"role": "user", "content": f"{i}+1"}]} for i in range(16)])
    trainer = run(
        tmp_path, GRPOTrainer, dataset=dataset, before=speak, max_steps=1, store=tmp_path / "samples.db",
        reward=lambda completions, **_: [float(len(c[0]["content"])) for c in completions],
    )  # fmt: skip
    rows = kept(tmp_path / "samples.db")
    assert {key[1]: s.prompt_tokens for key, (s, _) in rows.items()} == {p.id: len(p.prompt) + 6 for p in PROBLEMS}
    assert sorted(logged(trainer, "eval_pass@1")) == [0, 1]


def test_a_run_that_stops_early_is_evaluated_at_its_end(tmp_path):
    from transformers import TrainerCallback

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            control.should_training_stop = state.global_step == 3

    trainer = make_trainer(tmp_path, RLVRTrainer, max_steps=9)
    trainer.add_callback(PassAtKCallback(trainer, PROBLEMS, begins, 2, 2))
    trainer.add_callback(Stop())
    trainer.train()
    assert sorted(logged(trainer, "eval_pass@2")) == [0, 2, 3]


def test_a_verifier_that_raises_ends_the_run_and_leaves_the_trainer_as_it_was(tmp_path):
    def broken(response, problem):
        raise KeyError("gold")

    trainer = make_trainer(tmp_path, RLVRTrainer, max_steps=1)
    callback = PassAtKCallback(trainer, PROBLEMS, broken, 2, 2)
    state, metrics = torch.get_rng_state(), trainer._metrics
    with pytest.raises(VerifierError, match="raised KeyError"):
        callback.evaluate()
    assert torch.equal(torch.get_rng_state(), state)
    assert trainer._metrics is metrics


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"n": 0}, "n is 0"),
        ({"every": 0}, "every is 0"),
        ({"problems": iter(())}, "at least one held-out problem"),
        ({"problems": [PROBLEMS[0], PROBLEMS[0]]}, "an id of its own"),
        ({"ks": (1, 8)}, "whole numbers from 1 to n=4"),
    ],
)
def test_what_makes_no_evaluation_is_refused(tmp_path, given, said):
    trainer = make_trainer(tmp_path, RLVRTrainer, max_steps=1)
    given = {"problems": PROBLEMS, "n": 4, "every": 1} | given
    with pytest.raises(ValueError, match=said):
        PassAtKCallback(trainer, verifier=begins, **given)
