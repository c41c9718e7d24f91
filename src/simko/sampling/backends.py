"""The table of back-ends. Each is imported only when it is used."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from simko.sampling.protocol import Sampler


def _transformers(
    model: str,
    *,
    revision: str | None = None,
    device: str | None = None,
    dtype: str = "auto",
    batch_size: int = 256,
    share_prefix: bool = True,
) -> Sampler:
    from simko.sampling.transformers_sampler import TransformersSampler

    return TransformersSampler.from_pretrained(
        model, revision=revision, device=device, dtype=dtype, batch_size=batch_size, share_prefix=share_prefix
    )


def _vllm(model: str, *, revision: str | None = None, dtype: str = "auto", batch_size: int = 1024) -> Sampler:
    from simko.sampling.vllm_sampler import VLLMSampler

    return VLLMSampler.from_pretrained(model, revision=revision, dtype=dtype, batch_size=batch_size)


def _openai(
    model: str,
    *,
    base_url: str = "http://localhost:8000/v1",
    api_key: str | None = None,
    concurrency: int = 64,
    timeout: float = 1800.0,
    retries: int = 10,
) -> Sampler:
    from simko.sampling.openai_sampler import OpenAISampler

    return OpenAISampler(base_url, model, api_key=api_key, concurrency=concurrency, timeout=timeout, retries=retries)


BACKENDS: dict[str, Callable[..., Sampler]] = {"transformers": _transformers, "vllm": _vllm, "openai": _openai}
"""{name: function that opens a model (a folder, a hub id or a server's name for it) with the back-end's options}."""

_PACKAGES = {"transformers": "transformers", "vllm": "vllm", "aiohttp": "openai", "tenacity": "openai"}
"""{package: the back-end that needs it}."""
_EXTRAS = {"transformers": "eval", "vllm": "vllm", "openai": "openai"}
"""{back-end: the extra of simko that installs its packages}."""


def open_sampler(backend: str, model: str, **options: Any) -> Sampler:
    """A sampler of a back-end over `model`. An option that is None keeps the back-end's default.

    ValueError for an unknown back-end or option, a missing package, and a model that cannot be opened.
    """
    if backend not in BACKENDS:
        raise ValueError(f"there is no back-end {backend!r}: give one of {', '.join(BACKENDS)}")
    given = {name: value for name, value in options.items() if value is not None}
    taken = list(inspect.signature(BACKENDS[backend]).parameters)[1:]
    for name in given:
        if name not in taken:
            raise ValueError(f"the back-end {backend} takes no {name}: it takes {', '.join(taken)}")
    try:
        return BACKENDS[backend](model, **given)
    except ModuleNotFoundError as error:
        if error.name is None or _PACKAGES.get(error.name) != backend:
            raise
        extra = _EXTRAS[backend]
        raise ValueError(
            f"the back-end {backend} needs the package {error.name}: pip install 'simko[{extra}]'"
        ) from error
    except Exception as error:  # libraries raise anything over a checkpoint, often without its name
        if isinstance(error, ValueError) and model in str(error):
            raise
        known = isinstance(error, OSError | ValueError)
        where = "" if Path(model).is_dir() or backend == "openai" else f"there is no folder {model} here, and the hub: "
        what = f"the model {model!r} could not be opened: {where}{'' if known else f'{type(error).__name__}: '}{error}"
        raise (type(error) if type(error) in (OSError, RuntimeError) else ValueError)(what) from error
