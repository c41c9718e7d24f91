"""What happens where verl gives simko no logits, or a row changes into another one."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest

pytest.importorskip("verl.protocol", reason="verl is not installed: make test-verl")

import verl_on_cpu  # noqa: F401
from verl.workers.config import FSDPActorConfig

from simko.adapters.verl import PolicyLoss, RowTrainer
from simko.adapters.verl.hook import VERL, take_scored
from simko.adapters.verl.loss import RowLoss
from simko.objectives import METHODS


def test_an_engine_that_does_not_call_the_hook_is_named():
    with pytest.raises(RuntimeError, match="no logits reached simko: .*as verl " + VERL.replace(".", r"\.")):
        take_scored({"log_probs": None}, None)


def to(state, metrics, *, options):
    return state, options


@pytest.mark.parametrize(("options", "fits"), [({"alpha": 0.2}, True), ({"clip_high": 5.0}, False)])
def test_a_controller_changes_links_alone(monkeypatch, options, fits):
    """verl reads the clip once, at the beginning of a run."""
    monkeypatch.setitem(
        METHODS, "moving", replace(METHODS["simko"], name="moving", controller=partial(to, options=options))
    )
    policy_loss = PolicyLoss(loss_mode="simko/moving")
    loss = RowLoss(
        FSDPActorConfig(strategy="fsdp2", rollout_n=4, ppo_micro_batch_size_per_gpu=1, policy_loss=policy_loss)
    )
    if fits:
        loss.step({})
        assert loss.adaptation.method.options["alpha"] == 0.2
    else:
        with pytest.raises(ValueError, match="moving has changed options that verl acts on"):
            loss.step({})


def test_several_outputs_for_a_response_are_refused():
    trainer = RowTrainer.__new__(RowTrainer)  # its __init__ starts workers
    trainer.config = SimpleNamespace(algorithm=SimpleNamespace(adv_estimator="simko/pkpo"))
    batch = SimpleNamespace(keys=["a_0_0", "a_0_1", "a_1_0"], partition_id="train")
    with pytest.raises(ValueError, match="several outputs for one response"):
        trainer._compute_advantage(batch, {})
