"""Templates to pages: everything escaped, nothing undefined, hidden characters spelled out."""

from collections.abc import Callable, Mapping
from typing import Any

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
    return environment.get_template(name).render(**context)


def markup(value: Any) -> Any:
    """SVG strings as safe markup, alone or in a list of (label, SVG): figures escape the text that they hold."""
    from markupsafe import Markup

    if isinstance(value, list):
        return [(label, Markup(svg)) for label, svg in value]
    return None if value is None else Markup(value)


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
