"""Templates to pages: everything escaped, nothing undefined, hidden characters spelled out."""

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
    """The page that a template of this room makes of a context. SVG of our own comes as `markup`; all else is escaped."""
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
    """When and with what a page was made. SOURCE_DATE_EPOCH, where set, stands for now, as in other builds."""
    now = float(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "matplotlib"))
    day = time.strftime("%Y-%m-%d", time.gmtime(now))
    return f"Written on {day} (UTC) by simko {simko.__version__} with Python {platform.python_version()}, {packages}."


def markup(value: Any) -> Any:
    """SVG strings as safe markup, alone or in a list of (label, SVG): figures escape the text that they hold."""
    from markupsafe import Markup

    if isinstance(value, list):
        return [(label, Markup(svg)) for label, svg in value]
    return None if value is None else Markup(value)


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
