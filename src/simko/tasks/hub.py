"""Tasks whose problems are fetched from the Hugging Face hub, each at a pinned revision."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from simko.records import Problem
from simko.tasks.task import Split, Task, check_request
from simko.verifiers.last_box import last_box

MATH_PROMPT = "{problem}\nPlease reason step by step, and put your final answer within \\boxed{{}}."


@dataclass(frozen=True)
class HubSource:
    """A dataset on the hub: its id, the commit (40 hex digits) that is read, the split there, and its rows there."""

    hub_id: str
    revision: str
    split: str
    rows: int

    @property
    def download(self) -> str:
        """The shell command that fetches it into the local cache."""
        return f"hf download {self.hub_id} --repo-type dataset --revision {self.revision}"

    def read(self) -> list[dict[str, Any]]:
        """All rows, from the local hub cache if they are there, else from the network.

        RuntimeError that says what to fetch if neither has them.
        """
        try:
            from datasets import load_dataset
            from huggingface_hub import snapshot_download
        except ModuleNotFoundError as missing:
            raise RuntimeError(f"reading {self.hub_id} needs the package datasets: pip install datasets") from missing
        wanted = partial(snapshot_download, self.hub_id, repo_type="dataset", revision=self.revision)
        try:
            folder = wanted(local_files_only=True)
        except OSError:
            try:
                folder = wanted()
            except OSError as failure:
                raise RuntimeError(
                    f"the dataset {self.hub_id} at revision {self.revision} is not in the local hub cache and cannot "
                    f"be fetched ({type(failure).__name__}). Where there is a network, run: {self.download}; then "
                    "copy that machine's hub cache (HF_HUB_CACHE) here"
                ) from failure
        table = load_dataset(folder, split=self.split)
        if len(table) != self.rows:
            raise RuntimeError(f"{self.hub_id} at {self.revision} gave {len(table)} rows instead of {self.rows}")
        return [dict(row) for row in table]


MATH_SOURCE = HubSource("DigitalLearningGmbH/MATH-lighteval", "0530c78699ea5e8eb5530600900e1f328b48acad", "train", 7500)
MATH500_SOURCE = HubSource("HuggingFaceH4/MATH-500", "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be", "test", 500)


def math_problems(rows: Iterable[Mapping[str, Any]]) -> list[Problem]:
    """Rows of MATH (problem, level, solution, type) -> problems of levels 3 to 5; the gold answer is the last box.

    Ids are math/train/<row number>, counted over all rows.
    """
    problems = []
    for number, row in enumerate(rows):
        if row["level"] not in ("Level 3", "Level 4", "Level 5"):
            continue
        answer = last_box(row["solution"])
        if answer is None:
            raise ValueError(f"row {number} of MATH has no \\boxed answer in its solution")
        metadata = {"level": int(row["level"][-1]), "subject": row["type"]}
        problems.append(Problem(f"math/train/{number}", MATH_PROMPT.format(problem=row["problem"]), answer, metadata))
    return problems


def math500_problems(rows: Iterable[Mapping[str, Any]]) -> list[Problem]:
    """Rows of MATH-500 (problem, answer, subject, level, unique_id) -> problems, the unique_id as id."""
    return [
        Problem(
            row["unique_id"],
            MATH_PROMPT.format(problem=row["problem"]),
            row["answer"],
            {"level": int(row["level"]), "subject": row["subject"]},
        )
        for row in rows
    ]


def load_math_l3_5(split: Split, limit: int | None = None) -> list[Problem]:
    """The 5,586 training problems of MATH's levels 3 to 5, as in the paper; there is no test split."""
    check_request("math_l3_5", split, limit, splits=("train",))
    return math_problems(MATH_SOURCE.read())[:limit]


def load_math500(split: Split, limit: int | None = None) -> list[Problem]:
    """The 500 problems of MATH-500, drawn from MATH's test set; there is no training split."""
    check_request("math500", split, limit, splits=("test",))
    return math500_problems(MATH500_SOURCE.read())[:limit]


MATH_L3_5 = Task(
    name="math_l3_5",
    description="MATH training problems of levels 3 to 5, with working, the answer in a box.",
    verifier="last_box",
    load=load_math_l3_5,
    temperature=1.0,
    top_p=1.0,
    max_new_tokens=3072,
    stop=(),
    source=f"hub dataset {MATH_SOURCE.hub_id} at {MATH_SOURCE.revision}",
    licence="MIT",
)

MATH500 = Task(
    name="math500",
    description="500 test problems of MATH, with working, the answer in a box.",
    verifier="last_box",
    load=load_math500,
    temperature=0.6,
    top_p=0.95,
    max_new_tokens=4096,
    stop=(),
    source=f"hub dataset {MATH500_SOURCE.hub_id} at {MATH500_SOURCE.revision}",
    licence="MIT",
)
