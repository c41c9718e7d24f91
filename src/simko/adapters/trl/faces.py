"""MethodTrainer with plainer configurations: SimKO by its simko_* options, and TRL's own objective with the aids alone."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from trl import GRPOConfig

from simko.adapters.trl.config import MethodConfig
from simko.adapters.trl.trainer import MethodTrainer
from simko.objectives import METHODS, Method, check_simko_options


@dataclass
class RLVRConfig(MethodConfig):
    """GRPOConfig with the aids of MethodConfig, for TRL's own objective under TRL's options."""

    method: str = field(default="grpo", init=False)
    method_options: dict[str, Any] | str | None = field(default=None, init=False)
    correctness: str | None = field(default=None, init=False)
    use_bias_correction_kl: bool = field(default=True, metadata={"help": "As in TRL."})

    def row(self) -> None:
        """None: TRL's own objective."""

    def face(self) -> str:
        """grpo_objective."""
        return grpo_objective(self)


@dataclass
class SimKOConfig(MethodConfig):
    """GRPOConfig with SimKO's settings; the paper's values are the defaults (arXiv 2510.14807)."""

    method: str = field(default="simko", init=False)
    method_options: dict[str, Any] | str | None = field(default=None, init=False)
    correctness: str | None = field(default=None, init=False)

    simko_alpha: float = field(
        default=0.01, metadata={"help": "Share of a correct token's reward that is spread over the candidates."}
    )
    simko_top_k: int = field(default=3, metadata={"help": "Number of candidates: the K most likely tokens."})
    simko_top_penalty: float = field(
        default=1.1, metadata={"help": "lambda: factor on rank-1 tokens of incorrect responses; 1 turns it off."}
    )
    simko_gate_quantile: float | None = field(
        default=0.8,
        metadata={"help": "Only tokens above this entropy quantile of their response are touched; null: all of them."},
    )
    simko_weights: str = field(
        default="uniform",
        metadata={"help": "Candidate weights.", "choices": ["uniform", "softmax"]},
    )
    simko_penalty: str = field(
        default="ratio",
        metadata={
            "help": "Where lambda sits: on the ratio, before the clip (the paper), or on the advantage (its code).",
            "choices": ["ratio", "advantage"],
        },
    )

    def __post_init__(self) -> None:
        self.simko_row()
        super().__post_init__()

    def row(self) -> Method | None:
        """simko_row."""
        return self.simko_row()

    def face(self) -> str | None:
        """simko_objective."""
        return simko_objective(self)

    def penalty_settings(self) -> tuple[str, str]:
        """The simko_* options."""
        return "simko_top_penalty=1", 'simko_penalty="advantage"'

    def simko_row(self) -> Method:
        """The row simko with the simko_* options. ValueError, naming the option, for a value outside its range."""
        alpha, top_penalty, quantile = self.simko_alpha, self.simko_top_penalty, self.simko_gate_quantile
        weights: Any = self.simko_weights
        try:
            check_simko_options(alpha, top_penalty, quantile, weights, self.simko_penalty)
            row = METHODS["simko" if self.simko_penalty == "ratio" else "simko_reference"].with_options(
                alpha=alpha, top_penalty=top_penalty, gate_quantile=quantile, top_k=self.simko_top_k
            )
        except ValueError as error:  # which begins with the option's name in objectives
            raise ValueError(f"simko_{error}") from error
        return replace(row, name="simko", candidate_weights=weights)


def simko_objective(args: SimKOConfig) -> str:
    """One line that names the objective of SimKOTrainer under `args`."""
    quantile = args.simko_gate_quantile
    gate = "every token" if quantile is None else f"tokens with entropy above quantile {quantile:g}"
    return (
        f"SimKO on {args.loss_type} (alpha={args.simko_alpha:g}, K={args.simko_top_k}, {args.simko_weights} weights, "
        f"lambda={args.simko_top_penalty:g} on the {args.simko_penalty}; {gate}; beta={args.beta:g})"
    )


def grpo_objective(args: GRPOConfig) -> str:
    """One line that names the objective of GRPOTrainer under `args`."""
    return (
        f"GRPO on {args.loss_type} (clip -{args.epsilon:g}/+{args.epsilon_high or args.epsilon:g}, beta={args.beta:g})"
    )


class RLVRTrainer(MethodTrainer):
    """MethodTrainer with TRL's own objective, as TRL's options say, and the aids alone."""

    _name = "RLVR"
    _config = RLVRConfig
    args: RLVRConfig


class SimKOTrainer(MethodTrainer):
    """MethodTrainer with SimKO, set by the simko_* options.

    ValueError for a setting under which TRL would train another objective than SimKO. Logs at every step: simko/gated,
    the share of counted tokens above the entropy gate; simko/raised and simko/penalised, the shares of counted tokens
    whose candidates are raised and whose ratio is penalised; simko/gap (nats) and simko/rank1, the mean gap and the
    share of rank-1 tokens over the gated tokens of responses with an advantage. Under skip_zero_advantage simko/gated
    covers the responses that are scored; the other shares cover all.
    """

    _name = "SimKO"
    _config = SimKOConfig
    _paper: ClassVar = {
        "title": "SimKO: Simple Pass@K Policy Optimization",
        "id": "2510.14807",
        "citation": "@article{peng2025simko, title={SimKO: Simple Pass@K Policy Optimization}, author={Peng, Ruotian "
        "and Ren, Yi and Yu, Zhouliang and Liu, Weiyang and Wen, Yandong}, journal={arXiv preprint arXiv:2510.14807}, "
        "year={2025}}",
    }
    args: SimKOConfig
