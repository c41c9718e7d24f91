"""The commands and the Python of README.md and the docs that are verl's, composed and checked as main_ppo does."""

import re
import shlex
from pathlib import Path

import pytest

pytest.importorskip("verl.protocol", reason="verl is not installed: make test-verl")

import verl_on_cpu  # noqa: F401
from hydra import compose, initialize_config_module

from simko.adapters.verl import check_config
from simko.objectives import METHODS

ROOT = Path(__file__).parents[3]
DIFFS = [
    (page, text)
    for page in ("README.md", "docs/verl.md")
    for text in re.findall(r"```diff\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
]


def plan(words):
    with initialize_config_module("verl.trainer.config", version_base=None):
        return check_config(compose("ppo_trainer", ["data.max_response_length=20", *words]))


@pytest.mark.parametrize(("page", "text"), DIFFS, ids=[page for page, _ in DIFFS])
def test_the_changed_command(page, text):
    words = shlex.split(" ".join(line[1:].removesuffix("\\") for line in text.splitlines()))
    assert words[:3] == ["python", "-m", "verl.trainer.main_ppo"]
    options = [word for word in words[3:] if word != "..."]
    assert plan(["actor_rollout_ref.actor.strategy=fsdp2", "actor_rollout_ref.rollout.n=8", *options]).links
    with pytest.raises(Exception, match="alhpa"):
        plan([*options, "+actor_rollout_ref.actor.policy_loss.alhpa=0.1"])


def test_options_in_a_line_of_their_own():
    (line,) = re.findall(r"```text\n(algorithm\..*)\n", (ROOT / "docs" / "verl.md").read_text(encoding="utf-8"))
    assert plan(["actor_rollout_ref.actor.strategy=fsdp2", "actor_rollout_ref.rollout.n=8", *line.split()]).by_advantage


def test_a_row_of_one_s_own():
    from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY

    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "verl.md").read_text(encoding="utf-8"), re.DOTALL)
    assert 'METHODS["mine"] = ...' in code
    try:
        exec(code.replace("...", 'METHODS["simko"].with_options(alpha=0.1)'), {})
        assert "simko/mine" in POLICY_LOSS_REGISTRY
    finally:
        METHODS.pop("mine", None)
        POLICY_LOSS_REGISTRY.pop("simko/mine", None)
