"""A run of the loop on disk: from there it goes on bit for bit, in any process."""

from pathlib import Path
from typing import Any

import torch

from simko.evaluate.files import replacing
from simko.studies.loop import Run

_PARTS = ("model", "optimizer", "adaptation")


def save_run(path: Path, run: Run, **beside: Any) -> None:
    """Write the run and the values `beside` it, whole or not at all."""
    state = {name: getattr(run, name).state_dict() for name in _PARTS}
    state |= {"draw": run.draw.get_state(), "order": run.order, "rollouts": run.rollouts}
    with replacing(path) as new:
        torch.save(state | beside, new)


def load_run(path: Path, run: Run) -> dict[str, Any]:
    """Put into `run`, made with the same arguments, what was saved; return what was saved beside it."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    for name in _PARTS:
        getattr(run, name).load_state_dict(state.pop(name))
    run.draw.set_state(state.pop("draw"))
    run.order, run.rollouts = state.pop("order"), state.pop("rollouts")
    return state
