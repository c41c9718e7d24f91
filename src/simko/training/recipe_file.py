"""Reads a recipe's YAML, and refuses what YAML readers drop silently."""

from pathlib import Path
from typing import Any

import yaml

_MERGE = "tag:yaml.org,2002:merge"


def read_yaml(path: Path) -> dict[str, Any]:
    """The options in a recipe file.

    ValueError, naming the file and line, if it is not a YAML mapping or sets a key twice at any depth. YAML readers would take
    the last value.
    """
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, yaml.SafeLoader)
        _refuse_duplicates(path, node, set())
        written = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is no YAML file: {error}") from error
    if not isinstance(written, dict):
        raise ValueError(f"{path} must hold options as a YAML mapping, e.g. method: simko")
    return {str(key): value for key, value in written.items()}


def _refuse_duplicates(path: Path, node: yaml.Node | None, visited: set[int]) -> None:
    if not isinstance(node, yaml.CollectionNode) or id(node) in visited:  # an anchor may refer to what contains it
        return
    visited.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicates(path, item, visited)
        return
    lines: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
            if key.value in lines:
                raise ValueError(
                    f"{path}, line {line}: {key.value} is set in line {lines[key.value]} already: keep one"
                )
            lines[key.value] = line
        _refuse_duplicates(path, value, visited)
