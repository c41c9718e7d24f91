"""`simko methods`, and docs/methods.md, which it writes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from simko.adapters.trl import MethodConfig, plan_method
from simko.cli.engines import in_trl, in_verl
from simko.cli.main import main
from simko.cli.methods import markdown, read_toy
from simko.objectives import METHODS

DOCS = Path(__file__).parents[2] / "docs"
TRAINED = {name: in_trl(method) for name, method in METHODS.items()}
IN_VERL = {name: in_verl(method) for name, method in METHODS.items()}


def test_the_page_on_disk_is_what_the_table_says_now():
    """Else: simko methods --markdown > docs/methods.md"""
    written = (DOCS / "methods.md").read_text(encoding="utf-8")
    assert written == markdown(read_toy(DOCS / "results" / "toy.json"))


def test_a_line_a_method(capsys):
    assert main(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(METHODS)
    for line, method in zip(lines, METHODS.values(), strict=True):
        assert method.arxiv in line
        assert method.summary in line
        assert all(option in line for option in method.options)
        assert f"(TRL: {TRAINED[method.name].word}; verl: {IN_VERL[method.name].word})" in line


def test_one_method_in_full(capsys):
    for method in METHODS.values():
        assert main(["methods", method.name]) == 0
        text = " ".join(capsys.readouterr().out.split())
        for part in (method.title, method.arxiv, method.summary, method.formula, method.note, method.edges):
            assert " ".join(part.split()) in text
        assert all(option in text for option in method.options)
        assert f"in TRL: {TRAINED[method.name].way} " in text
        assert ", ".join(TRAINED[method.name].refused) in text
        assert f"in verl: {IN_VERL[method.name].way}" in text
        assert ", ".join(IN_VERL[method.name].refused) in text
    main(["methods", "pkpo"])
    assert "k required number of responses of which the best counts" in " ".join(capsys.readouterr().out.split())


def test_it_neither_waits_for_trl_nor_needs_it():
    code = "import sys; sys.modules['trl'] = None; from simko.cli.main import main; sys.exit(main(sys.argv[1:]))"
    for words in (["methods"], ["methods", "pkpo"], ["methods", "--markdown"]):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
        assert done.returncode == 0
        assert "own advantages" in done.stdout or "(TRL: by advantage;" in done.stdout


@pytest.mark.parametrize("words", [["methods"], ["methods", "pkpo"], ["tasks"], ["tasks", "aime24"]])
def test_a_reader_that_has_seen_enough_is_no_error(words):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-m", "simko.cli", *words], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_unknown_one_names_those_there_are(capsys):
    assert main(["methods", "ppo"]) == 2
    assert "unknown method 'ppo': choose from grpo, dr_grpo" in capsys.readouterr().err


def test_the_toy_s_results_are_columns_where_there_are_any(tmp_path, capsys):
    assert main(["methods", "--markdown", "--toy", str(tmp_path / "toy.json")]) == 0
    assert "| method | source | what it does | options | in TRL | in verl |\n" in capsys.readouterr().out
    path = tmp_path / "toy.json"
    path.write_text(json.dumps({"simko": {"modes": 5.96, "accuracy": 0.998, "entropy": 1.7, "modes_interval": [5, 6]}}))
    assert main(["methods", "--markdown", "--toy", str(path)]) == 0
    page = capsys.readouterr().out
    assert "| options | in TRL | in verl | modes | accuracy | entropy |\n" in page
    (row,) = [line for line in page.splitlines() if line.startswith("| [simko](#simko) ")]
    assert row.endswith("| 6.0 | 1.00 | 1.70 |")
    (row,) = [line for line in page.splitlines() if line.startswith("| [nsr](#nsr) ")]
    assert row.endswith("|  |  |  |")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_section(name):
    assert f"\n## {name}\n" in markdown({})


OPTIONS = {
    "passk_training": {"k": 2},
    "pkpo": {"k": 2},
    "ordergrad": {"k": 2},
    "ds_grpo": {"gamma_right": 0, "gamma_wrong": 0},
}
VALUES = (
    {"scale_rewards": "batch"},
    {"multi_objective_aggregation": "normalize_then_sum"},
    {"beta": 0.1},
    {"beta": 0.1, "use_bias_correction_kl": True},
    {"loss_type": "bnpo"},
    {"loss_type": "vespo"},
    {"loss_type": "cispo", "epsilon_high": 0.05},
    {"importance_sampling_level": "sequence"},
    {"epsilon": 0.15},
    {"epsilon_high": 0.35},
    {"delta": 3.0},
    {"top_entropy_quantile": 0.5},
    {"entropy_coef": 0.1},
    {"use_adaptive_entropy": True},
    {"off_policy_mask_threshold": 0.5},
    {"use_vllm": True, "vllm_importance_sampling_correction": True},
)
BESIDE_LINKS = {
    "loss_type=vespo": {"loss_type": "vespo"},
    "loss_type=cispo with epsilon_high below top_penalty": {"loss_type": "cispo", "epsilon_high": 0.05},
    "importance_sampling_level=sequence": {"importance_sampling_level": "sequence"},
    "use_bias_correction_kl with beta": {"beta": 0.1, "use_bias_correction_kl": True},
}
"""{as the page says it: the options that show it}."""


@pytest.mark.parametrize("values", VALUES, ids=lambda values: " ".join(map(str, values.items())))
def test_of_trl_s_options_those_that_are_named_are_refused_and_no_others(tmp_path, values):
    for name, (_, way, refused) in TRAINED.items():
        args = MethodConfig(str(tmp_path), method=name, method_options=OPTIONS.get(name), use_cpu=True, **values)
        set_by_row = dict(pair.split("=") for pair in way.rstrip(")").partition(" (")[2].split(", ") if pair)
        said = bool({*values} & {*refused}) or any(v in set_by_row and set_by_row[v] != str(values[v]) for v in values)
        said |= any(shown == values and phrase in refused for phrase, shown in BESIDE_LINKS.items())
        try:
            plan_method(args)
        except ValueError:
            assert said, name
        else:
            assert not said, name


def test_a_method_that_a_recipe_sets_otherwise_says_so(capsys):
    said = {}
    for name in ("grpo", "simko", "pkpo"):
        assert main(["methods", name]) == 0
        said[name] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("recipe:")]
    assert said["grpo"] == ["recipe:   TRL's own objective, under any of TRL's options"]
    assert said["simko"] == ["recipe:   set by the simko_* options"]
    assert said["pkpo"] == []
