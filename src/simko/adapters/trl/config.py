"""The configurations: TRL's GRPOConfig with a row of METHODS and the aids around it."""

import json
import logging
import math
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from numbers import Integral
from typing import Any, ClassVar

import torch
from transformers.utils import is_torch_bf16_gpu_available, is_torch_xla_available
from trl import GRPOConfig

from simko.objectives import METHODS, Method

logger = logging.getLogger("simko")


@dataclass
class MethodConfig(GRPOConfig):
    """GRPOConfig with the name of a method, its options, and aids that leave the gradient alone.

    use_cpu and bf16 follow the machine where they are not set: a machine without an accelerator trains on its CPU, and
    bf16 is on where a GPU knows it (TRL's default is on everywhere). ValueError for a count below its least value.
    """

    _VALID_DICT_FIELDS: ClassVar = [*GRPOConfig._VALID_DICT_FIELDS, "method_options"]
    own_objective: ClassVar[str] = "RLVRTrainer"
    """Where the user trains TRL's own objective, for messages."""

    method: str = field(default="simko", metadata={"help": "A row of METHODS.", "choices": list(METHODS)})
    method_options: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "The method's own options, e.g. {'k': 8}; the others keep their defaults."}
    )
    correctness: str | None = field(
        default=None,
        metadata={
            "help": "The reward function that says correct (1) or incorrect (0), for methods that take no other rewards."
        },
    )
    grpo_warmup_steps: int = field(
        default=0,
        metadata={
            "help": "Plain GRPO for so many updates before the method's token links start (SimKO's paper, on logic: 50)."
        },
    )
    use_bias_correction_kl: bool = field(
        default=False,
        metadata={"help": "Off here: it multiplies the KL by the ratio, which would leak SimKO's gradient into it."},
    )
    use_cpu: bool = field(
        default=False, metadata={"help": "Train on the CPU; on where there is no accelerator, whatever is set."}
    )
    bf16: bool | None = field(  # type: ignore[assignment]
        default=None,
        metadata={
            "help": "Mixed precision in bfloat16. Where it is not set, the machine decides: on where the GPU knows it and "
            "fp16 is off, off on a CPU, which is slower in it."
        },
    )
    skip_zero_advantage: bool = field(
        default=False,
        metadata={
            "help": "Leave responses of advantage 0 out of the loss's forward and backward pass: the same gradient for "
            "less work. Needs loss_type dapo or cispo, beta 0 and no entropy bonus. TRL's entropy then covers the "
            "remaining responses only; the probe's covers all."
        },
    )
    probe_every: int = field(
        default=20,
        metadata={
            "help": "Every so many optimizer steps, measure on the fresh rollout how the policy concentrates (mean "
            "log-probability of ranks 1-6, entropy, rank probabilities at high-entropy tokens); 0: never."
        },
    )
    probe_rows: int | None = field(
        default=None,
        metadata={
            "help": "Responses measured by each probe, on each process; default: at most 256, and one for 40 rolled out "
            "since the last probe, which costs less than 2 % of the training."
        },
    )
    drop_one_outcome_groups: bool = field(
        default=False,
        metadata={
            "help": "Groups whose responses all have one reward leave the loss and its denominator (DAPO's dynamic "
            "sampling, without drawing others in their place). Needs loss_type dapo, cispo or vespo."
        },
    )

    reward_failures: str = field(
        default="raise",
        metadata={
            "help": "What becomes of a reward that is nan, infinite or no number, and of a reward function that raises, "
            "takes too long or gives another number of rewards: raise ends the run, mask leaves the sample (or all samples "
            "of the call) out and logs their share as rewards/<function>/masked. None is masked either way.",
            "choices": ["raise", "mask"],
        },
    )
    reward_timeout: float | None = field(
        default=1500.0,
        metadata={
            "help": "Seconds that a call of a reward function may take. With several processes less than ddp_timeout, after "
            "which torch ends those that wait; null: no limit."
        },
    )
    max_skipped_updates: int = field(
        default=5,
        metadata={
            "help": "An update whose loss or gradient is not finite is skipped; after so many in a row the next ends the run."
        },
    )

    early_warnings: str = field(
        default="tell",
        metadata={
            "help": "What becomes of a sign that the run goes wrong (entropy collapse, a first candidate with all the mass, "
            "clipping, cut or repeated answers, correct answers found by another rule, a sampler that differs): tell, stop "
            "(with a checkpoint), or off.",
            "choices": ["tell", "stop", "off"],
        },
    )

    def __post_init__(self) -> None:
        for name in ("reward_failures", "early_warnings"):
            choices = type(self).__dataclass_fields__[name].metadata["choices"]
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        check_count("max_skipped_updates", self.max_skipped_updates, 0)
        if self.reward_timeout is not None and not 0 < self.reward_timeout <= threading.TIMEOUT_MAX:
            raise ValueError(
                f"reward_timeout must be a number of seconds above 0, at most {threading.TIMEOUT_MAX:.0f}, got "
                f"{self.reward_timeout!r}; null is no limit"
            )
        check_count("grpo_warmup_steps", self.grpo_warmup_steps, 0)
        check_count("probe_every", self.probe_every, 0)
        if self.probe_rows is not None:
            check_count("probe_rows", self.probe_rows, 1)
        refuse_impossible_numbers(self)
        if self.output_dir is not None:
            check_path("output_dir", self.output_dir)
        follow_machine(self)
        if isinstance(text := self.method_options, str):
            try:
                self.method_options = json.loads(text)
            except ValueError as error:
                raise ValueError(f"""method_options must be JSON such as {{"k": 8}}, got {text!r}""") from error
        super().__post_init__()
        if self.world_size > 1 and self.reward_timeout is not None and self.reward_timeout >= self.ddp_timeout:
            raise ValueError(
                f"reward_timeout={self.reward_timeout:g} is not below ddp_timeout={self.ddp_timeout}, after which torch ends "
                "the processes that wait for the reward: lower the one, or raise the other"
            )

    def face(self) -> str | None:
        """One line that names the objective, where the configuration has plainer words than a row's options."""
        return None

    def penalty_settings(self) -> tuple[str, str]:
        """Settings of the user's that turn SimKO's penalty off, and that put it on the advantage; "" where none does."""
        off = "method_options={'top_penalty': 1}" if "top_penalty" in METHODS[self.method].options else ""
        return off, 'method="simko_reference"' if self.method == "simko" else ""

    def row(self) -> Method | None:
        """The method with its options; None for TRL's own objective, as TRL's options say.

        ValueError for an unknown method or option, and for an option that has no default and was not given.
        """
        if self.method not in METHODS:
            raise ValueError(f"unknown method {self.method!r}: choose from {', '.join(METHODS)}")
        options = self.method_options or {}
        if not isinstance(options, dict):
            raise ValueError(f"method_options must be a mapping such as {{'k': 8}}, got {options!r}")
        method = METHODS[self.method].with_options(**options)
        if missing := method.missing_options:
            example = dict.fromkeys(missing, "...")
            raise ValueError(
                f"{method.name} has no default for {' and '.join(missing)}, since no source gives one: set "
                f"method_options to {example} with your values"
            )
        return method


def check_count(name: str, value: Any, least: int) -> None:
    """ValueError unless the option is a whole number of at least `least`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")


_AT_LEAST_ONE = (
    "per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation", "num_iterations",
    "max_completion_length",
)  # fmt: skip
_MINIMUM = {"max_steps": -1, "top_k": -1, "local_rank": -1, "entropy_coef": -math.inf} | dict.fromkeys(_AT_LEAST_ONE, 1)
_MAY_BE_INFINITE = ("epsilon", "epsilon_high", "delta", "max_grad_norm")


def check_number(name: str, value: Any) -> None:
    """ValueError for a number that is nan, infinite or below its option's minimum (0, with exceptions).

    TRL and transformers accept most of these, and then train something else or fail later.
    """
    if isinstance(value, list) and any(isinstance(x, float) and not math.isfinite(x) for x in value):
        raise ValueError(f"{name} must hold finite numbers, got {value}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    minimum = _MINIMUM.get(name, 0)
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}")
    if math.isnan(value) or (math.isinf(value) and name not in _MAY_BE_INFINITE):
        raise ValueError(f"{name} must be a finite number, got {value}")


def refuse_impossible_numbers(config: GRPOConfig) -> None:
    """`check_number` of all options."""
    for option in fields(config):
        check_number(option.name, getattr(config, option.name))


def check_path(name: str, value: Any) -> None:
    """ValueError for a path that is empty or holds characters that a terminal acts on instead of showing."""
    text = str(value)
    if not text.strip() or not text.isprintable():
        raise ValueError(f"{name} is {text!a}: give a path of printable characters, and not an empty one")


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
