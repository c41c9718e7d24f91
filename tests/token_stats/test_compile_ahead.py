import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

MOST_REGISTERS = 128  # 8 warps a program: two programs fit a multiprocessor's 65,536 registers


@pytest.mark.parametrize("capability", [90, 80])
def test_kernels_compile_without_spills(capability, tmp_path):
    env = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    env |= {"TRITON_DEFAULT_FP_FUSION": "1", "TRITON_CACHE_DIR": str(tmp_path)}
    script = Path(__file__).with_name("compile_ahead.py")
    run = subprocess.run([sys.executable, script, str(capability)], env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    made = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(made) == 6
    for kernel in made:
        assert kernel["spilled"] == 0, kernel
        assert 0 < kernel["registers"] <= MOST_REGISTERS, kernel
