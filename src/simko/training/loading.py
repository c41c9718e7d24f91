"""The model and the tokenizer of a recipe."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import get_quantization_config

from simko.sampling.digest import check_folder
from simko.training.recipe import Recipe


def load_model(recipe: Recipe) -> tuple[Any, Any]:
    """The causal model and its tokenizer, from ModelConfig's options, trust_remote_code and model_init_kwargs.

    ValueError, naming the recipe, if they cannot be loaded.
    """
    options = recipe.model
    name, extra, source = str(options.model_name_or_path), _extra(recipe), _source(recipe)
    arguments = source | {
        "dtype": options.dtype if options.dtype in (None, "auto") else getattr(torch, options.dtype),
        "attn_implementation": options.attn_implementation,
        "quantization_config": get_quantization_config(options),
    }
    try:
        check_folder(name)
        tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left", **source)
        model = AutoModelForCausalLM.from_pretrained(name, **arguments | extra)
    except (ImportError, OSError, TypeError, ValueError) as error:
        said = " ".join(str(error).split())
        if isinstance(error, OSError) and not Path(name).exists():
            said = f"there is no folder {name} here, and the hub was asked in vain: {said}"
        raise ValueError(f"{recipe.path}: model_name_or_path {name} cannot be loaded: {said}") from error
    if recipe.run.chat and tokenizer.chat_template is None:
        raise ValueError(f"{recipe.path}: chat needs a chat template, which the tokenizer of {name} has not got")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer


def reference_kwargs(recipe: Recipe) -> dict[str, Any] | None:
    """model_init_kwargs with which TRL loads the reference model. It is given the policy itself."""
    needed = recipe.training.beta and not recipe.model.use_peft
    return _source(recipe) | _extra(recipe) if needed and (_extra(recipe) or _source(recipe) != _DEFAULT) else None


_DEFAULT = {"revision": "main", "trust_remote_code": False}


def _source(recipe: Recipe) -> dict[str, Any]:
    """The revision of weights and tokenizer, and whether their code is trusted."""
    own = {"revision": recipe.model.model_revision, "trust_remote_code": recipe.training.trust_remote_code}
    return own | {key: value for key, value in _extra(recipe).items() if key in own}


def _extra(recipe: Recipe) -> dict[str, Any]:
    given = recipe.training.model_init_kwargs or {}
    assert isinstance(given, dict)  # TRL has parsed the text
    return {"dtype" if key == "torch_dtype" else key: value for key, value in given.items()}
