"""`simko recipe check` for verl: every shipped recipe passes, and no fault of a recipe does."""

import copy
import math
import os
import random
import re
import shutil
import subprocess
import sys
from functools import cache

import pytest
import yaml

pytest.importorskip("verl")
pytest.importorskip("simko.adapters.verl.reward")

import torch
import verl_on_cpu  # noqa: F401
from omegaconf import OmegaConf

from simko.cli.main import main
from simko.training.recipe_file import shipped_recipes
from simko.training.verl_check import check_composed, check_verl_recipe, compose

SHIPPED = {path.stem: path for path in shipped_recipes() if path.parent.name == "verl"}
FOLDER = next(iter(SHIPPED.values())).parent
ACTOR = "actor_rollout_ref.actor"
LOSS = f"{ACTOR}.policy_loss"


def flat(node, place=""):
    if not isinstance(node, dict) or not node:
        return {place: node}
    return {k: v for key, value in node.items() for k, v in flat(value, f"{place}.{key}".lstrip(".")).items()}


def nested(values):
    found: dict = {}
    for key, value in values.items():
        *parents, name = key.split(".")
        place = found
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = value
    return found


@pytest.fixture
def check(tmp_path, capsys):
    """check(base, {key with dots: value}, defaults): exit code, stdout and the one line of stderr of a recipe over `base`."""
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)

    def run(base, values, defaults=()):
        path = tmp_path / "mine.yaml"
        over = base if isinstance(base, list) else [base]
        text = yaml.safe_dump({"defaults": [*over, *defaults, "_self_"]} | nested(values))
        path.write_text(text)
        code = main(["recipe", "check", str(path), "--no-dry-run"])
        out, err = capsys.readouterr()
        if code:
            lines = [line for line in err.splitlines() if line.startswith("simko: ")]
            assert code == 2
            assert out == ""
            assert len(lines) == 1
            assert lines[0].startswith(f"simko: error: {path}")
        return code, out, err

    return run


def test_every_recipe_of_simko_passes(capsys):
    assert len(SHIPPED) == 10
    assert main(["recipe", "check", *map(str, SHIPPED.values())]) == 0
    out = capsys.readouterr().out
    assert out.count("\n  ok\n") == len(SHIPPED)
    assert out.count("dry run: 2 updates of a tiny model of its architecture, losses ") == len(SHIPPED)
    for name in SHIPPED:
        method = "grpo" if name.endswith("-grpo") else "simko"
        assert f"{name}.yaml: verl, {method} on " in out


def test_the_papers_batches():
    for name, path in SHIPPED.items():
        sizes = check_verl_recipe(path)
        maths = "math" in name or "32b" in name or "llama" in name
        assert (sizes.prompts, sizes.updates) == ((1024, 4) if maths else (128, 4))
        assert sizes.group == (16 if "synlogic" in name else 8)
        assert (sizes.gpus, sizes.shards) == ((16, 16) if "32b" in name else (8, 8))


def test_a_baseline_is_one_changed_line(check):
    """Pass@k training's k is in no paper, and must be given beside."""
    for method in sorted(path.stem for path in (FOLDER / "method").glob("*.yaml")):
        if method != "row":
            given = {f"{LOSS}.k": 4} if method == "passk_training" else {}
            code, out, err = check("qwen2.5-math-7b-grpo", given, [{"override method": method}])
            assert code == 0, err
            assert f"verl, {method} on" in out
    code, _, err = check("qwen2.5-math-7b-grpo", {}, [{"override method": "passk_training"}])
    assert code == 2
    assert "k" in err


@cache
def composed(name):
    return compose(name, FOLDER)


def changed(name, values):
    """The recipe's configuration with other values."""
    config = copy.deepcopy(composed(name))
    for key, value in values.items():
        OmegaConf.update(config, key, value, merge=False, force_add=True)
    return config


@pytest.mark.parametrize("name", SHIPPED)
def test_a_misspelled_key_is_named(name):
    """Some of the recipe's own keys, and of its base."""
    draw = random.Random(name)
    own = flat({k: v for k, v in yaml.safe_load(SHIPPED[name].read_text()).items() if k != "defaults"})
    base = flat(yaml.safe_load((FOLDER / "base" / "paper.yaml").read_text()))
    for key, value in draw.sample(sorted((own | base).items(), key=str), 4):
        parent, _, last = key.rpartition(".")
        at = draw.randrange(len(last))
        wrong = f"{parent}.{last[:at]}x{last[at:]}"
        with pytest.raises(ValueError, match=re.escape(wrong) if parent != LOSS else wrong.rpartition(".")[2]):
            check_composed(changed(name, {wrong: value}))


def test_a_misspelled_key_in_a_file_is_one_line(check):
    code, _, err = check("qwen2.5-math-7b", {"data.train_bach_size": 3})
    assert code == 2
    assert "verl has no key data.train_bach_size; did you mean data.train_batch_size?" in err


NUMBERS = {
    key: name
    for name, path in SHIPPED.items()
    for key, value in flat(yaml.safe_load(path.read_text())).items()
    if type(value) in (int, float)
}


@pytest.mark.parametrize("key", sorted(NUMBERS))
def test_an_absurd_number_is_named(key):
    for absurd in random.Random(key).sample([-7, math.nan, math.inf, "many", [1], True], 3):
        with pytest.raises(ValueError, match=key.rpartition(".")[2]):
            check_composed(changed(NUMBERS[key], {key: absurd}))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"trainer.v1.trainer_mode": "sync"}, "set trainer.v1.trainer_mode=simko"),
        ({"actor_rollout_ref.model.use_fused_kernels": True}, "gives simko no logits"),
        ({"algorithm.rollout_correction.bypass_mode": True}, "bypass_mode=True replaces the policy loss"),
        ({f"{LOSS}.loss_mode": "simko/smko"}, "names no method of simko"),
        ({f"{LOSS}.loss_mode": "simko/nsr"}, "nsr"),
        ({f"{LOSS}.alpha": 2}, "alpha"),
        ({f"{LOSS}.tau": 0.8}, "tau"),
        ({f"{LOSS}.loss_mode": "vanilla"}, "alpha|trainer_mode=simko trains the row"),
        ({f"{LOSS}._target_": "verl.workers.config.PolicyLossConfig"}, "_target_=simko.adapters.verl.PolicyLoss"),
        ({f"{ACTOR}.clip_ratio_c": 10.0}, "dual_clip"),
        ({f"{ACTOR}.ppo_mini_batch_size": 300}, "is no multiple of"),
        ({f"{ACTOR}.ppo_max_token_len_per_gpu": 4000}, "less than one sequence of 4096 tokens"),
        ({"actor_rollout_ref.rollout.n": 1}, "groups of one"),
        ({"actor_rollout_ref.rollout.tensor_model_parallel_size": 3}, "does not divide 8 GPUs"),
        ({"trainer.n_gpus_per_node": 7}, "does not divide"),
        ({f"{ACTOR}.loss_agg_mode": "token-men"}, "token-men"),
        ({f"{ACTOR}.use_dynamic_bsz": False}, "micro_batch_size"),
        ({"reward.custom_reward_function.path": "pkg://simko.adapters.verl.rewrd"}, "cannot be imported here"),
        ({"actor_rollout_ref.rollout.mode": "sync"}, "sync"),
        ({"actor_rollout_ref.rollout.nmae": "vllm"}, "nmae"),
        ({"data": 3}, "data"),
        ({"trainer.logger": "${nowhere}"}, "nowhere"),
    ],
)
def test_what_does_not_fit_together_is_named(values, said):
    with pytest.raises(ValueError, match=said):
        check_composed(changed("qwen2.5-math-7b", values))


def test_sequences_that_do_not_fit_are_one_line(check):
    """The model's context is that of models.yaml."""
    code, _, err = check("qwen2.5-math-7b", {"data.max_response_length": 3100})
    assert code == 2
    assert "do not fit into the 4,096 of Qwen/Qwen2.5-Math-7B" in err


@pytest.mark.parametrize(
    ("base", "defaults", "said"),
    [
        ("nowhere", [], "nowhere"),
        ("qwen2.5-math-7b-grpo", [{"override method": "smko"}], "method/smko"),
        ("qwen2.5-math-7b-grpo", [{"override engine": "simko"}], "engine"),
        ("mine", [], "mine"),
    ],
)
def test_what_hydra_cannot_compose_is_one_line(base, defaults, said, check):
    code, _, err = check(base, {}, defaults)
    assert code == 2
    assert said in err


def test_free_places_take_any_key():
    """Where verl has an empty mapping, simko's reward its arguments, and a dataclass a field that verl's files leave out."""
    values = {
        "reward.custom_reward_function.reward_kwargs.verifier": "math",
        "actor_rollout_ref.model.override_config.attn_implementation": "sdpa",
        "actor_rollout_ref.rollout.engine_kwargs.vllm.disable_mm_preprocessor_cache": True,
        f"{ACTOR}.fsdp_config.mixed_precision.param_dtype": "bf16",
    }
    check_composed(changed("qwen2.5-math-7b", values))


def test_the_command_in_a_recipes_header_composes_what_is_checked(tmp_path):
    """verl's own entry point, in a process of its own."""
    import subprocess
    import sys

    command = [sys.executable, "-m", "verl.trainer.main_ppo", "--config-dir", str(FOLDER)]
    command += ["--config-name", "qwen2.5-math-7b", "--cfg", "job"]
    said = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True).stdout
    config = yaml.safe_load(said)
    assert config["actor_rollout_ref"]["actor"]["policy_loss"]["loss_mode"] == "simko/simko"
    assert config["data"]["train_batch_size"] == 1024


def test_a_recipe_by_adv_estimator_alone(check):
    loss = {"algorithm.adv_estimator": "simko/pkpo", "algorithm.simko": {"k": 4}}
    code, out, err = check("qwen2.5-math-7b-grpo", loss)
    assert code == 0, err
    assert "verl, simko/pkpo on" in out
    for wrong, said in (({"k": 9}, "rollout.n=8 does not fit pkpo"), ({"kk": 4}, "no option 'kk'"), ({}, "k=...")):
        code, _, err = check("qwen2.5-math-7b-grpo", loss | {"algorithm.simko": wrong or {"eps": 1e-6}})
        assert code == 2
        assert said in err or "no option 'eps'" in err


@pytest.mark.parametrize(("key", "value"), [(f"{LOSS}.loss_mode", "clip_covv"), ("algorithm.adv_estimator", "grop")])
def test_a_name_that_verl_does_not_know_is_refused(check, key, value):
    code, _, err = check("qwen2.5-math-7b-grpo", {key: value})
    assert code == 2
    assert f"{key}={value}" in err


def test_without_an_accelerator_nothing_is_tried():
    """verl takes any machine for one of NVIDIA's."""
    environment = {name: x for name, x in os.environ.items() if name != "VERL_PLATFORM"}
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "simko.cli",
        "recipe",
        "check",
        "--gpus",
        "8",
        str(SHIPPED["qwen2.5-math-7b"]),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)
    assert done.returncode == 0, done.stderr
    tried = (
        "2 updates of a tiny model" if torch.accelerator.is_available() else "not tried, since it needs FSDP, and a GPU"
    )
    assert f"dry run: {tried}" in done.stdout


def test_a_recipe_on_megatron(tmp_path, capsys):
    """Its keys are Megatron's, and its memory is that of the model's and the optimizer's shards."""
    actor = {"ppo_mini_batch_size": 32, "use_dynamic_bsz": True, "megatron": {"tensor_model_parallel_size": 4}}
    actor |= {"policy_loss": {"_target_": "simko.adapters.verl.PolicyLoss", "loss_mode": "simko/simko"}}
    rollout = {"name": "vllm", "n": 8, "log_prob_use_dynamic_bsz": True, "tensor_model_parallel_size": 4}
    whole = {
        "defaults": ["ppo_trainer", {"override model_engine": "megatron"}, "_self_"],
        "data": {"train_batch_size": 64},
        "actor_rollout_ref": {"model": {"path": "Qwen/Qwen2.5-7B"}, "actor": actor, "rollout": rollout},
        "algorithm": {"adv_estimator": "grpo"},
        "trainer": {"n_gpus_per_node": 8, "v1": {"trainer_mode": "simko"}},
    }
    path = tmp_path / "megatron.yaml"
    path.write_text(yaml.safe_dump(whole))
    assert main(["recipe", "check", str(path)]) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    assert "weights 3.8, gradients 7.6, optimiser 11.4" in out  # 2 and 4 bytes over 4 GPUs, 12 over 8, of 7.6 billion
    assert "dry run: not tried" in out
    for name, said in (
        ("tensor_model_paralel_size", "verl has no key"),
        ("tensor_model_parallel_size", "do not divide"),
    ):
        actor["megatron"] = {name: 3}
        path.write_text(yaml.safe_dump(whole))
        assert main(["recipe", "check", str(path)]) == 2
        assert said in capsys.readouterr().err
