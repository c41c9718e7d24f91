"""Studies, training runs and evaluations as one report: a self-contained page, and the same numbers in text."""

from simko.report.comparison import read_sections
from simko.report.page import make_document, write_page, write_report, write_runs_page
from simko.report.sources import read_content

__all__ = [
    "make_document",
    "read_content",
    "read_sections",
    "write_page",
    "write_report",
    "write_runs_page",
]
