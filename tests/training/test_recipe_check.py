"""`simko recipe check` for TRL: every shipped recipe passes, and no fault of a recipe does."""

import random
import re
from pathlib import Path

import pytest
import yaml

from simko.adapters.trl_rows import plan_row
from simko.cli.main import main
from simko.objectives import METHODS
from simko.training.arithmetic import model_numbers, parameters
from simko.training.recipe import read_recipe
from simko.training.recipe_file import read_recipe_file, shipped_recipes

ROOT = Path(__file__).parents[2] / "recipes"
SHIPPED = {path.relative_to(ROOT).as_posix(): path for path in shipped_recipes()}
TRL = {name: path for name, path in SHIPPED.items() if "/" not in name}
PAPER = [name for name in TRL if name not in ("quickstart.yaml", "smollm2.yaml")]
BASELINES = (
    "psr",
    "nsr",
    "w_reinforce",
    "kl_cov",
    "entropy_bonus",
    "entropy_advantage",
    "forking_tokens",
    "simko_softmax",
)


@pytest.fixture
def check(tmp_path, capsys):
    """check(options, *words): exit code, stdout and the one line of stderr for a recipe of these options or this text."""

    def run(options, *words):
        path = tmp_path / "mine.yaml"
        path.write_text(options if isinstance(options, str) else yaml.safe_dump(options), encoding="utf-8")
        code = main(["recipe", "check", str(path), *words])
        out, err = capsys.readouterr()
        if code:
            assert code == 2
            assert out == ""
            assert err.startswith("simko: error: ")
            assert err.count("\n") == 1
        return code, out, err

    return run


@pytest.mark.parametrize("name", TRL)
@pytest.mark.few(4)
def test_every_recipe_of_simko_passes_with_its_dry_run(name, capfd):
    assert main(["recipe", "check", name]) == 0
    out, err = capfd.readouterr()
    losses = re.search(r"dry run: 2 updates of a tiny model of its architecture, losses (\S+) and (\S+)\n  ok\n$", out)
    assert losses
    assert float(losses[1]) != float(losses[2])
    assert err == ""


def test_without_a_file_all_are_checked_and_verls_said_to_be_unchecked_without_verl(capsys):
    assert main(["recipe", "check", "--no-dry-run"]) == 0
    heads = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    assert [Path(head.partition(": ")[0]) for head in heads] == list(SHIPPED.values())
    assert len(SHIPPED) - len(TRL) == len(list((ROOT / "verl").glob("*.yaml"))) > 0
    for name, head in zip(SHIPPED, heads, strict=True):
        assert head.endswith("not checked: verl is not installed here") == ("/" in name)


def test_the_papers_batches(capsys):
    """Prompts x responses a rollout, updates, and the GPU's share of weights, gradients and Adam in float32."""
    said = {
        "qwen2.5-math-7b.yaml": (
            "1,024 prompts x 8 = 8,192",
            "4 a rollout, of 2,048",
            "weights 3.8, gradients 3.8, optimiser 7.6",
        ),
        "llama-3.2-3b-grpo.yaml": ("1,024 prompts x 8 = 8,192", "4 a rollout, of 2,048", "weights 1.6"),
        "qwen2.5-7b-synlogic.yaml": ("128 prompts x 16 = 2,048", "4 a rollout, of 512", "optimiser 7.6"),
        "r1-distill-qwen-7b-deepcoder.yaml": ("128 prompts x 8 = 1,024", "4 a rollout, of 256", "vLLM's 30%"),
    }
    for name, words in said.items():
        assert main(["recipe", "check", name, "--no-dry-run"]) == 0
        out = capsys.readouterr().out
        assert all(word in out for word in words), out
    main(["recipe", "check", "qwen2.5-math-7b.yaml", "--no-dry-run", "--gpus", "16"])
    assert "2,048 prompts x 8" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("model", "count"),
    [
        ("Qwen/Qwen2.5-Math-7B", 7_615_616_512),
        ("Qwen/Qwen2.5-32B", 32_763_876_352),
        ("meta-llama/Llama-3.2-3B-Instruct", 3_212_749_824),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008),
    ],
)
def test_the_models_numbers_give_the_models_parameters(model, count):
    """As the hub states them."""
    assert parameters(model) == count


def test_every_recipes_model_is_known():
    models = {read_recipe_file(path)["model_name_or_path"] for path in TRL.values()}
    assert all(model_numbers(model) for model in models)


@pytest.mark.parametrize("name", [name for name in PAPER if name.endswith("-grpo.yaml")])
@pytest.mark.parametrize("method", [*BASELINES, "passk_training"])
def test_a_baseline_is_one_changed_line(name, method, tmp_path):
    """In the GRPO recipes: `method: ...`; only Pass@k training has an option that no source gives."""
    options = read_recipe_file(TRL[name]) | {"method": method}
    if method == "passk_training":
        options["method_options"] = {"k": 4}
    if "synlogic" in name and METHODS[method].options.get("clip_high") and plan_row(METHODS[method]).own_loss:
        options |= {
            "epsilon_high": None,
            "method_options": {"clip_high": 0.28},
        }  # a loss of the row's own has its own clip
    elif "synlogic" in name and method == "kl_cov":
        options["epsilon_high"] = None  # it has no clip
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(options))
    assert read_recipe(tmp_path / "a.yaml").training.method == method


def test_simko_and_grpo_differ_in_the_methods_own_options_alone():
    for name in PAPER:
        if name.endswith("-grpo.yaml"):
            grpo, simko = (read_recipe_file(ROOT / file) for file in (name, name.replace("-grpo", "")))
            changed = {key for key in grpo | simko if grpo.get(key) != simko.get(key)}
            own = {"method", "output_dir", "skip_zero_advantage", "grpo_warmup_steps"}
            assert {key for key in changed if not key.startswith("simko_")} <= own
            assert grpo["method"], simko["method"] == ("grpo", "simko")


def misspelled(key: str, draw: random.Random) -> str:
    at = draw.randrange(len(key))
    return draw.choice([key[:at] + key[at + 1 :], key[:at] + "x" + key[at:], key[::-1]])


@pytest.mark.parametrize("name", TRL)
def test_a_misspelled_key_is_named(name, check):
    draw, options = random.Random(name), read_recipe_file(TRL[name])
    for key in draw.sample(sorted(options), 6):
        wrong = misspelled(key, draw)
        if wrong in options:
            continue
        code, _, err = check({wrong if k == key else k: v for k, v in options.items()}, "--no-dry-run")
        assert code == 2, wrong
        assert f"mine.yaml: there is no option {wrong}" in err


NUMBERS = sorted({k for p in TRL.values() for k, v in read_recipe_file(p).items() if type(v) in (int, float)})


@pytest.mark.parametrize("key", NUMBERS)
def test_an_absurd_number_is_named(key, check):
    path = next(path for path in TRL.values() if key in read_recipe_file(path))
    options = read_recipe_file(path)
    for absurd in (-7, float("nan"), "many", [1], {"a": 1}, -float("inf")):
        code, _, err = check(options | {key: absurd}, "--no-dry-run")
        assert code == 2, absurd
        assert "mine.yaml: " in err
        assert key in err or "wrong kind" in err or "generation_batch_size" in err, err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_completion_length": 5000}, "sequences of up to 5,000 tokens do not fit into the 4,096 of Qwen"),
        ({"num_generations": 7}, "num_generations"),
        ({"method": "smko"}, "method must be one of"),
        ({"task": "math_l3_6"}, "did you mean math_l3_5"),
        ({"task": None}, "set either task"),
        ({"verifier": "nowhere.py:judge"}, "nowhere.py"),
        ({"reward_function": "no_such_module:f"}, "no_such_module"),
        ({"extends": "nowhere.yaml"}, "extends names the recipe 'nowhere.yaml', which is no file beside it"),
        ({"extends": "mine.yaml"}, "extends itself"),
        ({"extends": 3}, "extends names the recipe 3"),
        ({"beta": 0.1}, "skip_zero_advantage keeps the gradient only with"),
        ({"loss_type": "vespo"}, "vespo"),
        ({"use_vllm": False, "method": "grpo"}, "simko_alpha belongs to method simko"),
        ({"temperature": 0}, "temperature"),
    ],
)
def test_what_does_not_fit_together_is_named(change, said, check):
    code, _, err = check(read_recipe_file(TRL["qwen2.5-math-7b.yaml"]) | change)
    assert code == 2
    assert re.search(said, err), err


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- method\n",
        "method: [\n",
        "method: simko\nmethod: grpo\n",
        "a: b: c\n",
        "\x00",
        "{{x}}: 1\n",
        "method: 'simko\n",
    ],
)
def test_what_is_no_recipe_is_one_line(text, check):
    code, _, err = check(text)
    assert code == 2
    assert "mine.yaml" in err


def test_recipes_that_extend_each_other(tmp_path, capsys):
    for name, base in (("a", "b"), ("b", "a")):
        (tmp_path / f"{name}.yaml").write_text(f"extends: {base}.yaml\nseed: 1\n")
    assert main(["recipe", "check", str(tmp_path / "a.yaml")]) == 2
    assert "extends itself" in capsys.readouterr().err


def test_a_recipe_over_another(tmp_path):
    """The nearest file wins, key by key."""
    (tmp_path / "base.yaml").write_text("method: grpo\nseed: 1\nmax_steps: 5\ngeneration_kwargs: {a: 1}\n")
    (tmp_path / "middle.yaml").write_text("extends: base.yaml\nseed: 2\nbeta: 0.1\n")
    (tmp_path / "top.yaml").write_text("extends: middle.yaml\nseed: 3\ngeneration_kwargs: {b: 2}\n")
    assert read_recipe_file(tmp_path / "top.yaml") == {
        "method": "grpo", "seed": 3, "max_steps": 5, "beta": 0.1, "generation_kwargs": {"b": 2},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["recipe", "check", "nowhere.yaml"], "no recipe nowhere.yaml"),
        (["recipe", "check", "--gpus", "0"], "--gpus must be at least 1"),
        (["recipe", "train"], "invalid choice"),
    ],
)
def test_bad_arguments_are_one_line(words, said, capsys):
    try:
        code = main(words)
    except SystemExit as exit:
        code = exit.code
    err = capsys.readouterr().err
    assert (code, err.count("\n")) == (2, 1)
    assert said in err


def test_a_model_in_a_folder_and_one_that_is_not_known(tiny_base, check):
    options = {
        "method": "simko",
        "task": "multiplication",
        "output_dir": "out",
        "use_peft": True,
        "lora_target_modules": ["q_proj", "v_proj"],
    }
    code, out, _ = check(options | {"model_name_or_path": str(tiny_base), "max_completion_length": 8})
    assert code == 0
    assert "weights 0.0, statistics" in out
    assert "activations and the adapter come on top" in out
    assert "dry run: 2 updates" in out
    code, _, err = check(options | {"model_name_or_path": str(tiny_base), "lora_target_modules": ["a", "b"]})
    assert code == 2
    assert "mine.yaml: the dry run was stopped by" in err
    code, out, _ = check(options | {"model_name_or_path": "some/model"})
    assert code == 0
    assert "memory: unknown, since the config of some/model is not here" in out
    assert "dry run: not tried" in out


def test_every_recipe_is_checked_though_others_are_at_fault(tmp_path, capsys):
    """Options may stand before the files."""
    for name in ("a.yaml", "c.yaml"):
        (tmp_path / name).write_text(f"method: {name}")
    files = [str(tmp_path / "a.yaml"), "quickstart.yaml", str(tmp_path / "c.yaml")]
    assert main(["recipe", "check", "--no-dry-run", *files]) == 2
    out, err = capsys.readouterr()
    assert "quickstart.yaml: TRL" in out
    first, second = err.splitlines()
    assert first.startswith(f"simko: error: {files[0]}")
    assert second.startswith(f"simko: error: {files[2]}")
