"""What a configuration of ours says of itself, beside TRL's own checks: counts, the machine, how rollouts are sampled."""

import logging
import os
from collections.abc import Iterator
from numbers import Integral
from typing import Any

import torch
from transformers.utils import is_torch_bf16_gpu_available, is_torch_xla_available
from trl import GRPOConfig

logger = logging.getLogger("simko")


def check_count(name: str, value: Any, least: int) -> None:
    """ValueError unless the option is a whole number of at least `least`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")


def follow_machine(args: GRPOConfig) -> None:
    """Set use_cpu where there is no accelerator, and bf16, where it is not set, to what the device does well: TRL's own
    default, True, stops on a machine without a GPU. Before GRPOConfig's own __post_init__."""
    set_here = []
    if not (args.use_cpu or torch.accelerator.is_available() or is_torch_xla_available()):
        args.use_cpu = True
        set_here.append("use_cpu=True")
    if args.bf16 is None and not args.fp16:
        args.bf16 = not args.use_cpu and (is_torch_bf16_gpu_available() or is_torch_xla_available())
        if not args.bf16:
            set_here.append("bf16=False (float32)")
    if set_here and os.environ.get("RANK", "0") == "0":
        reason = "it trains on the CPU (bf16=True would be honoured)" if args.use_cpu else "its GPU has no bfloat16"
        logger.warning("the run has %s, since %s", " and ".join(set_here), reason)


_NEUTRAL_AT_1 = {
    "top_p",
    "typical_p",
    "repetition_penalty",
    "encoder_repetition_penalty",
    "guidance_scale",
    "num_beams",
}
_ONLY_END_OR_STORE = {
    "max_new_tokens", "max_length", "max_tokens", "max_time", "pad_token_id", "bos_token_id", "eos_token_id",
    "decoder_start_token_id", "stop", "stop_strings", "stop_token_ids", "include_stop_str_in_output", "use_cache",
    "cache_implementation", "cache_config", "max_cache_len", "compile_config", "disable_compile", "prefill_chunk_size",
    "continuous_batching_config", "low_memory", "transformers_version", "return_dict_in_generate", "output_scores",
    "output_logits", "output_attentions", "output_hidden_states", "logprobs", "seed", "skip_special_tokens",
}  # fmt: skip


def warn_of_shifted_sampling(args: GRPOConfig, model: Any) -> None:
    """Say which options make rollouts another distribution than the softmax(logits / temperature) that the loss scores:
    TRL's own, those in generation_kwargs, and the rest of the model's generation_config, which generate() goes by."""
    own = None if args.use_vllm else getattr(model, "generation_config", None)
    options = {} if own is None else own.to_diff_dict()
    options |= {name: getattr(args, name) for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")}
    options["do_sample"] = True
    if isinstance(args.generation_kwargs, dict):  # TRL's __post_init__ has read its text
        options |= args.generation_kwargs
    if shifting := ", ".join(f"{name}={value}" for name, value in _shifting(args, options)):
        logger.warning(
            "rollouts are sampled with %s, the loss scores the full softmax: the sampled distribution is another than "
            "the trained one",
            shifting,
        )


def _shifting(args: GRPOConfig, options: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in options.items():
        if name in _ONLY_END_OR_STORE or name.startswith("_"):
            continue
        if name == "temperature":
            neutral = value == args.temperature
        elif name == "do_sample":
            neutral = bool(value)
        else:
            neutral = not value or (name in _NEUTRAL_AT_1 and value == 1) or (name == "top_k" and value == -1)
        if not neutral:
            yield name, value
