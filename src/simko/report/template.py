"""Templates -> pages. Everything is escaped, undefined names are errors, and hidden characters are spelled out."""

import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import simko
from simko.report import findings
from simko.report.text import visible


def render(name: str, context: Mapping[str, Any], filters: Mapping[str, Callable[..., Any]]) -> str:
    """The page of a template. Our SVGs come as `markup`; all other text is escaped.

    name: the template's file. context: its variables. filters: its filters, besides the usual ones.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    def shown(value: object) -> object:
        return value if isinstance(value, Markup) else visible(str(value))

    environment = Environment(
        loader=PackageLoader("simko.report", "."),
        autoescape=True,
        finalize=shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=findings.percent, points=findings.points_apart, interval=findings.with_interval, p=p_value, **filters
    )
    return environment.get_template(name).render(written=_written(), **context)


def _written() -> str:
    """The date and the versions. SOURCE_DATE_EPOCH, if set, replaces the date, as in other builds."""
    now = float(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "matplotlib"))
    day = time.strftime("%Y-%m-%d", time.gmtime(now))
    return f"Written on {day} (UTC) by simko {simko.__version__} with Python {platform.python_version()}, {packages}."


def markup(value: Any) -> Any:
    """An SVG string, or a list of (label, SVG), as safe markup. Figures escape their own text."""
    from markupsafe import Markup

    if isinstance(value, list):
        return [(label, Markup(svg)) for label, svg in value]
    return None if value is None else Markup(value)


def p_value(p: float) -> str:
    """ "0.012", or "< 0.001"."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
