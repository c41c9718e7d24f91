"""Pages of the site that no file in docs/ holds, and links to files of the repository.

- index.md is README.md.
- cli/COMMAND.md is what `simko COMMAND --help` prints.
- api/ROOM.md holds the docstrings of a room's `__all__`, put there by mkdocstrings.
- source/... are the files of the repository that pages link to.
"""

import ast
import os
import re
from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")
SHOWN_LINES = 400
LEXERS = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".jsonl": "json", ".cff": "yaml", ".md": "markdown"}
HIDDEN = "---\nsearch:\n  exclude: true\n---\n"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fills the sections API and Commands."""
    from simko.cli.main import COMMANDS

    config.nav += [
        {"API": [f"api/{room}.md" for room in public_rooms()]},
        {"Commands": [f"cli/{name}.md" for name in COMMANDS]},
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages."""
    pages = {"index.md": (ROOT / "README.md").read_text(encoding="utf-8")}
    pages |= {f"cli/{name}.md": text for name, text in cli_pages()}
    pages |= {f"api/{room}.md": api_page(room, names) for room, names in public_rooms().items()}
    linked: set[Path] = set()
    for file in files.documentation_pages():
        linked |= outside(file.content_string, Path(file.src_uri))
    linked |= outside(pages["index.md"], Path("index.md"))
    pages |= dict(source_pages(linked))
    for uri, text in pages.items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to files of the repository lead to their pages in source/."""
    here = PurePosixPath(page.file.src_uri)

    def moved(match: re.Match[str]) -> str:
        target = target_of(match[1], Path(here))
        if target is None:
            return match[1]
        uri = target.relative_to(ROOT / "docs") if target.is_relative_to(ROOT / "docs") else source_uri(target)
        return os.path.relpath(uri, here.parent)

    return LINK.sub(moved, markdown)


def base_of(page: Path) -> Path:
    """The folder that the links of a page start from."""
    return ROOT if page.name == "index.md" else (ROOT / "docs" / page).parent


def target_of(link: str, page: Path) -> Path | None:
    """The file or folder of the repository that a link names, if there is one and the page is not beside it already."""
    target = Path(os.path.normpath(base_of(page) / unquote(link)))
    if not target.exists() or not target.is_relative_to(ROOT):
        return None
    return target if page.name == "index.md" or not target.is_relative_to(ROOT / "docs") else None


def outside(text: str, page: Path) -> set[Path]:
    """The files and folders outside docs/ that a page links to."""
    targets = {target_of(link, page) for link in LINK.findall(text)}
    return {target for target in targets if target and not target.is_relative_to(ROOT / "docs")}


def source_uri(path: Path) -> str:
    return f"source/{path.relative_to(ROOT).as_posix()}.md"


def source_pages(linked: set[Path]):
    """(uri, text) of the page of each file, and of each folder with the files in it."""
    for path in sorted(linked | {file for folder in linked if folder.is_dir() for file in files_in(folder)}):
        name = path.relative_to(ROOT).as_posix()
        if path.is_dir():
            listed = "".join(f"- [{file.name}]({file.relative_to(ROOT).as_posix()}.md)\n" for file in files_in(path))
            yield source_uri(path), f"{HIDDEN}# {name}/\n\n" + listed.replace(f"({name}/", f"({path.name}/")
        else:
            lines = path.read_text(encoding="utf-8").splitlines()
            code = "\n".join(lines[:SHOWN_LINES])
            rest = f"\n{len(lines) - SHOWN_LINES:,} more lines follow.\n" if len(lines) > SHOWN_LINES else ""
            yield source_uri(path), f"{HIDDEN}# {name}\n\n````{LEXERS.get(path.suffix, 'text')}\n{code}\n````\n{rest}"


def files_in(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.is_file() and file.name != "__init__.py")


def cli_pages():
    """(name, text) of each command's page."""
    from simko.cli.main import COMMANDS, main

    os.environ["COLUMNS"] = "100"
    for name, summary in COMMANDS.items():
        printed = StringIO()
        with redirect_stdout(printed), suppress(SystemExit):
            main([name, "--help"])
        yield name, f"# simko {name}\n\n{summary[0].upper()}{summary[1:]}.\n\n```text\n{printed.getvalue()}```\n"


def api_page(room: str, names: list[str]) -> str:
    """The text of a room's page. A function of its module's name would else be taken for the module."""
    folder = ROOT.joinpath("src", *room.split("."))
    options = "    options: {show_root_heading: true, show_root_toc_entry: true, show_root_full_path: false}\n"
    alike = [f"::: {room}.{name}.{name}\n{options}" for name in names if (folder / f"{name}.py").is_file()]
    return "\n".join([f"# {room}\n", f"::: {room}\n", *alike])


def public_rooms() -> dict[str, list[str]]:
    """{room: the names that are public}: the packages of simko that say so by `__all__`, and two modules."""
    rooms: dict[str, list[str]] = {"simko.records": [], "simko.adapters.slime": []}
    for path in (ROOT / "src" / "simko").rglob("__init__.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and node.targets[0].id == "__all__":
                rooms[".".join(path.parent.relative_to(ROOT / "src").parts)] = ast.literal_eval(node.value)
    return dict(sorted(rooms.items()))
