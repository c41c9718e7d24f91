"""Digests of what a run is made of: weights, tokenizer, rows, reward functions."""

import hashlib
import inspect
import json
from collections.abc import Iterable, Mapping, Sized
from functools import partial
from types import CodeType
from typing import Any

import torch
from datasets import Dataset
from datasets.fingerprint import Hasher
from torch import nn

_PLAIN = (type(None), bool, int, float, complex, str, bytes)


def model_digest(trainer: Any) -> str:
    """Of the names, shapes and types of all weights, and of the numbers of those that training leaves as they are: those
    of a checkpoint replace the others. Weights that are split over processes go without their numbers."""
    fixed = None if getattr(trainer.args, "sync_ref_model", False) else getattr(trainer, "ref_model", None)
    digest = hashlib.sha256()
    for model, is_frozen in ((trainer.model, False), (fixed, True)):
        if model is not None:
            _read_weights(digest, trainer.accelerator.unwrap_model(model), all_of_them=is_frozen)
    return digest.hexdigest()


def _read_weights(digest: Any, model: nn.Module, *, all_of_them: bool) -> None:
    for name, weight in model.named_parameters():
        shape = tuple(getattr(weight, "ds_shape", weight.shape))
        trained = weight.requires_grad and not all_of_them
        digest.update(repr((name, shape, str(weight.dtype), trained)).encode())
        if not (trained or hasattr(weight, "ds_shape") or hasattr(weight, "_local_tensor")):
            digest.update(weight.detach().flatten().cpu().contiguous().view(torch.uint8).numpy())


def tokenizer_digest(tokenizer: Any) -> str:
    """Of the vocabulary, the special tokens and the chat template."""
    named = {k: str(v) for k, v in tokenizer.special_tokens_map.items()}
    parts = [sorted(tokenizer.get_vocab().items()), named, tokenizer.chat_template]
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()


def data_digest(dataset: Any) -> str | None:
    """Of all values of all rows, encoded images and sounds included; None for a stream."""
    if not isinstance(dataset, Sized):
        return None
    rows: Any = dataset
    if isinstance(rows, Dataset):  # as they are stored
        rows = (row for table in rows.with_format("arrow").iter(batch_size=100) for row in table.to_pylist())
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True, default=Hasher.hash).encode())
    return digest.hexdigest()


def function_digest(function: Any) -> str:
    """Of a reward function's bytecode, its defaults and the values that it is bound to: the arguments of a partial, closures,
    attributes of a callable object. Of a reward model the weights.

    Values that a call can change (lists, dicts, objects) go by their type. simko's own functions go by their name. What a
    function calls, and what it reads from its module, is not looked at.
    """
    function = getattr(function, "checks_rewards_of", function)
    digest = hashlib.sha256()
    if isinstance(function, nn.Module):
        _read_weights(digest, function, all_of_them=True)
    else:
        digest.update(repr(_parts(function, set())).encode())
    return digest.hexdigest()[:16]


def _parts(value: Any, seen: set[int], *, outermost: bool = True) -> Any:
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, tuple):
        return _several(value, seen)
    if isinstance(value, frozenset):
        return sorted(map(repr, _several(value, seen)))
    if id(value) in seen:  # a function that calls itself
        return "seen"
    seen.add(id(value))
    if isinstance(value, partial):
        return "partial", _parts(value.func, seen), _several(value.args, seen), _named(value.keywords, seen)
    if inspect.ismethod(value):
        return "method", _parts(value.__func__, seen), _parts(value.__self__, seen)
    if inspect.isfunction(value):
        return _parts_of_function(value, seen)
    kind = value if isinstance(value, type) else type(value)
    name = kind.__qualname__, getattr(value, "__name__", None)  # the latter of a builtin
    if isinstance(value, type) or not outermost or _is_simkos(kind):
        return name
    return name, _methods(kind), _named(getattr(value, "__dict__", {}), seen)


def _parts_of_function(function: Any, seen: set[int]) -> Any:
    bound = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    defaults = _several(function.__defaults__ or (), seen), _named(function.__kwdefaults__ or {}, seen)
    code = function.__qualname__ if _is_simkos(function) else _code(function.__code__)
    return code, defaults, _several(bound, seen)


def _several(values: Iterable[Any], seen: set[int]) -> list[Any]:
    return [_parts(value, seen, outermost=False) for value in values]


def _named(values: Mapping[str, Any], seen: set[int]) -> list[Any]:
    own = sorted((k, v) for k, v in values.items() if k == "__wrapped__" or not k.startswith("__"))
    return [(name, _parts(value, seen, outermost=False)) for name, value in own]


def _is_simkos(thing: Any) -> bool:
    """Whether a change would be one of simko's version, of which a continued run is warned."""
    return str(thing.__module__).startswith("simko.")


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - it raises
    except ValueError:
        return False
    return True


def _methods(kind: type) -> list[Any]:
    """The code and the plain values of a class and of those that it inherits from."""
    found: list[Any] = []
    for base in kind.__mro__:
        for name, member in sorted(vars(base).items()):
            function = getattr(member, "__func__", getattr(member, "fget", member))
            if inspect.isfunction(function):
                found.append((name, _code(function.__code__)))
            elif isinstance(member, _PLAIN) and not name.startswith("__"):
                found.append((name, member))
    return found


def _code(code: CodeType) -> Any:
    return code.co_code, [_constant(c) for c in code.co_consts], code.co_names


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return _code(value)
    if isinstance(value, tuple):
        return [_constant(x) for x in value]
    return sorted(map(repr, value)) if isinstance(value, frozenset) else repr(value)
