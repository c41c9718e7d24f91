"""What simko leans on inside TRL. A release that fails here needs another look at src/simko/adapters/trl."""

import ast
import inspect
import textwrap
from importlib.metadata import version

import pytest
import torch
import trl.trainer.utils as trl_utils
from packaging.version import Version
from tiny import digit_share, make_trainer, tiny_dataset, tiny_tokenizer
from trl import GRPOConfig, GRPOTrainer

from simko.adapters.trl import MethodTrainer, RLVRTrainer, SimKOTrainer

LOSS_TYPES = {"grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"}


def source(function):
    return textwrap.dedent(inspect.getsource(inspect.unwrap(function)))


def test_version():
    assert Version("1.16") <= Version(version("trl")) < Version("1.17")


def test_arguments_of_the_fused_head():
    names = list(inspect.signature(trl_utils._ChunkedLogProbFunction.forward).parameters)
    assert names == ["ctx", "hidden", "weight", "bias", "targets", "temperature", "chunk_size",
                     "final_logit_softcapping", "logit_scale", "outputs"]  # fmt: skip


def test_results_of_the_fused_head():
    hidden, weight, labels = torch.randn(6, 4), torch.randn(9, 4), torch.arange(6)
    outputs = trl_utils._ChunkedLogProbFunction.apply(
        hidden, weight, None, labels, 0.5, 32, 2.0, 0.7, ("log_probs", "entropy")
    )
    assert len(outputs) == 5
    logp = (2.0 * torch.tanh(0.7 * hidden @ weight.T / 2.0) / 0.5).log_softmax(-1)
    torch.testing.assert_close(outputs[0], logp.gather(-1, labels[:, None]).squeeze(-1))
    torch.testing.assert_close(outputs[1], -(logp.exp() * logp).sum(-1))


def test_the_head_is_looked_up_by_name_and_called_by_position():
    tree = ast.parse(source(trl_utils.add_fused_lm_head))
    calls = [
        n for n in ast.walk(tree) if isinstance(n, ast.Call) and "_ChunkedLogProbFunction.apply" in ast.unparse(n.func)
    ]
    assert len(calls) == 1
    assert len(calls[0].args) == 9
    assert not calls[0].keywords
    assert [ast.unparse(a) for a in calls[0].args[1:3]] == ["weight", "bias"]
    rest = "temperature _CHUNKED_LOGPROB_CHUNK_SIZE final_logit_softcapping logit_scale outputs"
    assert [ast.unparse(a) for a in calls[0].args[4:]] == rest.split()


def test_logit_transforms_known_to_the_head():
    """A new one would reach SimKO by the head's arguments only if it is the scale or the soft cap."""
    text = source(trl_utils.add_fused_lm_head)
    read = {n.args[1].value for n in ast.walk(ast.parse(text))
            if isinstance(n, ast.Call) and ast.unparse(n.func) == "getattr" and isinstance(n.args[1], ast.Constant)}  # fmt: skip
    assert read == {
        "final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling",
        "output_router_logits", "router_aux_loss_coef",
    }  # fmt: skip


def test_signature_of_the_scoring_method():
    names = list(inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters)
    assert names[:8] == ["self", "model", "input_ids", "attention_mask", "logits_to_keep", "batch_size",
                         "compute_entropy", "compute_aux_loss"]  # fmt: skip
    returns = [n for n in ast.walk(ast.parse(source(GRPOTrainer._get_per_token_logps_and_entropies)))
               if isinstance(n, ast.Return)]  # fmt: skip
    assert [ast.unparse(r.value) for r in returns] == ["(logps, entropies, aux_loss)"]


@pytest.fixture(scope="module")
def loss_source():
    return source(GRPOTrainer._compute_loss)


def test_the_loss_scores_once_without_splitting(loss_source):
    calls = [n for n in ast.walk(ast.parse(loss_source))
             if isinstance(n, ast.Call) and ast.unparse(n.func) == "self._get_per_token_logps_and_entropies"]  # fmt: skip
    assert len(calls) == 1
    assert "batch_size" not in {k.arg for k in calls[0].keywords}


@pytest.mark.parametrize(
    "read",
    [
        'inputs["advantages"]',
        'inputs.get("old_per_token_logps")',
        'inputs.get("sampling_per_token_logps", old_per_token_logps)',
        'inputs["ref_per_token_logps"]',
    ],
)
def test_what_simko_replaces_is_read_after_the_scoring(loss_source, read):
    assert loss_source.count(read) == 1
    assert loss_source.index(read) > loss_source.index("self._get_per_token_logps_and_entropies(")
    key = read.split('"')[1]
    assert loss_source.count(f'"{key}"') == 1  # and nowhere else


def test_loss_types(loss_source):
    named = {
        n.value
        for compare in ast.walk(ast.parse(loss_source))
        if isinstance(compare, ast.Compare) and ast.unparse(compare.left) == "self.loss_type"
        for n in ast.walk(compare)
        if isinstance(n, ast.Constant)
    }
    assert named == LOSS_TYPES


def test_per_token_advantages_are_welcome(loss_source):
    assert "if advantages.dim() == 1:\n        advantages = advantages.unsqueeze(1)" in loss_source


def test_keys_of_a_micro_batch(tmp_path):
    trainer, seen = make_trainer(tmp_path, RLVRTrainer, max_steps=2, num_iterations=2), []
    original = trainer._compute_loss
    trainer._compute_loss = lambda model, inputs: seen.append(set(inputs)) or original(model, inputs)
    trainer.train()
    keys = {"prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "advantages", "num_items_in_batch"}
    assert seen == [keys | {"old_per_token_logps"}] * 2


def test_prompts_are_padded_on_the_left_and_completions_on_the_right(tmp_path):
    trainer, seen = make_trainer(tmp_path, max_steps=1, per_device_train_batch_size=16), []
    original = trainer._compute_loss
    trainer._compute_loss = lambda model, inputs: seen.append(inputs) or original(model, inputs)
    trainer.train()
    prompt, completion = seen[0]["prompt_mask"], seen[0]["completion_mask"]
    assert prompt.min() == 0
    assert completion.min() == 0
    assert prompt.diff(dim=1).ge(0).all()
    assert completion.diff(dim=1).le(0).all()


def test_a_subclass_is_still_asked_for_its_loss(tmp_path):
    """Trainer -> compute_loss -> _compute_loss -> the scoring method: the chain the override hangs on."""
    calls = []

    class Asked(GRPOTrainer):
        def _compute_loss(self, model, inputs):
            calls.append("loss")
            return super()._compute_loss(model, inputs)

        def _get_per_token_logps_and_entropies(self, *args, **kwargs):
            calls.append("scores")
            return super()._get_per_token_logps_and_entropies(*args, **kwargs)

        def _calculate_rewards(self, *args, **kwargs):
            calls.append("rewards")
            return super()._calculate_rewards(*args, **kwargs)

    config = GRPOConfig(str(tmp_path), per_device_train_batch_size=4, num_generations=4, max_completion_length=4,
                        max_steps=1, bf16=False, use_cpu=True, report_to="none", disable_tqdm=True,
                        save_strategy="no", gradient_checkpointing=False)  # fmt: skip
    model = make_trainer(tmp_path).model
    Asked(model, digit_share, config, train_dataset=tiny_dataset(4), processing_class=tiny_tokenizer()).train()
    assert calls == ["rewards", "loss", "scores"]


def test_no_copy_of_trl_s_loss():
    assert "_compute_loss" in MethodTrainer.__dict__
    assert len(source(SimKOTrainer._compute_loss).splitlines()) < 25
