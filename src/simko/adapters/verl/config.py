"""actor.policy_loss with the options of a row."""

from dataclasses import dataclass, field, fields
from typing import Any

from verl.workers.config import PolicyLossConfig

from simko.adapters.verl_rows import PREFIX, Plan, plan_row
from simko.objectives import METHODS, Method
from simko.objectives.options import is_number


@dataclass(init=False)
class PolicyLoss(PolicyLossConfig):
    """verl's PolicyLossConfig for loss_mode=simko/NAME, with the options of METHODS[NAME] beside verl's own:

        actor.policy_loss._target_=simko.adapters.verl.PolicyLoss
        actor.policy_loss.loss_mode=simko/simko
        +actor.policy_loss.alpha=0.05

    Args:
        dual_clip: verl's clip_ratio_c for this run. None leaves the dual clip out, which no row of the table has.
        given: fields of PolicyLossConfig, and options of the row.

    ValueError for a loss_mode without a row, for an option that the row does not have, is out of range or is missing.
    """

    _mutable_fields = PolicyLossConfig._mutable_fields | {"update"}

    dual_clip: float | None = None
    """verl's clip_ratio_c, or None."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the row that were given."""

    def __init__(self, *, dual_clip: float | None = None, **given: Any) -> None:
        names = {f.name for f in fields(PolicyLossConfig)}
        super().__init__(**{name: value for name, value in given.items() if name in names})
        if dual_clip is not None and (not is_number(dual_clip) or dual_clip <= 1):
            raise ValueError(
                f"actor_rollout_ref.actor.policy_loss: dual_clip must be a number above 1, got {dual_clip!r}"
            )
        self.dual_clip = dual_clip
        self.options = {name: value for name, value in given.items() if name not in names}
        self.update: Any = None  # loss.Update, while one is under way
        self.method()

    def method(self) -> Method:
        """The row with its options."""
        return read_row(self.loss_mode, self.options, "actor_rollout_ref.actor.policy_loss")

    def plan(self) -> Plan:
        """How verl trains the row."""
        return plan_row(self.method(), self.options)


def read_row(name: str, options: dict[str, Any], where: str) -> Method:
    """METHODS[NAME] of simko/NAME with these options. where: the place of the options in verl's configuration.

    ValueError, naming that place.
    """
    row = METHODS.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
    if row is None:
        rows = ", ".join(PREFIX + row for row in METHODS)
        raise ValueError(f"{where}: {name!r} names no method of simko: choose from {rows}")
    try:
        method = row.with_options(**options)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if missing := method.missing_options:
        given = " ".join(f"+{where}.{option}=..." for option in missing)
        raise ValueError(f"{method.name} has no default for {' and '.join(missing)}: add {given}")
    return method
