"""Nothing that a file says is executed, and no name in one leads out of its folder."""

import ast
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from kills import RUN, in_process
from tiny import make_trainer, tiny_dataset

import simko
from simko.adapters.trl import RLVRTrainer

SOURCES = sorted(Path(simko.__file__).parent.rglob("*.py"))


def calls(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}


def test_no_file_is_read_in_a_way_that_runs_it():
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        imported |= {(n.module or "").split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        assert not imported & {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}, path
        for name, words in calls(tree):
            assert name not in ("yaml.load", "yaml.full_load", "yaml.unsafe_load", "np.load", "numpy.load"), path
            assert name != "torch.load" or words.get("weights_only") == "True", path
            assert words.get("trust_remote_code") != "True", path


class Hostile:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def resumed(folder, checkpoint):
    trainer = make_trainer(folder, RLVRTrainer, dataset=tiny_dataset(4), **RUN | {"save_total_limit": None})
    trainer.train(resume_from_checkpoint=checkpoint)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    assert in_process(resumed, folder, None, log=folder / "log") == 0
    return folder


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"])
@pytest.mark.few(2)
def test_a_hostile_checkpoint_runs_no_code(saved, tmp_path, name):
    """Sealed or not, and wherever in the checkpoint it is."""
    out, mark = tmp_path / "run" / "out", tmp_path / "mark"
    shutil.copytree(saved / "out", out)
    bad = out / "checkpoint-12" / name
    bad.write_bytes(pickle.dumps({"state": Hostile(mark)}))
    status = in_process(resumed, tmp_path / "run", str(bad.parent), log=tmp_path / "sealed")
    assert status == 1
    assert f"checkpoint-12 cannot be continued ({name}" in (tmp_path / "sealed").read_text()
    shutil.rmtree(out / "checkpoint-8")
    shutil.move(out / "checkpoint-12", out / "checkpoint-8")
    shutil.copy(saved / "out" / "checkpoint-8" / "trainer_state.json", out / "checkpoint-8")
    (out / "checkpoint-8" / "manifest.json").unlink()
    in_process(resumed, tmp_path / "run", str(out / "checkpoint-8"), log=tmp_path / "unsealed")
    assert not mark.exists()


def without_pad(tokenizer):
    tokenizer.pad_token = None


def padded_by_its_end(tokenizer):
    tokenizer.pad_token = tokenizer.eos_token


@pytest.mark.parametrize("before", [without_pad, padded_by_its_end])
def test_tokenizers_whose_padding_is_the_end_token(tmp_path, before):
    """A response that came to its end is not taken for one that was cut, and its end is trained."""

    def reward(completion_ids, **_):
        seen.extend(completion_ids)
        return [float(len(ids)) for ids in completion_ids]

    seen = []
    trainer = make_trainer(tmp_path, RLVRTrainer, before=before, reward=reward, max_steps=2, max_completion_length=24)
    trainer.train()
    ended = [ids[-1] == trainer._tokenizer.eos_token_id for ids in seen]
    assert any(ended)
    assert all(trainer._tokenizer.eos_token_id not in ids[:-1] for ids in seen)
    shares = [row["completions/clipped_ratio"] for row in trainer.state.log_history if "loss" in row]
    assert sum(shares) / 2 == pytest.approx(1 - sum(ended) / len(ended))
    weights = torch.cat([p.flatten() for p in trainer.model.parameters()])
    assert weights.isfinite().all()
