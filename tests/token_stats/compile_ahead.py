"""Compile the Triton kernels for NVIDIA GPUs without one; prints a JSON line a kernel: registers and spilled bytes a thread.

python compile_ahead.py 90 80        Run without TRITON_INTERPRET.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from simko.token_stats.triton_kernels import backward_kernel, forward_kernel

CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"

TYPES = {
    "row_stride": "i32", "gradient_stride": "i32", "first_id": "i32", "n_cols": "i32", "scale": "fp32",
    "softcap": "fp32", "inverse_temperature": "fp32", "tokens": "*i64",
}  # fmt: skip
FORWARD = {"FIRST": True, "HAS_SOFTCAP": False, "K": 3, "LANES": 4, "BLOCK": 4096}
BACKWARD = {"HAS_ENTROPY": True, "HAS_SOFTCAP": False, "K": 3, "BLOCK": 4096}
MANY = FORWARD | {"FIRST": False, "HAS_SOFTCAP": True, "K": 8, "LANES": 8, "BLOCK": 2048}
CASES = {
    "forward": (forward_kernel, FORWARD, "bf16"),
    "forward fp32": (forward_kernel, FORWARD, "fp32"),
    "forward tile K 8 capped": (forward_kernel, MANY, "fp32"),
    "forward K 1": (forward_kernel, FORWARD | {"K": 1, "LANES": 1}, "bf16"),
    "backward": (backward_kernel, BACKWARD, "bf16"),
    "backward fp32 capped": (backward_kernel, BACKWARD | {"HAS_SOFTCAP": True, "K": 8}, "fp32"),
}


def compiled(kernel, constants: dict, dtype: str, capability: int) -> dict:
    signature = {}
    for name in kernel.arg_names:
        pointer = {"products": f"*{dtype}", "gradient": f"*{dtype}"}.get(name, "*fp32")
        if name == "top_ids":
            pointer = "*i32" if kernel is forward_kernel else "*i64"
        signature[name] = "constexpr" if name in constants else TYPES.get(name, pointer)
    aligned = [n.startswith("*") for n in signature.values()]
    attrs = {
        (i,): [["tt.divisibility", 16]]
        for i, (name, a) in enumerate(zip(signature, aligned, strict=True))
        if a or "stride" in name
    }
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attrs)
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": 8})
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(made.asm["cubin"])
        usage = subprocess.run([CUOBJDUMP, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    registers, stack, local = map(int, re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", usage).groups())
    return {"registers": registers, "spilled": stack + local}


if __name__ == "__main__":
    for capability in map(int, sys.argv[1:]):
        for name, case in CASES.items():
            print(json.dumps({"kernel": name, "capability": capability} | compiled(*case, capability)), flush=True)
