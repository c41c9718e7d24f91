"""Finds and reads a recipe's YAML, and refuses what YAML readers drop silently."""

from pathlib import Path
from typing import Any

import yaml

import simko

_MERGE = "tag:yaml.org,2002:merge"


def shipped_folders() -> list[Path]:
    """The folders of simko's own recipes: in a wheel, and in a source checkout."""
    package = Path(simko.__file__).parent
    return [package / "recipes", package.parents[1] / "recipes"]


def shipped_recipes() -> list[Path]:
    """All recipes of simko's, for TRL and then for verl."""
    folder = next(folder for folder in shipped_folders() if folder.is_dir())
    return [*sorted(folder.glob("*.yaml")), *sorted(folder.glob("verl/*.yaml"))]


def find_recipe(name: str | Path) -> Path:
    """The file `name`, or simko's own recipe of that name. ValueError if there is neither."""
    for path in (Path(name), *(folder / name for folder in shipped_folders())):
        if path.is_file():
            return path
    known = sorted({p.name for folder in shipped_folders() if folder.is_dir() for p in folder.glob("*.yaml")})
    raise ValueError(f"no recipe {name}: give a YAML file, or one of simko's own: {', '.join(known)}")


def is_verl_recipe(path: Path) -> bool:
    """Whether a recipe is a hydra configuration, for verl: it has a list of defaults. ValueError if it is no YAML mapping."""
    return "defaults" in read_yaml(path)


def read_recipe_file(path: Path) -> dict[str, Any]:
    """The options of a recipe file, over those of the file beside it that `extends` names, if there is one.

    ValueError as in `read_yaml`, and for recipes that extend each other.
    """
    options: dict[str, Any] = {}
    read: list[Path] = []
    while True:
        if path.resolve() in read:
            raise ValueError(f"{path} extends itself, by way of what it extends: remove one `extends`")
        read.append(path.resolve())
        written = read_yaml(path)
        base = written.pop("extends", None)
        options = written | options
        if base is None:
            return options
        if not isinstance(base, str) or not (path.parent / base).is_file():
            raise ValueError(f"{path}: extends names the recipe {base!r}, which is no file beside it")
        path = path.parent / base


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

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
