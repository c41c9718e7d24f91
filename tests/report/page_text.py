"""What a page says, and small studies to make one of."""

from html.parser import HTMLParser
from pathlib import Path

from simko.report.study import read_study


class Tags(HTMLParser):
    """Collects tags, attributes, and the text that a reader sees."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.words = set(), [], []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.words.append(data)


def read(path: Path) -> tuple[str, Tags]:
    page = path.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    return page, tags


def flat(value, count=40):
    return {f"q{i:02d}": value for i in range(count)}


def spread(low, high, count=40):
    """Correct counts between low and high, evenly over problems."""
    return {f"q{i:02d}": round(low + (high - low) * i / (count - 1)) for i in range(count)}


def section_of(study_dir):
    (section,) = read_study(study_dir).sections
    return section
