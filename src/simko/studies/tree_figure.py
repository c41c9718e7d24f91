"""The tree of the toy as an SVG: one panel per policy, the root on the left, the 64 responses on the right."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from simko.studies.tree_mdp import ACTIONS, COVERED, RESPONSES, RIGHT, STEPS, measure, response_logp

INK, RULE = "#1f2328", "#d0d4da"
LEFT, TOP, ROW, COLUMN, WIDTH = 16, 66, 7, 74, 340  # px: margins, a response's height, a step's width, a panel's width
FOOT = 54
THICK = 13  # px of an edge that every response passes


class Panel(NamedTuple):
    """One policy."""

    title: str
    """The panel's title."""
    colour: str
    """The colour of the edges, #rrggbb."""
    logits: Float[Tensor, "N A"]
    """The policy's logits."""


def tree_svg(panels: Sequence[Panel], note: str) -> str:
    """The tree. An edge is as wide as its probability. Correct responses have rings, which are filled if covered."""
    width, height = WIDTH * len(panels), TOP + ROW * len(RESPONSES) + FOOT
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="12" fill="{INK}" role="img">'
    )
    label = escape("; ".join(f"{p.title}: {_caption(p)}" for p in panels))
    parts = [head, f"<title>{label}</title>", f'<rect width="{width}" height="{height}" fill="#ffffff"/>']
    for i, panel in enumerate(panels):
        parts += [f'<g transform="translate({i * WIDTH} 0)">', *_panel(panel), "</g>"]
    foot = height - FOOT
    key = (
        "Width of a line: probability of passing it. Rings: the six correct responses with their probability; "
        f"filled above {COVERED:g}, crossed out below."
    )
    parts += [
        f'<text x="{LEFT}" y="{foot + 24}">{key}</text>',
        f'<text x="{LEFT}" y="{foot + 42}">{escape(note)}</text>',
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel) -> list[str]:
    p = response_logp(panel.logits[None])[0].exp().tolist()
    parts = [
        f'<text x="{LEFT}" y="26" font-size="16" font-weight="bold" fill="{panel.colour}">{escape(panel.title)}</text>',
        f'<text x="{LEFT}" y="46" font-size="13">{_caption(panel)}</text>',
    ]
    thin, thick, names = [], [], []
    for depth in range(1, STEPS + 1):
        for node in range(len(ACTIONS) ** depth):
            here, parent = _place(depth, node), _place(depth - 1, node // len(ACTIONS))
            mass = sum(p[node * _below(depth) : (node + 1) * _below(depth)])
            thin.append(_edge(parent, here, RULE, 0.6))
            if mass > COVERED:
                thick.append(_edge(parent, here, panel.colour, max(0.9, THICK * mass)))
            if depth < STEPS and (depth == 1 or mass > 0.02):
                names.append(_name(here, ACTIONS[node % len(ACTIONS)]))
    rings = [
        _ring(response, p[i], _place(STEPS, i), panel.colour)
        for i, response in enumerate(RESPONSES)
        if response in RIGHT
    ]
    return [*parts, *thin, *thick, *names, *rings]


def _caption(panel: Panel) -> str:
    found = measure(panel.logits[None])
    return f"{int(found.modes)} of {len(RIGHT)} modes, accuracy {found.accuracy.item():.2f}"


def _below(depth: int) -> int:
    """Responses below a node of this depth."""
    return len(ACTIONS) ** (STEPS - depth)


def _place(depth: int, node: int) -> tuple[float, float]:
    """A node's x and y, in the middle of the responses below it."""
    return LEFT + COLUMN * depth, TOP + ROW * ((node + 0.5) * _below(depth))


def _edge(a: tuple[float, float], b: tuple[float, float], colour: str, width: float) -> str:
    middle = (a[0] + b[0]) / 2
    path = f"M{a[0]:g} {a[1]:g}C{middle:g} {a[1]:g} {middle:g} {b[1]:g} {b[0]:g} {b[1]:g}"
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width:.2f}" stroke-opacity="0.85"/>'


def _name(at: tuple[float, float], letter: str) -> str:
    return (
        f'<circle cx="{at[0]:g}" cy="{at[1]:g}" r="8" fill="#ffffff" stroke="{RULE}"/>'
        f'<text x="{at[0]:g}" y="{at[1] + 4:g}" text-anchor="middle" font-size="11">{letter}</text>'
    )


def _ring(response: str, p: float, at: tuple[float, float], colour: str) -> str:
    covered = p > COVERED
    shape = (
        f'<circle cx="{at[0] + 5:g}" cy="{at[1]:g}" r="4.5" fill="{colour if covered else "#ffffff"}" stroke="{INK}"/>'
    )
    if not covered:
        x, y = at[0] + 5, at[1]
        shape += f'<path d="M{x - 3:g} {y - 3:g}l6 6m0 -6l-6 6" stroke="{INK}"/>'
    number = f"{p:.3f}" if covered else "lost"
    return shape + f'<text x="{at[0] + 15:g}" y="{at[1] + 4:g}">{response} {number}</text>'
