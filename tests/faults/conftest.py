"""The trainers of tests/adapters, in forked processes and under torchrun too."""

import os
import sys
from pathlib import Path

ADAPTERS = str(Path(__file__).parents[1] / "adapters")
sys.path.insert(0, ADAPTERS)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (ADAPTERS, os.environ.get("PYTHONPATH"))))
