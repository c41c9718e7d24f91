"""The files that commands are told to write."""

from pathlib import Path

PAGE, MARKDOWN = (".html", ".htm"), (".md", ".markdown")


def named_as(option: str, path: Path, endings: tuple[str, ...], what: str) -> Path:
    """The path. ValueError if its name does not end as what is written there does."""
    if path.suffix.lower() not in endings:
        raise ValueError(f"{option} {path} is where {what} goes: give a name that ends in {endings[0]}")
    return path
