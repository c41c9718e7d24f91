"""Recipes run through the command line: functions in files beside them, other ways to load a model, exits, the minimal one."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from simko.cli.main import exits_raised, main
from simko.cli.train import __doc__ as TRAIN_HELP

ROOT = Path(__file__).parents[2]
OPTIONS = """
task: operator_puzzle
train_problems: 40
num_generations: 4
per_device_train_batch_size: 16
max_completion_length: 9
max_steps: 2
save_steps: 1
logging_steps: 1
report_to: none
disable_tqdm: true
"""
JUDGE = """
import asyncio
from functools import partial
from shares_beside import share

def plus(completions, **_):
    return (share(c) for c in completions)

async def plus_later(completions, **_):
    await asyncio.sleep(0)
    return map(share, completions)

class Plus:
    def __call__(self, completions, **_):
        return [share(c) for c in completions]

plus_object, plus_part = Plus(), partial(plus, power=2)

def text(completions, **_):
    return "1" * len(completions)

def leaves(completions, **_):
    raise SystemExit(0)

def fails(completions, **_):
    yield {}["gold"]

def has_plus(response, problem):
    return "+" in response
"""


@pytest.fixture
def run(tmp_path, tiny_base, monkeypatch, capsys):
    """run(text, *words): the exit code, the last line of stderr and the run's directory of the recipe in a folder that is
    not the current one, with jury.py beside it."""
    folder, here = tmp_path / "recipes", tmp_path / "here"
    folder.mkdir()
    here.mkdir()
    (folder / "jury.py").write_text(JUDGE)
    (folder / "shares_beside.py").write_text("def share(text):\n    return float('+' in text)\n")
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("jury", "shares_beside"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    def call(text, *words, name="run", base=tiny_base):
        out = tmp_path / name
        path = folder / "mine.yaml"
        path.write_text(f"{OPTIONS}model_name_or_path: {base}\noutput_dir: {out}\n{text}\n")
        code = main(["train", str(path), *words])
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("simko: ")]
        return code, (said or [""])[-1], out

    yield call
    for name in ("jury", "shares_beside"):
        sys.modules.pop(name, None)


def metrics(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_a_reward_function_beside_the_recipe(run):
    """As a file, as a module of the recipe's folder, synchronous and not, an object, a partial: the same run, with its name."""
    rewards = {}
    for place in ("./jury.py:plus", "jury.py:plus_later", "jury:plus", "jury.py:plus_object", "jury.py:plus_part"):
        code, said, out = run(f"reward_function: {place}", name=place.replace("/", ""))
        assert code == 0, said
        rows = metrics(out)
        rewards[place] = [row["reward"] for row in rows if "reward" in row]
        name = place.partition(":")[2]
        name = {"plus_object": "Plus", "plus_part": "plus"}.get(name, name)
        assert f"rewards/{name}/mean" in rows[0]
        bound = json.loads((out / "config.json").read_text())["reward_function"]
        assert bound.startswith(f"{place.removeprefix('./')}@sha256:")
    assert all(found == rewards["jury:plus"] for found in rewards.values())
    assert len(rewards["jury:plus"]) == 2


def test_a_verifier_beside_the_recipe(run, tmp_path):
    words = "passk_every: 2\npassk_samples: 2\npassk_problems: 2\npassk_verifier: jury:has_plus"
    code, said, out = run(f"verifier: ./jury.py:has_plus\n{words}")
    assert code == 0, said
    rows = metrics(out)
    assert any("rewards/has_plus/mean" in row for row in rows)
    graded = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    assert all((row["outcome"] == "correct") == ("+" in row["response"]) for row in graded)
    assert any("eval_pass@2" in row for row in rows)
    assert json.loads((out / "config.json").read_text())["verifier"].startswith("jury.py:has_plus@sha256:")
    jury = tmp_path / "recipes" / "jury.py"
    jury.write_text(jury.read_text().replace('"+" in response', '"-" in response'))
    code, said, _ = run("verifier: ./jury.py:has_plus")
    assert code == 2
    assert "holds a run with verifier=" in said


def test_on_the_command_line_a_file_is_relative_to_the_current_directory(run, tmp_path):
    (tmp_path / "here" / "other.py").write_text("def one(completions, **_):\n    return [1.0] * len(completions)\n")
    assert run("", "--reward_function", "./other.py:one")[0] == 0
    code, said, _ = run("", "--reward_function", "./jury.py:plus", name="b")
    assert code == 2
    assert "jury.py" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "reward_function: ./judges.py:plus",
            "mine.yaml: reward_function './judges.py:plus': cannot load ./judges.py (FileNot",
        ),
        ("reward_function: ./jury.py:minus", "has no function minus"),
        ("reward_function: jury.plus", "write package.module:function or ./file.py:function"),
        ("reward_function: nowhere.at_all:f", "cannot load nowhere.at_all (ModuleNotFoundError"),
        ("verifier: ./jury.py:minus", "mine.yaml: verifier './jury.py:minus'"),
        ("passk_every: 1\npassk_verifier: ./jury.py:x", "mine.yaml: passk_verifier: verifier './jury.py:x'"),
        ("verifier: last_integer\nchat: true", "mine.yaml: chat needs a chat template, which the tokenizer of"),
        ("verifier: last_intege", "no verifier is called 'last_intege'"),
        ("reward_function: ./jury.py:text", "reward function text returned a str: return a list of 16 numbers"),
        ("reward_function: ./jury.py:leaves", "reward function ./jury.py:leaves ended the process (exit code 0)"),
        ("reward_function: ./jury.py:fails", "reward function ./jury.py:fails raised KeyError: 'gold'"),
        ("reward_function: ./jury.py:plus\nresume_from_checkpoint: x", "the run directory itself is continued"),
    ],
)
def test_what_fails_says_why(run, text, said):
    code, found, _ = run(text)
    assert code == 2
    assert said in found


def test_an_import_that_fails_says_why(run, tmp_path):
    for body, why in (("import nothing_here\n", "No module named 'nothing_here'"), ("x = 1 +\n", "invalid syntax")):
        (tmp_path / "recipes" / "jury.py").write_text(body)
        code, said, _ = run("reward_function: ./jury.py:plus")
        assert code == 2
        assert "cannot load ./jury.py" in said
        assert why in said


def test_an_exit_of_the_process_is_an_error(monkeypatch):
    """os._exit too, but not of a process that was forked from this one."""
    exits = []
    monkeypatch.setattr(os, "_exit", exits.append)
    for leave in (lambda: sys.exit(0), lambda: os._exit(0)):
        with pytest.raises(SystemExit), exits_raised():
            leave()
    assert exits == []
    with exits_raised():
        monkeypatch.setattr(os, "getpid", lambda: -1)
        with pytest.raises(SystemExit):
            os._exit(3)
    assert exits == [3]


@pytest.mark.slow
def test_os_exit_in_a_reward_function_is_an_error_and_the_run_goes_on(run, tmp_path):
    jury = tmp_path / "recipes" / "jury.py"
    jury.write_text("import os\ndef plus(completions, **_):\n    os._exit(0)\n")
    run("reward_function: nowhere:f")  # writes the recipe
    words = [sys.executable, "-m", "simko.cli", "train", str(tmp_path / "recipes" / "mine.yaml")]
    words += ["--reward_function", f"{jury}:plus"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 2
    assert "ended the process (exit code 0)" in done.stderr.splitlines()[-1]
    jury.write_text(JUDGE)
    assert run("reward_function: ./jury.py:plus")[0] == 0


REMOTE = """
from transformers import {base}Config, {base}ForCausalLM

class OwnConfig({base}Config):
    model_type = "own"

class OwnModel({base}ForCausalLM):
    config_class = OwnConfig
"""


def test_trust_remote_code(run, tiny_base, tmp_path):
    """A checkpoint whose code lies beside its weights: refused, with the option's name, unless it is trusted."""
    base = tmp_path / "remote"
    shutil.copytree(tiny_base, base)
    config = json.loads((base / "config.json").read_text())
    kind = config["architectures"][0].removesuffix("ForCausalLM")
    (base / "own.py").write_text(REMOTE.format(base=kind))
    auto = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    config |= {"auto_map": auto, "model_type": "own", "architectures": ["OwnModel"]}
    (base / "config.json").write_text(json.dumps(config))
    reward = "reward_function: ./jury.py:plus"
    code, said, _ = run(reward, base=base)
    assert code == 2
    assert "trust_remote_code" in said
    for text in ("trust_remote_code: true", "model_init_kwargs: {trust_remote_code: true}"):
        code, said, out = run(f"{reward}\n{text}", base=base, name=text[:9])
        assert code == 0, said
        assert json.loads((out / "checkpoint-2" / "config.json").read_text())["architectures"] == ["OwnModel"]


def test_model_init_kwargs(run):
    reward = "reward_function: ./jury.py:plus"
    code, said, out = run(f"{reward}\nmodel_init_kwargs: {{torch_dtype: bfloat16}}\nbeta: 0.1")
    assert code == 0, said
    weights = load_file(out / "checkpoint-2" / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    code, said, _ = run(f"{reward}\nmodel_init_kwargs: {{no_such_thing: 1}}", name="other")
    assert code == 2
    assert "mine.yaml: model_name_or_path" in said
    assert "no_such_thing" in said


def minimal_recipes() -> dict[str, str]:
    """The recipes that are shown whole: in the command's help, README.md and the docs."""
    pages = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/training.md")}
    shown = {name: page.partition("```yaml\n")[2].partition("```")[0] for name, page in pages.items()}
    return shown | {"help": TRAIN_HELP.partition("a complete recipe")[2].partition(":\n\n")[2]}


@pytest.mark.parametrize("place", ["help", "README.md", "docs/training.md"])
def test_the_minimal_recipe_runs(place, tiny_base, tmp_path, monkeypatch):
    """As it is shown, but for the model and the number of steps, on TRL's own sizes."""
    monkeypatch.chdir(tmp_path)
    options = yaml.safe_load(minimal_recipes()[place])
    assert set(options) == {"model_name_or_path", "train_file", "verifier", "output_dir", "max_steps"}
    rows = [json.dumps({"prompt": f"1 2 3 4 5 = {i}", "answer": str(i)}) for i in range(8)]
    Path(options["train_file"]).write_text("\n".join(rows) + "\n")
    Path("sums.yaml").write_text(minimal_recipes()[place].replace(options["model_name_or_path"], str(tiny_base)))
    assert main(["train", "sums.yaml", "--max_steps", "1", "--max_completion_length", "8"]) == 0
    assert (Path(options["output_dir"]) / "checkpoint-1").is_dir()
