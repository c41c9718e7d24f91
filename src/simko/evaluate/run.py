"""One evaluation: n samples of every problem, graded, in a directory that an interrupted run picks up again."""

import hashlib
import json
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from simko.evaluate.files import read_json, write_whole
from simko.evaluate.store import SampleStore
from simko.records import Problem, Sample, Verdict, Verifier
from simko.sampling import SampleKey, Sampler
from simko.verifiers import VerifierError

_KEEP_ROWS = 64
_KEEP_SECONDS = 1.0


def evaluate(
    sampler: Sampler,
    problems: Sequence[Problem],
    verifier: Verifier,
    n: int,
    out: Path,
    *,
    config: Mapping[str, Any],
    seed: int,
    progress: bool = True,
) -> dict[str, tuple[int, int]]:
    """Draw and grade n samples of every problem; {problem id: (n samples, c correct)} in the problems' order.

    Writes out/evaluation.json (config, and n, seed and a digest of the problems), out/problems.jsonl and
    out/samples.db. config: JSON values that say what is evaluated and how (model, task, sampling settings). A
    directory that holds an evaluation of the same configuration is continued: samples in its store are not drawn
    again. A kill loses at most the last 64 graded samples, an exception or Ctrl-C none.

    Raises ValueError where the directory holds another configuration (nothing is overwritten); VerifierError, at once,
    where the verifier raises, and at the end where it returned "error": such samples are not kept, so that no count
    holds a fault of ours against the model, and running again grades them again; RuntimeError where the sampler left
    samples out.
    """
    by_id = {problem.id: problem for problem in problems}
    if not problems or len(by_id) != len(problems):
        raise ValueError("give at least one problem, and every problem an id of its own")
    if n < 1:
        raise ValueError(f"n is {n}: draw at least one sample a problem")
    _open_directory(out, _record(config, n, seed, problems), problems)
    with SampleStore(out / "samples.db") as store:
        done = _stored(store, n)
        failed = []
        samples = sampler.sample(problems, n, seed=seed, skip=done)
        with (
            closing(_graded(samples, by_id, verifier, store)) as graded,
            tqdm(total=len(by_id) * n, initial=len(done), unit="sample", disable=not progress) as bar,
        ):
            for sample, verdict in graded:
                bar.update()
                if verdict.outcome == "error":
                    failed.append(sample)
        counts = store.counts()
    if failed:
        raise VerifierError(
            f"the verifier failed on {len(failed)} samples, the first being sample {failed[0].index} of problem "
            f"{failed[0].problem_id!r}; all others are kept: run again to draw and grade the failed ones"
        )
    short = [i for i in by_id if counts.get(i, (0, 0))[0] != n]
    if short:
        raise RuntimeError(
            f"{len(short)} problems, {short[0]!r} first, have not got {n} samples: run again to continue"
        )
    return {i: counts[i] for i in by_id}


def _graded(
    samples: Iterable[Sample], problems: Mapping[str, Problem], verifier: Verifier, store: SampleStore
) -> Generator[tuple[Sample, Verdict], None, None]:
    """Grade samples as they come and keep them in the store, also when something stops the loop."""
    waiting: list[tuple[Sample, Verdict]] = []
    last_kept = time.monotonic()
    try:
        for sample in samples:
            sample = replace(sample, response=_storable(sample.response))
            verdict = _judge(verifier, sample, problems[sample.problem_id])
            if verdict.outcome != "error":
                waiting.append((sample, verdict))
            if len(waiting) >= _KEEP_ROWS or time.monotonic() - last_kept > _KEEP_SECONDS:
                store.add(waiting)
                waiting, last_kept = [], time.monotonic()
            yield sample, verdict
    finally:
        store.add(waiting)


def _judge(verifier: Verifier, sample: Sample, problem: Problem) -> Verdict:
    try:
        verdict = verifier(sample.response, problem)
    except Exception as error:
        raise VerifierError(
            f"the verifier raised {type(error).__name__} on sample {sample.index} of problem {problem.id!r}: {error}; "
            "what was graded before is kept: mend the verifier and run again"
        ) from error
    extracted = verdict.extracted
    return verdict if extracted is None else replace(verdict, extracted=_storable(extracted))


def _storable(text: str) -> str:
    """The text with lone surrogates, which no file or database takes, as question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _stored(store: SampleStore, n: int) -> set[SampleKey]:
    done: set[SampleKey] = set()
    for problem_id, (kept, _) in store.counts().items():
        complete = kept == n
        done |= {(problem_id, i) for i in (range(n) if complete else (s.index for s, _ in store.rows(problem_id)))}
    return done


def _record(config: Mapping[str, Any], n: int, seed: int, problems: Sequence[Problem]) -> dict[str, Any]:
    """What evaluation.json says: the caller's config and the arguments that decide the samples."""
    ours = {"n": n, "seed": seed, "problems": len(problems), "problems_sha256": _digest(problems)}
    for key in ours.keys() & config.keys():
        if config[key] != ours[key]:
            raise ValueError(f"config says {key} = {config[key]!r}, but the evaluation has {ours[key]!r}")
    record: dict[str, Any] = json.loads(json.dumps({**config, **ours}))
    return record


def _digest(problems: Sequence[Problem]) -> str:
    return hashlib.sha256("\n".join(map(_line, problems)).encode()).hexdigest()


def _line(problem: Problem) -> str:
    return json.dumps(asdict(replace(problem, metadata=dict(problem.metadata))), sort_keys=True)


def _open_directory(out: Path, record: Mapping[str, Any], problems: Sequence[Problem]) -> None:
    """Make a new evaluation directory, or check that an old one is of the same configuration."""
    description = out / "evaluation.json"
    if description.is_file():
        found = read_json(description)
        differing = [
            f"{key} is {found.get(key)!r} there and {record.get(key)!r} here"
            for key in dict.fromkeys([*found, *record])
            if found.get(key) != record.get(key)
        ]
        if differing:
            raise ValueError(
                f"{out} holds an evaluation of another configuration ({'; '.join(differing)}): choose another "
                "directory, restore the configuration to continue that one, or remove it to start afresh"
            )
    elif (out / "samples.db").exists():
        raise ValueError(f"{out} holds samples but no evaluation.json that says of what: choose another directory")
    else:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(description, json.dumps(record, indent=2) + "\n")
    if not (out / "problems.jsonl").is_file():
        write_whole(out / "problems.jsonl", "".join(_line(problem) + "\n" for problem in problems))
