"""Documents -> pages. Everything is escaped, undefined names are errors, and hidden characters are spelled out."""

import hashlib
import os
import platform
import time
from base64 import b64encode
from importlib.metadata import version
from typing import TYPE_CHECKING

import simko
from simko.report.plots import style, themed
from simko.report.text import visible

if TYPE_CHECKING:
    from simko.report.document import Cell, Document


def render(document: "Document") -> str:
    """The page of a document. SVGs and our own scripts are marked up; all other text is escaped.

    The page's policy allows no request, and no script but these.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined, TemplateNotFound
    from markupsafe import Markup

    def shown(value: object) -> object:
        return value if isinstance(value, Markup) else visible(str(value))

    def script(kind: str) -> str:
        try:
            return loader.get_source(environment, f"blocks/{kind}.js")[0]
        except TemplateNotFound:
            return ""

    def lines(cell: "Cell") -> tuple[str, ...]:
        return (cell,) if isinstance(cell, str) else cell

    loader = PackageLoader("simko.report", ".")
    environment = Environment(
        loader=loader, autoescape=True, finalize=shown, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(lines=lines, themed=themed, drawn=lambda chart: Markup(chart.svg))
    kinds = [*(block.kind for block in document.blocks), *(["live"] if document.refresh else [])]
    scripts = "".join(map(script, dict.fromkeys(kinds)))
    digest = b64encode(hashlib.sha256(scripts.encode()).digest()).decode()
    return environment.get_template("document.html.jinja").render(
        document=document,
        colour_style=Markup(style()),
        script=Markup(scripts),
        policy=f"'sha256-{digest}'" if scripts else "'none'",
        written=_written(),
    )


def _written() -> str:
    """The date and the versions. SOURCE_DATE_EPOCH, if set, replaces the date, as in other builds."""
    now = float(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "matplotlib"))
    day = time.strftime("%Y-%m-%d", time.gmtime(now))
    return f"Written on {day} (UTC) by simko {simko.__version__} with Python {platform.python_version()}, {packages}."
