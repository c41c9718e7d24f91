"""Studies, training runs and evaluations as self-contained pages, and as numbers in text."""

from simko.report.comparison import read_sections
from simko.report.page import readme_figure, write_report, write_study_page
from simko.report.runs_page import write_runs_page
from simko.report.sources import read_sources
from simko.report.summary import summarise

__all__ = [
    "read_sections",
    "read_sources",
    "readme_figure",
    "summarise",
    "write_report",
    "write_runs_page",
    "write_study_page",
]
