"""A row's loss and gradient inside verl's real engines are those of METHODS, however an update is split."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("verl.protocol", reason="verl is not installed: make test-verl")

import torch
import verl
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen2Config

from simko.objectives import METHODS

HERE = Path(__file__).parent
HOOK = f"verl {verl.__version__}'s logits hook (distillation_use_topk -> loss_fn(student_logits=...))"
OPTIONS = {
    "clip_cov": {"cov_share": 0.1, "cov_low": -1.0, "clip_low": 0.1, "clip_high": 0.1},
    "dr_grpo": {"length": 12},
    "ds_grpo": {"gamma_right": 0.1, "gamma_wrong": 0.1},
    "kl_cov": {"cov_share": 0.1},
    "ordergrad": {"k": 4},
    "passk_training": {"k": 4},
    "pkpo": {"k": 4},
} | {name: {"alpha": 0.3} for name in ("simko", "simko_softmax", "simko_reference", "simko_positive")}
KINDS = ("grpo", "psr", "gspo", "entropy_bonus", "clip_cov", "simko")  # own loss, selection, entropy gradient, links


def case(row, **setting):
    return {"row": row, "options": OPTIONS.get(row, {}), **setting}


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A tiny Qwen2 whose predictions are neither flat nor certain, and one without attention beside it."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = Qwen2Config(
        vocab_size=272, num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True, **sizes
    )
    tiny = AutoModelForCausalLM.from_config(config)
    tiny.model.norm.weight.data.fill_(4)
    for folder in (path, path.with_name("tiny_without_attention")):
        tiny.save_pretrained(folder)
        make_tokenizer().save_pretrained(folder)
        for layer in tiny.model.layers:
            layer.self_attn.o_proj.weight.data.zero_()
    return path


def make_tokenizer():
    from tokenizers import Tokenizer, models

    vocabulary = {"<pad>": 0, "<eos>": 1, "\n": 2} | {str(n): n + 3 for n in range(269)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, "<pad>")), pad_token="<pad>", eos_token="<eos>"
    )


def run(tmp_path, script, processes, cases, *arguments):
    """What the script finds for the cases, in so many processes."""
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command += [HERE / script, tmp_path / "cases.json", tmp_path / "out.json", *arguments]
    environment = os.environ | {"VERL_PLATFORM": "cpu", "OMP_NUM_THREADS": "1", "VERL_USE_EXTERNAL_PLUGINS": "none"}
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, f"{HOOK} or an engine around it has changed:\n{done.stderr[-4000:]}"
    return json.loads((tmp_path / "out.json").read_text())


def check(found):
    for result in found:
        said = f"{HOOK} does not train {result['case']}"
        assert result["loss"] == pytest.approx(result["expected"], abs=1e-6), said
        assert result["error"] < 1e-6, said
        wanted = {name: x for name, x in result["expected_metrics"].items() if name in result["metrics"]}
        assert {name: result["metrics"][name] for name in wanted} == pytest.approx(wanted, abs=1e-5), said
        assert {"entropy", "lambda_1"} <= wanted.keys()


FSDP = [case(row) for row in METHODS]
FSDP += [
    case(row, packed=packed, micro=n)
    for row in KINDS
    for packed, n in ((False, None), (False, 1), (True, 0), (True, None))
]


@pytest.mark.parametrize("processes", [1, 2])
def test_every_row_on_fsdp2(tmp_path, model, processes):
    found = run(tmp_path, "fsdp_contract.py", processes, FSDP, model)
    check(found)
    simko = next(result for result in found if result["case"]["row"] == "simko")["metrics"]
    assert simko["penalised"] > 0
    assert simko["raised"] > 0
    assert simko["lambda_1"] > simko["lambda_2"] > simko["lambda_3"]


def test_sequence_parallel_on_fsdp2(tmp_path, model):
    cases = [case(row, packed=True, micro=n, sequence_parallel=2) for row in KINDS for n in (1, 0)]
    check(run(tmp_path, "fsdp_contract.py", 2, cases, model))


def test_tensor_parallel_on_megatron(tmp_path):
    pytest.importorskip("megatron.core")
    cases = [
        case(row, packed=packed, micro=n)
        for row in KINDS
        for packed, n in ((False, None), (False, 2), (True, 1), (True, 0))
    ]
    found = run(tmp_path, "megatron_contract.py", 2, cases)
    check(found)
    assert all(result["metrics"]["penalised"] > 0 for result in found if result["case"]["row"] == "simko")


def test_without_its_effects_the_weights_are_those_of_verl_bit_for_bit(tmp_path, model):
    off = {"alpha": 0.0, "top_penalty": 1.0}
    rows = [case("grpo"), {"row": "simko", "options": off}, case("simko")]
    found = run(tmp_path, "fsdp_contract.py", 2, rows, model, "--weights")
    assert [result["equal"] for result in found] == [True, True, False], HOOK
    assert found[2]["distance"] > 1e-3
    assert [result["continued"] for result in found] == [3, 3, 3]
