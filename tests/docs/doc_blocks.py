"""The code blocks of README.md, CONTRIBUTING.md and docs/, fenced and indented.

A block's language is that of its fence. A block without one holds commands of a shell: what is neither code nor a command, such as
output or a formula, stands in a fence of the language text.
"""

import shlex
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))]
_READER = MarkdownIt().enable("table")


class Block(NamedTuple):
    page: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, *languages: str) -> list[Block]:
    """The blocks of a page, all or those of the languages given. Their lines are counted from 1."""
    found = [
        Block(page, token.map[0] + 1, token.info.strip() or "sh", token.content)
        for token in _READER.parse(read(page))
        if token.type in ("fence", "code_block")
    ]
    return [block for block in found if not languages or block.language in languages]


def spans(page: str) -> list[str]:
    """What stands between backquotes in the text of a page."""
    inline = [child for token in _READER.parse(read(page)) for child in token.children or ()]
    return [child.content for child in inline if child.type == "code_inline"]


def commands(text: str) -> list[list[str]]:
    """The words of each command of a block. A command ends where a line does, outside quotes and without a backslash."""
    found, pending = [], ""
    for line in text.splitlines():
        pending += line
        try:
            words = shlex.split(pending.removesuffix("\\"), comments=True)
        except ValueError:  # a quote that goes on
            pending += "\n"
            continue
        if pending.endswith("\\"):
            pending = pending.removesuffix("\\") + " "
            continue
        found += [words] if words else []
        pending = ""
    assert not pending, f"{pending!r} does not end"
    return found
