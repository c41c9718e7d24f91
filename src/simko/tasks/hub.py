"""Tasks whose problems come from the Hugging Face hub."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

from simko.records import Problem
from simko.tasks.task import Split, Task, check_request

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class HubSource:
    """A dataset on the hub."""

    hub_id: str
    """The repository."""
    split: str
    """The split's name there."""
    revision: str | None = None
    """The commit to read (40 hex digits). None ("not pinned yet") reads main at the first use; `commit` then names it."""
    rows: int | None = None
    """The number of rows that it must have; None if unknown."""
    config: str | None = None
    """The dataset's configuration."""
    files: tuple[str, ...] = ()
    """Patterns of the files to fetch; empty for the whole repository."""

    def __str__(self) -> str:
        revision = f"at {self.revision}" if self.revision else "(revision not pinned yet: main at first use)"
        return f"hub dataset {self.hub_id} {revision}"

    @property
    def download(self) -> str:
        """The shell command that fetches the dataset into the local cache."""
        revision = f" --revision {self.revision}" if self.revision else ""
        files = "".join(f" --include '{pattern}'" for pattern in self.files)
        return f"hf download {self.hub_id} --repo-type dataset{revision}{files}"

    @property
    def commit(self) -> str:
        """The commit that is read. If none is pinned, it is looked up and fetched as in `read`."""
        return self.revision or self.folder().name

    def folder(self) -> Path:
        """The snapshot in the local hub cache, fetched if it is missing. Its name is the commit.

        RuntimeError, which says what to fetch, without a snapshot and a network.
        """
        try:
            from huggingface_hub import snapshot_download
        except ModuleNotFoundError as missing:
            raise RuntimeError(
                f"reading {self.hub_id} needs the package datasets: pip install 'simko[eval]'"
            ) from missing
        find = partial(
            snapshot_download,
            self.hub_id,
            repo_type="dataset",
            revision=self.revision,
            allow_patterns=list(self.files) or None,
        )
        try:
            folder = Path(find(local_files_only=True))
            if all(any(folder.glob(pattern)) for pattern in self.files):
                return folder
        except OSError:
            pass
        try:
            return Path(find())
        except OSError as failure:
            revision = f" at revision {self.revision}" if self.revision else ""
            raise RuntimeError(
                f"the dataset {self.hub_id}{revision} is not in the local hub cache and cannot be fetched "
                f"({type(failure).__name__}). Where there is a network, run: {self.download}; then copy that machine's "
                "hub cache (HF_HUB_CACHE) here"
            ) from failure

    def read(self) -> Rows:
        """All rows, each read when it is asked for, since they may not fit into memory together.

        RuntimeError, which says what to fetch, if they cannot be read or their number is not `rows`.
        """
        folder = self.folder()
        try:
            from datasets import load_dataset
        except ModuleNotFoundError as missing:
            raise RuntimeError(
                f"reading {self.hub_id} needs the package datasets: pip install 'simko[eval]'"
            ) from missing
        try:
            if self.files:
                paths = [str(path) for pattern in self.files for path in sorted(folder.glob(pattern))]
                table = load_dataset("parquet", data_files={self.split: paths}, split=self.split)
            else:
                table = load_dataset(str(folder), self.config, split=self.split)
        except (OSError, ValueError) as failure:
            said = " ".join(str(failure).split())
            raise RuntimeError(
                f"the local copy of {self.hub_id} in {folder} cannot be read ({said[:300]}). It may be incomplete; fetch "
                f"it again: {self.download}"
            ) from failure
        if self.rows is not None and len(table) != self.rows:
            raise RuntimeError(f"{self.hub_id} at {folder.name} gave {len(table)} rows instead of {self.rows}")
        return cast(Rows, table)


@dataclass(frozen=True)
class Part:
    """A part of a task's problems."""

    source: HubSource
    """Where the rows come from."""
    problems: Callable[[Rows], Iterable[Problem]]
    """Makes problems of the rows."""


def hub_task(name: str, parts: Mapping[Split, Sequence[Part]], **fields: Any) -> Task:
    """A task whose splits are made of parts, in order. fields: the fields of `Task` that the parts do not decide."""

    def load(split: Split, limit: int | None = None) -> list[Problem]:
        check_request(name, split, limit, splits=tuple(parts))
        problems = chain.from_iterable(part.problems(part.source.read()) for part in parts[split])
        return list(islice(problems, limit))

    # configurations and splits of a task often share a repository, which is named once
    repositories = {(source.hub_id, source.revision): source for source in _sources(parts)}
    return Task(
        name=name,
        load=load,
        source="; ".join(dict.fromkeys(map(str, repositories.values()))),
        version=lambda: " ".join(f"{source.hub_id}@{source.commit}" for source in repositories.values()),
        **fields,
    )


def _sources(parts: Mapping[Split, Sequence[Part]]) -> Iterator[HubSource]:
    for split_parts in parts.values():
        yield from (part.source for part in split_parts)
