"""README.md's Python, run as it stands: but for the model, which is a tiny one in a folder, and the number of updates."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "adapters"))
MODEL, STEPS = "Qwen/Qwen2.5-0.5B", "max_steps=100"


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    from tiny import tiny_model, tiny_tokenizer

    base = tmp_path_factory.mktemp("base")
    tiny_model().save_pretrained(base)
    tiny_tokenizer().save_pretrained(base)
    return base


def run(code: str, folder: Path, names: dict) -> dict:
    assert MODEL in code
    exec(compile(code.replace(MODEL, str(folder)).replace(STEPS, "max_steps=2"), "README.md", "exec"), names)
    return names


def test_in_trl_and_every_rival_by_name(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for code, output in zip(blocks()[:2], ("runs/sums", "runs/pkpo"), strict=True):
        assert STEPS in code
        trainer = run(code, folder, names)["trainer"]
        assert trainer.state.global_step == 2
        assert (tmp_path / output / "checkpoint-2").is_dir()


def test_in_a_loop_of_ones_own(folder):
    """Every name is defined in the block itself; what it calls a position's token is the one that its logits score."""
    import torch

    torch.manual_seed(3)
    names = run(blocks()[2].replace('"42"', '"4"'), folder, {})  # a reward that an untrained model earns
    assert len(blocks()) == 3
    model, ids, tokens, mask, old = (names[name] for name in ("model", "ids", "tokens", "mask", "old_logp"))
    assert 0 < names["rewards"].sum() < 8
    assert names["metrics"]["ratio"] != 1  # the second update is off the policy that sampled
    fresh = type(model).from_pretrained(folder)
    with torch.no_grad():
        logp = fresh(ids).logits.log_softmax(-1)
    start = ids.shape[1] - tokens.shape[1]
    for row, t in mask.nonzero().tolist():
        assert old[row, t] == pytest.approx(logp[row, start + t - 1, ids[row, start + t]].item(), abs=1e-4)
    ends = (tokens == names["tokenizer"].eos_token_id).int()
    for row in range(8):
        length = int(ends[row].argmax()) + 1 if ends[row].any() else tokens.shape[1]
        assert mask[row].tolist() == [t < length for t in range(tokens.shape[1])]
