"""SimKO in TRL, the plain face: GRPOTrainer and GRPOConfig with SimKO's settings."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from simko.adapters.trl.link import LinkConfig, LinkedTrainer, SimKOLink, refuse_other_objectives


@dataclass
class SimKOConfig(LinkConfig):
    """GRPOConfig with SimKO's settings; the paper's values are the defaults (arXiv 2510.14807)."""

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
        super().__post_init__()
        try:
            _link(self)
        except ValueError as error:  # which begins with the option's name in objectives
            raise ValueError(f"simko_{error}") from error


def simko_objective(args: SimKOConfig) -> str:
    """One line that names the objective of SimKOTrainer under `args`."""
    return f"SimKO on {args.loss_type} ({_link(args)}; beta={args.beta:g})"


class SimKOTrainer(LinkedTrainer):
    """GRPOTrainer whose objective is SimKO's.

    Constructed like GRPOTrainer. ValueError for a setting under which TRL would train another objective than SimKO.
    Logs at every step: simko/gated, the share of counted tokens above the entropy gate; simko/raised and
    simko/penalised, the shares of counted tokens whose candidates are raised and whose ratio is penalised; simko/gap
    (nats) and simko/rank1, the mean gap and the share of rank-1 tokens over the gated tokens of responses with an
    advantage. What would be a mean over no tokens is not logged. Under skip_zero_advantage simko/gated covers the
    responses that are scored; the other shares cover all.
    """

    _tag_names: ClassVar = ["trl", "simko"]
    _name = "SimKO"
    _paper: ClassVar = {
        "title": "SimKO: Simple Pass@K Policy Optimization",
        "id": "2510.14807",
        "citation": "@article{peng2025simko, title={SimKO: Simple Pass@K Policy Optimization}, author={Peng, Ruotian "
        "and Ren, Yi and Yu, Zhouliang and Liu, Weiyang and Wen, Yandong}, journal={arXiv preprint arXiv:2510.14807}, "
        "year={2025}}",
    }

    args: SimKOConfig

    def __init__(self, model: Any, reward_funcs: Any = None, args: SimKOConfig | None = None, **kwargs: Any) -> None:
        args = args if args is not None else SimKOConfig("SimKO")
        if not isinstance(args, SimKOConfig):
            raise ValueError(f"SimKOTrainer needs a SimKOConfig, got {type(args).__name__}")
        link = _link(args)
        refuse_other_objectives(args, link)
        super().__init__(model, reward_funcs, args, **kwargs)
        self.put_link(link, simko_objective(args))


def _link(args: SimKOConfig) -> SimKOLink:
    return SimKOLink(
        alpha=args.simko_alpha,
        top_k=args.simko_top_k,
        top_penalty=args.simko_top_penalty,
        gate_quantile=args.simko_gate_quantile,
        weights=args.simko_weights,
        penalty=args.simko_penalty,
    )
