"""Generations that someone already has, in a store as if simko had drawn them."""

from collections.abc import Iterator
from typing import Any

from tqdm import tqdm

from simko.evaluate.run import digest
from simko.evaluate.store import SampleStore, Setting
from simko.generations import UNKNOWN, GeneratedSet, Generations
from simko.records import Sample, VerifierLike
from simko.verifiers import grade_many, verifier_name

COUNTS = "counts"
"""The back-end and the verifier in the record of counts, which were judged before."""
DRAW_KEYS = ("model", "temperature", "top_p", "top_k", "max_new_tokens", "stop", "chat", "do_sample", "seed")
"""The keys of a record that the files may not give."""
_GRADED_AT_ONCE = 1024


def store_generations(
    store: SampleStore, found: Generations, one: GeneratedSet, verifier: VerifierLike | None, revision: str = UNKNOWN
) -> Setting:
    """Store the responses of a set, all or none, and return their setting. Those that are stored already stay.

    Args:
        store: where they are kept.
        found: all responses.
        one: the set.
        verifier: what will grade them; of counts, what judged them, or None.
        revision: the revision of the problems.

    ValueError, with nothing changed, if the store holds other samples of this task and temperature.
    """
    name = verifier_name(verifier) if verifier is not None else None
    if one.counts:
        name = f"{COUNTS} of {name}" if name else COUNTS
    assert name is not None
    record = _record(one, revision)
    setting = store.begin(one.task, one.name, record, name, list(one.problems.values()), min(one.sizes.values()))
    if not store.tally(setting).samples:
        store.load(setting, found.pairs(one))
    return setting


def grade_stored(store: SampleStore, setting: Setting, verifier: VerifierLike, *, progress: bool = True) -> None:
    """Grade the samples of a setting that have no verdict, or the verdict "error". Equal responses to a problem are judged once.

    VerifierError if the verifier raises. Verdicts are on disk after each thousand responses.
    """
    tally = store.tally(setting).outcomes
    total = tally.get("ungraded", 0) + tally.get("error", 0)
    with tqdm(total=total, desc="grading", unit="sample", disable=not progress or not total) as bar:
        for part in _parts(store, setting):
            answers = {(s.problem_id, s.response): (s.response, problem) for s, problem in part}
            verdicts = dict(zip(answers, grade_many(verifier, list(answers.values())), strict=True))
            store.grade(setting, [(s, verdicts[s.problem_id, s.response]) for s, _ in part])
            bar.update(len(part))


def _parts(store: SampleStore, setting: Setting) -> Iterator[list[tuple[Sample, Any]]]:
    """The ungraded samples with their problems, about a thousand at a time, all of a problem together."""
    part: list[tuple[Sample, Any]] = []
    for problem in store.problems(setting):
        rows = store.rows(setting, problem.id)
        part += [(s, problem) for s, v in rows if v is None or v.outcome == "error"]
        if len(part) >= _GRADED_AT_ONCE:
            yield part
            part = []
    if part:
        yield part


def _record(one: GeneratedSet, revision: str) -> dict[str, Any]:
    """All that is known of the draws."""
    said = dict.fromkeys(DRAW_KEYS, UNKNOWN) | one.said
    if one.temperature != UNKNOWN:
        said["do_sample"] = one.temperature != 0
    return {
        "backend": COUNTS if one.counts else "files",
        "files": [f"{path.name} sha256:{sha256[:16]}" for path, sha256 in one.files.items()],
        **said,
        "task_revision": revision,
        "problems": len(one.problems),
        "problems_sha256": digest(list(one.problems.values())),
    }
