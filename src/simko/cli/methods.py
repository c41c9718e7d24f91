"""List the methods that can be trained and compared, or describe one.

example:
  simko methods pkpo
"""

import argparse
import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simko.cli.engines import in_trl, in_verl

if TYPE_CHECKING:
    from simko.objectives import Method

_TOY = Path("docs/results/toy.json")
_INTRODUCTION = """\
# Methods

Written by `simko methods --markdown`: edit the table of methods (src/simko/objectives/methods.py), not this file.

In TRL a method is chosen by name, `MethodConfig(method="pkpo", method_options={"k": 8})` with `MethodTrainer`, or by
`method: pkpo` and `method_options: {k: 8}` in a recipe. Its loss alone is `METHODS["pkpo"].with_options(k=8)`. In a recipe,
simko is set by the `simko_*` options, and grpo is TRL's own objective under any of TRL's options. In verl it is chosen by
`trainer.v1.trainer_mode=simko`, and under `actor_rollout_ref.actor.policy_loss` by `_target_=simko.adapters.verl.PolicyLoss`,
`loss_mode=simko/pkpo` and the method's options ([verl.md](verl.md)).

Notation: r is a reward; a prompt has N responses, c of them correct, rho = c / N; A is the advantage; gamma is a token's
ratio exp(log pi - log pi_old), H its entropy; sg is stop-gradient; clip is to [1 - clip_low, 1 + clip_high]. Unless a
method says otherwise, A is as in grpo, the loss is the mean over tokens of -min(gamma A, clip(gamma) A), and there is no
KL term. An option that is "required" has no default, because no source gives a value.
"""
_IN_TRL = """
TRL trains a method in one of these ways; [extend.md](extend.md) follows a token through each. What would have no effect, or
would make it another method, is refused by name with the way out.

- **by options**: TRL's own advantages and loss, under options of TRL's that the method sets. TRL's
  advantages have an eps of 1e-4. `eps` in `method_options` puts the method's own in their place, also for a method by link.
- **by advantage**: TRL's own loss, with the method's advantages.
- **by link**: TRL's own advantages and loss, with what the method makes of each token's log-probabilities and advantage.
- **own loss**: the method's advantages and its `policy_loss`, in the place of TRL's.

By advantage and by link, the loss around the method is the user's choice: loss type, clip, KL term, vLLM's correction and
the mixture-of-experts auxiliary loss work as in TRL, but for what the method's section names.
"""
_IN_VERL = """
verl trains every method ([verl.md](verl.md)), in one of these ways:

- **by options**: verl's own advantages and vanilla loss, under options of verl's that the method sets.
- **by adv_estimator**: `algorithm.adv_estimator=simko/NAME` is the whole method, in verl's own trainer with verl's own loss
  (and its dual clip). simko's trainer trains it too.
- **by advantage**: the same, but verl tells an estimator too little, so that it takes simko's trainer.
- **by link**: verl's vanilla loss, with what the method makes of each token's log-probabilities and advantage.
- **own loss**: the method's `policy_loss`, in the place of verl's; verl's KL and entropy terms stay around it.
"""
_TOY_NOTE = """
Modes, accuracy and entropy are means over seeds in the tree problem of `simko toy` (docs/results/toy.md): how
many correct leaves the trained policy still reaches, its probability of a correct one, and its entropy in nats.
"""
_IN_RECIPES = {"grpo": "TRL's own objective, under any of TRL's options", "simko": "set by the simko_* options"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="one method")
    parser.add_argument("--markdown", action="store_true", help="print docs/methods.md")
    parser.add_argument(
        "--toy", type=Path, default=_TOY, help=f"the toy's results, a column of --markdown where there are any ({_TOY})"
    )


def run(args: argparse.Namespace) -> None:
    from simko.objectives import METHODS

    if args.markdown:
        print(markdown(read_toy(args.toy)), end="")
    elif args.name is None:
        for method in METHODS.values():
            print(
                f"{method.name:17} {method.arxiv}  {method.summary} [{_options(method)}] (TRL: {in_trl(method).word}; "
                f"verl: {in_verl(method).word})"
            )
    elif args.name in METHODS:
        print(describe(METHODS[args.name]))
    else:
        raise ValueError(f"unknown method {args.name!r}: choose from {', '.join(METHODS)}")


def describe(method: "Method") -> str:
    """Everything in the table about a method, and how TRL trains it, for a terminal."""
    from simko.objectives import OPTIONS

    training, verl = in_trl(method), in_verl(method)
    parts = {"what": method.summary, "formula": method.formula, "note": method.note, "edges": method.edges}
    parts["rewards"] = "correct (1) or incorrect (0) only" if method.binary else "any numbers"
    parts["recipe"] = _IN_RECIPES.get(method.name, "")
    parts["in TRL"], parts["refused"] = training.way, ", ".join(training.refused)
    parts["in verl"] = verl.way + (f"; refused: {', '.join(verl.refused)}" if verl.refused else "")
    lines = [method.name, f"{method.title}, arXiv {method.arxiv}", ""]
    for name, text in parts.items():
        if text:
            wrapped = textwrap.wrap(f"{name + ':':9} {text}", 100, subsequent_indent=" " * 10, break_on_hyphens=False)
            lines += wrapped
    lines.append("options:" if method.options else "options:  none")
    lines += [f"  {name:16} {_value(value):9} {OPTIONS[name].meaning}" for name, value in method.options.items()]
    return "\n".join(lines)


def read_toy(path: Path) -> dict[str, dict[str, float]]:
    """{method: its modes, accuracy and entropy in the toy}; empty if the file does not exist."""
    if not path.is_file():
        return {}
    found: dict[str, dict[str, float]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def markdown(toy: Mapping[str, Mapping[str, float]]) -> str:
    """The text of docs/methods.md: a table of all methods and a section on each."""
    from simko.objectives import METHODS

    columns = ["method", "source", "what it does", "options", "in TRL", "in verl"]
    columns += ["modes", "accuracy", "entropy"] if toy else []
    lines = [_INTRODUCTION, _line(columns), _line(["---"] * len(columns))]
    for method in METHODS.values():
        cells = [f"[{method.name}](#{method.name})", _link(method), method.summary, _options(method)]
        cells += [in_trl(method).word, in_verl(method).word]
        lines.append(_line(cells + (_measured(toy.get(method.name)) if toy else [])))
    if toy:
        lines.append(_TOY_NOTE.rstrip())
    lines += [_IN_TRL.rstrip(), _IN_VERL.rstrip()]
    lines += [_section(method) for method in METHODS.values()]
    return "\n".join(lines) + "\n"


def _section(method: "Method") -> str:
    from simko.objectives import OPTIONS

    parts = [f"\n## {method.name}\n", f"{method.summary} {method.title} ({_link(method)}).\n"]
    parts.append(f"```text\n{method.formula}\n```\n")
    if method.note:
        parts.append(f"{method.note}\n")
    rewards = " Rewards: correct (1) or incorrect (0) only." if method.binary else ""
    parts.append(f"Edges: {method.edges}{rewards}")
    for engine, training in (("TRL", in_trl(method)), ("verl", in_verl(method))):
        refused = f" Refused: {', '.join(training.refused)}." if training.refused else ""
        parts.append(f"\nIn {engine}: {training.way}.{refused}")
    if method.options:
        parts.append("")
    parts += [f"- `{name}` = {_value(value)}: {OPTIONS[name].meaning}" for name, value in method.options.items()]
    return "\n".join(parts)


def _measured(found: Mapping[str, float] | None) -> list[str]:
    if found is None:
        return ["", "", ""]
    return [f"{found['modes']:.1f}", f"{found['accuracy']:.2f}", f"{found['entropy']:.2f}"]


def _link(method: "Method") -> str:
    return f"[{method.arxiv}](https://arxiv.org/abs/{method.arxiv})"


def _options(method: "Method") -> str:
    return ", ".join(f"{name}={_value(value)}" for name, value in method.options.items()) or "no options"


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value) if isinstance(value, int) else repr(value)


def _line(cells: list[str]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
