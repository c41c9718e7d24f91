"""A study as one self-contained HTML page, and its main figure alone."""

from simko.report.page import readme_figure, write_report
from simko.report.summary import summarise

__all__ = ["readme_figure", "summarise", "write_report"]
