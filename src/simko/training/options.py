"""The options of a recipe: parsing, which ones the user named, and listing them with their help."""

import os
import re
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, fields
from difflib import get_close_matches
from importlib.metadata import version
from textwrap import fill
from typing import Any, NoReturn, get_type_hints

from transformers import TrainingArguments
from trl import GRPOConfig, TrlParser

from simko.training.ignored import default_of, refused_options

_UNNAMED = object()


@dataclass(frozen=True)
class NamedOptions:
    """The options that the user gave."""

    in_file: frozenset[str]
    """In the recipe's file."""
    on_command_line: frozenset[str]
    """On the command line, which wins."""

    def __contains__(self, option: object) -> bool:
        return option in self.in_file or option in self.on_command_line


class RecipeParser(TrlParser):
    """TRL's parser of dataclasses, for a mapping of options and the command-line words that override it."""

    def __init__(self, parts: Sequence[type]) -> None:
        super().__init__(parts, allow_abbrev=False)  # type: ignore[arg-type]
        self._kinds = _kinds(parts)

    def error(self, message: str) -> NoReturn:
        """ValueError in place of argparse's exit."""
        raise ValueError(message)

    def read(self, written: Mapping[str, Any], words: Sequence[str]) -> tuple[tuple[Any, ...], NamedOptions]:
        """The dataclasses and the named options. `env` in the file sets environment variables, as in TRL.

        ValueError for an unknown option or an invalid value.
        """
        options = dict(written)
        for key, value in dict(options.pop("env", None) or {}).items():
            os.environ[str(key)] = str(value)
        known = {action.dest: action for action in self._actions if action.dest != "help"}
        for name, value in list(options.items()):
            if name not in known:
                raise ValueError(f"there is no option {name}{_suggestion(name, known)}")
            options[name] = _check_value(name, value, known[name].choices, self._kinds[name])
        found, rest = self.parse_known_args(list(words), Namespace(**dict.fromkeys(known, _UNNAMED)))
        if rest:
            raise ValueError(f"there is no option {rest[0]}{_suggestion(rest[0], known, '--')}")
        named = frozenset(name for name, value in vars(found).items() if value is not _UNNAMED)
        self.set_defaults_with_config(**options)
        parts = self.parse_args_into_dataclasses(list(words), look_for_args_file=False)
        return parts, NamedOptions(frozenset(options), named)


def _check_value(name: str, value: Any, choices: Iterable[Any] | None, kind: str) -> Any:
    """A value from YAML, as text if the option is text. ValueError for a value of another kind.

    Other text is left to the parser, which reads it like a word of the command line.
    """
    if choices is not None and value is False:
        value = "no"  # YAML reads `save_strategy: no` as False
    if value is None and "None" not in kind:
        raise ValueError(f"{name} must be {kind}, got nothing: give a value, or leave {name} out")
    if value is None or (isinstance(value, str) and choices is None):
        return value
    if choices is not None:
        fits = value in choices
    elif isinstance(value, list | dict):
        fits = type(value).__name__ in kind
    else:
        takes = {bool: ("bool", "str"), int: ("int", "float", "bool", "str"), float: ("float", "str")}
        fits = any(word in kind for word in takes.get(type(value), ("str",)))
    if not fits:
        wanted = kind if choices is None else f"one of {', '.join(choices)}"
        raise ValueError(f"{name} must be {wanted}, got {value!r}")
    return value if isinstance(value, bool) or not kind.startswith("str") else str(value)


def _suggestion(name: str, known: Mapping[str, Any], dashes: str = "") -> str:
    close = get_close_matches(name.lstrip("-").partition("=")[0].replace("-", "_"), known)
    return f"; did you mean {dashes}{close[0]}?" if close else ": simko train --help lists all"


def list_options(parts: Sequence[type]) -> str:
    """Every option of `simko train`, with its type, default, choices and help, ours first."""
    lines: list[str] = []
    kinds, indent = _kinds(parts), " " * 6
    for title, options in _sections(parts):
        lines += ["", f"{title}:"]
        for o in options:
            meaning = fill(_help(o), 110, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
            lines += [f"  {o.name}: {kinds[o.name]}, default {_default(o)}", meaning]
    return "\n".join(lines) + "\n"


def markdown_options(parts: Sequence[type]) -> str:
    """The options as Markdown tables, for docs/training.md."""
    kinds = _kinds(parts)
    lines = [f"TRL {version('trl')}, transformers {version('transformers')}.", ""]
    for title, options in _sections(parts):
        lines += [f"### {title[0].upper()}{title[1:]}", "", "| option | type and default | meaning |", "|---|---|---|"]
        cells = ([f"`{o.name}`", f"{kinds[o.name]}, default {_default(o)}", _help(o)] for o in options)
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
        lines.append("")
    return "\n".join(lines)


def _sections(parts: Sequence[type]) -> Iterator[tuple[str, list[Field]]]:
    run, training, model = parts
    trls, transformers = ({f.name for f in fields(config)} for config in (GRPOConfig, TrainingArguments))
    every: list[Field] = [f for f in fields(training) if f.name not in refused_options()]
    method = ("method", "method_options", "correctness")
    ours = [f for f in every if f.name not in trls]
    yield "what is trained on what", list(fields(run))
    yield "the method", [f for name in method for f in ours if f.name == name]
    yield "simko's own, beside the method", [f for f in ours if f.name not in method]
    yield "the model (TRL's ModelConfig)", list(fields(model))
    yield "the trainer (TRL's GRPOConfig)", [f for f in every if f.name in trls - transformers]
    yield "the trainer (transformers' TrainingArguments)", [f for f in every if f.name in transformers]


def _kinds(parts: Sequence[type]) -> dict[str, str]:
    """The type of each option in words, from the annotations, because a parser overwrites the types of the fields."""
    hints = {name: hint for part in parts for name, hint in get_type_hints(part).items()}
    words = {name: h.__name__ if type(h) is type else str(h) for name, h in hints.items()}
    return {name: re.sub(r"\b(\w+\.)+", "", said).replace("NoneType", "None") for name, said in words.items()}


def _default(option: Field) -> str:
    default = default_of(option)
    return repr(getattr(default, "value", default))  # of an enumeration


def _help(option: Field) -> str:
    said = " ".join(str(option.metadata.get("help", "")).replace("%%", "%").split()) or "-"
    choices = option.metadata.get("choices")
    return f"{said} One of: {', '.join(map(str, choices))}." if choices else said
