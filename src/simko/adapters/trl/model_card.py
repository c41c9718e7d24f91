"""TRL's model card of a run, where the model that it began from has no hub id."""

from pathlib import Path
from typing import Any

_NO_BASE = "[None](https://huggingface.co/None)"
_NO_MODEL = 'model="None"'


def name_local_models(card: Path, config: Any, checkpoint: Path) -> None:
    """Write what TRL leaves as None: the folder that the model was loaded from, and, in the example, `checkpoint`."""
    if not card.is_file():
        return
    text = card.read_text(encoding="utf-8")
    base = f"the model in `{config._name_or_path}`" if config._name_or_path else "a model that was given as an object"
    named = text.replace(_NO_BASE, base).replace(_NO_MODEL, f'model="{checkpoint}"')
    if named != text:
        card.write_text(named, encoding="utf-8")
