"""What was read -> a document, as a page, as Markdown, as the terminal's lines and as files of its charts."""

from collections.abc import Sequence
from pathlib import Path

from simko.report.comparison import Section
from simko.report.content import Content
from simko.report.diagnosis import diagnosis_details, diagnosis_numbers, diagnosis_title
from simko.report.document import Block, Bullets, Document, Heading, Prose, write_document
from simko.report.passk import answers, beyond, by_temperature, course, curves, difficulty, overview
from simko.report.plots import colour
from simko.report.progress import concentration, training
from simko.report.samples import problems
from simko.report.setup import setup
from simko.report.sources import of_sections
from simko.report.study import read_study
from simko.report.words import LIMITS


def make_document(content: Content) -> Document:
    """The document. A part is there if its data are."""
    names = content.names
    hues = {name: colour(name, names) for name in names}
    blocks = numbers(content)
    for section in content.sections:
        blocks += answers(section)
    blocks += problems(content.sections)
    if content.runs:
        blocks += [*training(content.runs, names), *concentration(content.runs, names)]
    for number, summary in enumerate(content.diagnoses):
        blocks += diagnosis_details(summary, hues, f"d{number}-")
    blocks += setup(content)
    if content.sections:
        blocks += [Heading("What these numbers do and do not show"), Bullets(LIMITS)]
    return Document(content.title, blocks, hues)


def numbers(content: Content) -> list[Block]:
    """The parts that the terminal shows too: what is missing, and the numbers of the evaluations."""
    names = content.names
    blocks: list[Block] = [Prose(words, "meta") for words in content.words]
    if content.notes:
        blocks += [Bullets(["What is missing, or to be known first:", *content.notes], "missing")]
    elif not content.sections and not content.diagnoses:
        blocks.append(Prose("No held-out problems were evaluated, so there is no pass@K to show.", "missing"))
    for section in content.sections:
        for part in (overview(section), curves(section, names), difficulty(section, names), beyond(section, names)):
            blocks += part
        blocks += course(section, names)
    for sweep in content.sweeps:
        blocks += by_temperature(sweep)
    for summary in content.diagnoses:
        title = diagnosis_title(summary)
        blocks += [*([Heading(title)] if title != content.title else []), *diagnosis_numbers(summary)]
    return blocks


def write_page(content: Content, path: Path) -> Path:
    """Write the page to path, whole or not at all."""
    return write_document(make_document(content), path)


def write_report(study_dir: Path, target: Path | None = None) -> Path:
    """Write the page of a study to target, by default study_dir/report.html, and return its path.

    An old page is replaced as a whole or not at all. The page names missing parts. The same study gives the same bytes on one
    day with one version of simko. ValueError if study_dir holds no study, or no graded samples yet.
    """
    return write_page(read_study(study_dir), target or study_dir / "report.html")


def write_runs_page(sections: Sequence[Section], path: Path) -> Path:
    """Write the page of evaluations, whole or not at all."""
    return write_page(of_sections(sections), path)
