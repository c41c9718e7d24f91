"""What a recipe may say: nothing in it is lost in silence, and what is wrong is named with its file, line and key."""

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from transformers import TrainingArguments
from trl import GRPOConfig, ModelConfig

from simko.adapters.trl import MethodConfig, SimKOConfig, plan_method
from simko.objectives import METHODS
from simko.training import recipe as recipe_module
from simko.training.ignored import refused_options
from simko.training.options import list_options, markdown_options
from simko.training.recipe import RECIPE_PARTS, RunArguments, TrainingConfig, read_recipe
from simko.training.recipe_file import read_yaml

DOCS = Path(__file__).parents[2] / "docs"
MINIMAL = "model_name_or_path: some/model\ntask: operator_puzzle\noutput_dir: out\n"


def written(folder: Path, text: str = "", *words: str):
    path = folder / "mine.yaml"
    path.write_text(MINIMAL + text)
    return read_recipe(path, words)


DUPLICATES = {
    "at the top": ("max_steps: 1\nseed: 3\nmax_steps: 2\n", "line 6: max_steps is set in line 4 already"),
    "quoted": ("max_steps: 1\n'max_steps': 2\n", "line 5: max_steps is set in line 4"),
    "in a mapping": ("generation_kwargs:\n  top_p: 1\n  top_k: 0\n  top_p: 0.9\n", "line 7: top_p is set in line 5"),
    "in a mapping on one line": ("method_options: {k: 2, k: 3}\n", "line 4: k is set in line 4"),
    "in a list": ("reward_weights: [{a: 1, a: 2}]\n", "line 4: a is set in line 4"),
    "deep": ("generation_kwargs:\n  a:\n    b:\n      c: 1\n      c: 1\n", "line 8: c is set in line 7"),
}


@pytest.mark.parametrize("name", DUPLICATES)
def test_a_key_that_is_written_twice(tmp_path, name):
    text, said = DUPLICATES[name]
    with pytest.raises(ValueError, match=rf"mine\.yaml, {said}"):
        written(tmp_path, text)


def test_keys_that_are_written_once(tmp_path):
    """The same key at two places, and YAML's merge, whose whole point is to be written over."""
    text = "generation_kwargs: &one {a: 1, b: {a: 2}}\nmodel_init_kwargs:\n  <<: *one\n  a: 3\nlora: &loop [*loop]\n"
    (tmp_path / "a.yaml").write_text(text)
    assert read_yaml(tmp_path / "a.yaml")["model_init_kwargs"] == {"a": 3, "b": {"a": 2}}


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        ("learnig_rate: 1\n", (), "there is no option learnig_rate; did you mean learning_rate?"),
        ("learning-rate: 1\n", (), "did you mean learning_rate?"),
        ("lambda: 1.1\n", (), "there is no option lambda: simko train --help lists all"),
        ("", ("--learnig_rate", "1"), "there is no option --learnig_rate; did you mean --learning_rate?"),
        ("", ("--learnig_rate=1",), "did you mean --learning_rate?"),
        ("", ("--simko_alp", "0.2"), "did you mean --simko_alpha?"),
        ("", ("second.yaml",), "there is no option second.yaml"),
        ("dtype: float33\n", (), "dtype must be one of auto, bfloat16, float16, float32, got 'float33'"),
        ("simko_weights: hard\n", (), "simko_weights must be one of uniform, softmax"),
        ("probe_every: -1\n", (), "probe_every must be a whole number of at least 0"),
        ("grpo_warmup_steps: -5\n", (), "grpo_warmup_steps must be a whole number"),
        ("train_problems: 0\n", (), "train_problems must be a whole number of at least 1"),
        ("passkevery: 1", (), "did you mean passk_every?"),
        ("simko_top_penalty: 0.9\n", (), "simko_top_penalty .lambda. must be finite and at least 1"),
        ("method: nsr\n", ("--simko-alpha", "0.2"), "simko_alpha belongs to method simko"),
        ("method: grpo\ncorrectness: judge\n", (), "correctness has no effect"),
        ("method: rloo\ncorrectness: judge\n", (), "correctness has no effect"),
        ("method: dr_grpo\nscale_rewards: group\n", (), "dr_grpo sets scale_rewards='none', you set 'group'"),
        ("method: gspo\nloss_type: dapo\n", (), "gspo sets loss_type='grpo', you set 'dapo': leave it out"),
        ("", ("--method", "gspo", "--loss_type", "dapo"), "gspo sets loss_type='grpo', you set 'dapo': leave it out"),
        ("method: dapo\n", ("--epsilon", "0.3"), "or train TRL's own objective with method grpo$"),
        ("load_in_8bit: true\n", (), "quantised weights cannot be trained: set use_peft"),
        ("max_steps: 1.5\n", (), "max_steps must be int, got 1.5"),
        ("num_generations: 4.0\n", (), "num_generations must be int . None, got 4.0"),
        ("max_steps: yes\n", (), "max_steps must be int, got True"),
        ("bf16: 0.5\n", (), "bf16 must be bool . None, got 0.5"),
        ("simko_alpha: [1]\n", (), r"simko_alpha must be float, got \[1\]"),
        ("verifier: {a: 1}\n", (), "verifier must be str . None, got {'a': 1}"),
        ("method_options: [k, 2]\n", (), r"method_options must be dict\[str, Any\] . str . None, got \['k', 2\]"),
        ("learning_rate: fast\n", (), "--learning_rate.*: invalid float value: 'fast'"),
        ("dtype: [float32]\n", (), "dtype must be one of"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, words, said):
    with pytest.raises(ValueError, match=rf"mine\.yaml: .*{said}"):
        written(tmp_path, text, *words)


def test_a_recipe_for_one_method_runs_with_another(tmp_path):
    recipe = written(tmp_path, "loss_type: dapo\nsimko_alpha: 0.1\n", "--method", "gspo")
    assert recipe.training.loss_type == "grpo"


CONFLICTS = {
    "importance_sampling_level": "sequence", "loss_type": "vespo", "delta": 2.0, "use_bias_correction_kl": True,
}  # fmt: skip


@pytest.mark.parametrize("conflict", [*CONFLICTS, "cispo"])
@pytest.mark.parametrize("config", [MethodConfig, SimKOConfig, TrainingConfig])
def test_each_way_out_of_a_conflict_with_token_links_is_there(tmp_path, config, conflict):
    """For the class and the method that the user has."""
    clash = {"loss_type": "cispo"} if conflict == "cispo" else {conflict: CONFLICTS[conflict]}
    given = {"output_dir": str(tmp_path), "use_cpu": True, "bf16": False, "beta": 0.1} | clash
    methods = ["entropy_advantage", *(m for m in METHODS if m.startswith("simko"))]
    refused = 0
    for method in ["simko"] if config is SimKOConfig else methods:
        named = given if config is SimKOConfig else given | {"method": method}
        try:
            plan_method(config(**named))
        except ValueError as error:
            refused += 1
            ways = re.findall(r"set (\w+)=(\{.*?\}|\"\w+\"|\d+)", str(error))
            for option, value in ways:
                assert not option.startswith("simko_") or method == "simko"
                plan_method(config(**named | {option: float(value) if value.isdigit() else ast.literal_eval(value)}))
    assert refused


OTHERS = {bool: True, int: 3, float: 0.25, str: "other"}
"""A value of an option's kind which is no option's default."""
ELSEWISE = {"include_for_metrics": ["loss"], "label_names": ["labels"], "eval_strategy": "steps", "eval_steps": 4.0}
ELSEWISE["train_sampling_strategy"] = "sequential"


def another(name: str):
    (option,) = [f for f in fields(TrainingConfig) if f.name == name]
    kinds = [kind for kind in OTHERS if kind.__name__ in str(option.type).replace("'", "")]
    default = None if option.default is None else getattr(option.default, "value", option.default)
    value = ELSEWISE.get(name, OTHERS[kinds[0]] if kinds else "other")
    return not default if isinstance(default, bool) else value


@pytest.mark.parametrize("name", refused_options())
def test_options_that_would_have_no_effect(tmp_path, name):
    best = {"save_strategy": "best"} if name == "load_best_model_at_end" else {}  # which transformers wants beside it
    with pytest.raises(ValueError, match=rf"mine\.yaml: {name} has no effect: "):
        written(tmp_path, yaml.safe_dump({name: another(name)} | best))


@pytest.mark.parametrize(
    ("text", "switch"),
    [
        ("lora_r: 8\n", "use_peft"),
        ("lora_target_modules: [q_proj]\n", "use_peft"),
        ("use_dora: true\n", "use_peft"),
        ("use_rslora: true\n", "use_peft"),
        ("use_bnb_nested_quant: true\n", "load_in_4bit"),
        ("vllm_mode: server\n", "use_vllm"),
        ("entropy_target: 0.4\n", "use_adaptive_entropy"),
        ("ref_model_sync_steps: 4\n", "sync_ref_model"),
        ("hub_model_id: me/mine\n", "push_to_hub"),
        ("chat_template_kwargs: {enable_thinking: false}\n", "chat"),
    ],
)
def test_options_without_their_switch(tmp_path, text, switch):
    name = text.partition(":")[0]
    with pytest.raises(ValueError, match=rf"mine\.yaml: {name} has no effect without {switch}: set {switch} too"):
        written(tmp_path, text)
    written(tmp_path, text, f"--{switch}", "false")  # turned off on purpose
    default = {"lora_r": 16, "vllm_mode": "colocate"}
    if name in default:
        written(tmp_path, f"{name}: {default[name]}\n")


@pytest.mark.parametrize(
    ("kwargs", "option"),
    [
        ("{dtype: bfloat16}", "dtype: float32"),
        ("{torch_dtype: bfloat16}", "dtype: float32"),
        ("{revision: a}", "model_revision: b"),
        ("{attn_implementation: eager}", "attn_implementation: sdpa"),
        ("{trust_remote_code: true}", "trust_remote_code: false"),
    ],
)
def test_model_init_kwargs_against_an_option(tmp_path, kwargs, option):
    name = option.partition(":")[0]
    with pytest.raises(ValueError, match=rf"model_init_kwargs sets \w+, which {name} sets too: keep one"):
        written(tmp_path, f"model_init_kwargs: {kwargs}\n{option}\n")
    written(tmp_path, f"model_init_kwargs: {kwargs}\n")


def test_every_option_is_listed_ours_first():
    listed = list_options(RECIPE_PARTS)
    names = [line.strip().partition(":")[0] for line in listed.splitlines() if line.startswith("  ") and line[2] != " "]
    assert len(names) == len(set(names))
    every = {f.name for part in RECIPE_PARTS for f in fields(part)}
    assert set(names) == every - set(refused_options())
    theirs = {f.name for config in (GRPOConfig, ModelConfig, TrainingArguments) for f in fields(config)}
    ours = [name for name in names if name not in theirs]
    assert names[: len(ours)] == ours
    assert names[: len(fields(RunArguments))] == [f.name for f in fields(RunArguments)]
    assert {"method", "method_options", "simko_alpha", "grpo_warmup_steps", "probe_every"} <= set(ours)
    assert "Share of a correct token's reward" in listed
    assert "%%" not in listed


@pytest.mark.parametrize("text", ["report_to: tensorboard", "report_to: [tensorboard]"])
def test_tensorboard_without_its_package(tmp_path, text, monkeypatch):
    monkeypatch.setattr(recipe_module, "is_tensorboard_available", lambda: False)
    with pytest.raises(ValueError, match=r"mine\.yaml: report_to tensorboard needs .* 'simko\[trl,tensorboard\]'"):
        written(tmp_path, text)


def test_no_is_a_word(tmp_path):
    training = written(tmp_path, "save_strategy: no\nlogging_strategy: no\nbf16: no\n").training
    assert (training.save_strategy, training.logging_strategy, training.bf16) == ("no", "no", False)
    other = written(tmp_path, "scale_rewards: false\nrun_name: 2026\nlearning_rate: 1\nfsdp: true\n").training
    assert (other.scale_rewards, other.run_name, other.learning_rate) == ("none", "2026", 1)


def test_the_docs_list_every_option():
    """Else, write markdown_options(RECIPE_PARTS) after the heading."""
    text = (DOCS / "training.md").read_text(encoding="utf-8").partition("## Every option\n\n")[2]
    listed = markdown_options(RECIPE_PARTS)
    if text.splitlines()[0] != listed.splitlines()[0]:
        pytest.skip(f"the page is of other versions than {listed.splitlines()[0]}")
    assert text == listed


def test_a_relative_file_lies_here_or_beside_the_recipe(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "rows.jsonl").write_text('{"prompt": "1+1=", "answer": "2"}\n')
    path = folder / "mine.yaml"
    path.write_text("model_name_or_path: some/model\ntrain_file: rows.jsonl\nverifier: last_integer\noutput_dir: out\n")
    monkeypatch.chdir(tmp_path)
    assert read_recipe(path).run.train_file == str(folder / "rows.jsonl")
    (tmp_path / "rows.jsonl").write_text("")
    assert read_recipe(path).run.train_file == "rows.jsonl"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epsilon: -0.2\n", "epsilon must be at least 0, got -0.2"),
        ("beta: -1\n", "beta must be at least 0"),
        ("max_grad_norm: -1.0\n", "max_grad_norm must be at least 0"),
        ("learning_rate: -1e-6\n", "learning_rate must be at least 0"),
        ("save_steps: -5\n", "save_steps must be at least 0"),
        ("use_peft: true\nlora_r: -8\n", "lora_r must be at least 0"),
        ("num_iterations: 0\n", "num_iterations must be at least 1, got 0"),
        ("steps_per_generation: 0\n", "steps_per_generation must be at least 1"),
        ("gradient_accumulation_steps: 0\n", "gradient_accumulation_steps must be at least 1"),
        ("learning_rate: .nan\n", "learning_rate must be a finite number, got nan"),
        ("temperature: .inf\n", "temperature must be a finite number, got inf"),
        ("save_steps: .inf\n", "save_steps must be a finite number"),
        ("top_p: .nan\n", "top_p must be a finite number"),
        ("num_train_epochs: 0\n", "num_train_epochs is 0"),
        ("weight_decay: null\n", "weight_decay must be float, got nothing"),
        ("num_iterations:\n", "num_iterations must be int, got nothing"),
        ("generation_kwargs: abc\n", "generation_kwargs must be a mapping such as {'key': 1}, got 'abc'"),
        ("model_init_kwargs: abc\n", "model_init_kwargs must be a mapping"),
        ("accelerator_config: nowhere.json\n", "nowhere.json"),
        ("logging_steps: .inf\n", "logging_steps must be a finite number"),
    ],
)
def test_values_that_no_run_can_have(tmp_path, text, said):
    """Most of them would be taken by TRL, and train something else."""
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path}/mine.yaml: ") + ".*" + re.escape(said)):
        written(tmp_path, text)


@pytest.mark.parametrize(
    "text", ["max_steps: -1\n", "top_k: -1\n", "epsilon_high: .inf\n", "epsilon_high: null\n", "max_grad_norm: 0\n"]
)
def test_values_that_mean_all_or_none(tmp_path, text):
    written(tmp_path, text)
