"""The command line as a user meets it: help, exit codes, one clear line for bad input."""

import subprocess
import sys

import pytest

import simko
from simko.cli.main import COMMANDS, main

TRAIN = """
model_name_or_path: {base}
output_dir: {out}
train_file: {data}
verifier: last_integer
dtype: float32
num_generations: 2
per_device_train_batch_size: 4
max_completion_length: 4
max_steps: 1
bf16: false
gradient_checkpointing: false
use_cpu: true
report_to: none
disable_tqdm: true
"""


def test_help_imports_no_framework():
    code = "import sys\nfrom simko.cli.main import main\ntry:\n    main(['--help'])\nexcept SystemExit: pass\n"
    code += "print([m for m in ('torch', 'numpy', 'transformers', 'trl', 'matplotlib', 'rich') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
    assert all(command in result.stdout for command in COMMANDS)


def test_version(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["--version"])
    assert exit.value.code == 0
    assert capsys.readouterr().out == f"simko {simko.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_an_example(command, capsys):
    with pytest.raises(SystemExit) as exit:
        main([command, "--help"])
    assert exit.value.code == 0
    assert f"example:\n  simko {command}" in capsys.readouterr().out


def failing(words, capsys) -> str:
    assert main(words) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("simko: error: ")
    return error


def test_bad_input_is_one_line_and_exit_code_2(tmp_path, capsys):
    assert "no study" in failing(["report", str(tmp_path)], capsys)
    assert "no recipe nowhere.yaml" in failing(["train", "nowhere.yaml"], capsys)
    assert "no task is called 'nothing'" in failing(
        ["evaluate", "--model", "x", "--task", "nothing", "--out", str(tmp_path)], capsys
    )
    assert "unknown method 'ppo'" in failing(["quickstart", "--out", str(tmp_path), "--methods", "ppo"], capsys)
    assert "pkpo has no default for k" in failing(
        ["quickstart", "--out", str(tmp_path), "--methods", "grpo,pkpo"], capsys
    )
    with pytest.raises(SystemExit) as exit:
        main(["report", "x", "--colour"])
    assert exit.value.code == 2


@pytest.fixture
def recipe(tmp_path, tiny_base):
    def write(rows: str):
        (tmp_path / "data.jsonl").write_text(rows)
        path = tmp_path / "recipe.yaml"
        path.write_text(TRAIN.format(base=tiny_base, out=tmp_path / "run", data=tmp_path / "data.jsonl"))
        return str(path)

    return write


def test_training_on_bad_data_is_one_line(recipe, tmp_path, capsys):
    assert "the column 'answer' is missing" in failing(["train", recipe('{"prompt": "1 2"}\n')], capsys)
    good = '{"prompt": "1 2 3 4 5 = 6", "answer": "6"}\n'
    bad = good.replace('"6"', '"many"')
    assert "no_such_option" in failing(["train", recipe(good), "--no_such_option", "3"], capsys)
    assert "1 problems do not fill one rollout of 2 problems" in failing(["train", recipe(good)], capsys)
    assert "problem '1': the gold answer 'many' is not an integer" in failing(["train", recipe(bad * 2)], capsys)


def test_a_file_of_ones_own_trains(recipe, tmp_path, capsys):
    rows = "".join(f'{{"prompt": "{i} 2 3 4 5 = 6", "answer": "6", "id": "q{i}"}}\n' for i in range(1, 9))
    assert main(["train", recipe(rows)]) == 0
    assert capsys.readouterr().out.strip().splitlines()[-1].endswith("checkpoint-1")


def test_tasks_are_listed(capsys):
    assert main(["tasks"]) == 0
    assert "operator_puzzle" in capsys.readouterr().out


@pytest.mark.parametrize(("command", "where"), [("train x.yaml", "last complete checkpoint"), ("tasks", "where it")])
def test_an_interrupt_says_where_the_command_goes_on(command, where, monkeypatch, capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"simko.cli.{command.split()[0]}.run", interrupted)
    assert main(command.split()) == 130
    assert where in capsys.readouterr().err
