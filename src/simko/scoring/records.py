"""The records of a diagnosis on disk: one Parquet row a token, in a file a batch of responses.

DIRECTORY/
  plan.json                          the models of the page, and which responses it shows
  diagnosis.json                     what the page shows: models, summaries, the samples of the token views
  MODEL/model.json                   what decides the rows: the model, the responses, the options
  MODEL/vocabulary.json              the text of each token id
  MODEL/tokens/batch-000000.parquet  rows, whole responses only
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from simko.evaluate.files import read_json, replacing, write_whole
from simko.token_stats import TokenStats

_FILE = "batch-{:06d}.parquet"


class TokenRows(NamedTuple):
    """The tokens of one response."""

    response: int
    """Its number among the source's responses."""
    problem_id: str
    """Its problem."""
    sample: int
    """Its index among the responses to the problem."""
    correct: bool | None
    """The verdict."""
    tokens: np.ndarray
    """[T] ids."""
    logp: np.ndarray
    """[T] log-probabilities, nats."""
    entropy: np.ndarray
    """[T] nats."""
    rank: np.ndarray
    """[T]; 1 for the most likely token, K + 1 for one that is not among the K candidates."""
    gated: np.ndarray
    """[T] bool: of high entropy in its response."""
    acts: np.ndarray
    """[T]: 1 where SimKO raises the candidates, -1 where it penalises the token, 0 elsewhere."""
    candidates: np.ndarray
    """[T, K] ids."""
    candidate_logp: np.ndarray
    """[T, K] nats."""


class Records:
    """The rows of one model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, decides: Mapping[str, Any], says: Mapping[str, Any], vocabulary: Sequence[str]) -> None:
        """Start the records, or continue them.

        Args:
            decides: what decides the rows. ValueError that names what differs if there are rows of something else.
            says: what else there is to say of them.
            vocabulary: the text of each token id.
        """
        path, wanted = self.folder / "model.json", json.loads(json.dumps(dict(decides)))
        if path.is_file() and self.files():
            kept = read_json(path)
            differing = [
                f"{key} is {kept.get(key)!r} there and {value!r} here"
                for key, value in wanted.items()
                if kept.get(key) != value
            ]
            if differing:
                raise ValueError(
                    f"{self.folder} holds records of something else ({'; '.join(differing)}): choose another --records "
                    "directory, or restore the options to continue"
                )
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self.folder / "vocabulary.json", json.dumps(list(vocabulary)))
        write_whole(path, json.dumps(wanted | dict(says), indent=1) + "\n")

    @property
    def model(self) -> dict[str, Any]:
        """What `begin` was given."""
        return read_json(self.folder / "model.json")

    @property
    def vocabulary(self) -> list[str]:
        """The text of each token id."""
        texts: list[str] = json.loads((self.folder / "vocabulary.json").read_text(encoding="utf-8"))
        return texts

    def files(self) -> list[Path]:
        """The batches."""
        return sorted((self.folder / "tokens").glob("batch-*.parquet"))

    def scored(self) -> set[int]:
        """The numbers of the responses that are there."""
        import pyarrow.parquet as pq

        found: set[int] = set()
        for path in self.files():
            found |= set(_read(path, lambda p: pq.read_table(p, columns=["response"]))["response"].to_pylist())
        return found

    def add(self, rows: Sequence[TokenRows]) -> None:
        """Store a batch, whole or not at all."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        lengths = [len(r.tokens) for r in rows]
        width = rows[0].candidates.shape[1]

        def each(values: Sequence[Any], kind: Any) -> Any:
            repeated = [value for value, n in zip(values, lengths, strict=True) for _ in range(n)]
            return pa.array(repeated, kind)

        def flat(name: str, kind: Any) -> Any:
            return pa.array(np.concatenate([getattr(r, name) for r in rows]), kind)

        def lists(name: str, kind: Any) -> Any:
            values = np.concatenate([getattr(r, name) for r in rows]).reshape(-1)
            return pa.FixedSizeListArray.from_arrays(pa.array(values, kind), width)

        table = pa.table(
            {
                "response": each([r.response for r in rows], pa.int32()),
                "problem_id": each([r.problem_id for r in rows], pa.string()),
                "sample": each([r.sample for r in rows], pa.int32()),
                "correct": each([r.correct for r in rows], pa.bool_()),
                "position": pa.array([t for n in lengths for t in range(n)], pa.int32()),
                "token": flat("tokens", pa.int32()),
                "logp": flat("logp", pa.float32()),
                "entropy": flat("entropy", pa.float32()),
                "rank": flat("rank", pa.int16()),
                "gated": flat("gated", pa.bool_()),
                "acts": flat("acts", pa.int8()),
                "candidates": lists("candidates", pa.int32()),
                "candidate_logp": lists("candidate_logp", pa.float32()),
            }
        )
        last = max((int(path.stem.partition("-")[2]) for path in self.files()), default=-1)
        with replacing(self.folder / "tokens" / _FILE.format(last + 1)) as new:
            pq.write_table(table, new)

    def rows(self, file: Path) -> list[TokenRows]:
        """The responses of a batch."""
        import pyarrow.parquet as pq

        return list(_responses(_read(file, pq.read_table)))


def _read(path: Path, read: Any) -> Any:
    import pyarrow as pa

    try:
        return read(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(
            f"{path} is damaged ({error}): delete it, and the same command scores its responses again"
        ) from error


def _responses(table: Any) -> Iterator[TokenRows]:
    columns = {
        name: table[name].to_numpy() for name in ("response", "token", "logp", "entropy", "rank", "gated", "acts")
    }
    lists = {}
    for name in ("candidates", "candidate_logp"):
        combined = table[name].combine_chunks()
        lists[name] = combined.flatten().to_numpy().reshape(len(combined), -1)
    starts = np.flatnonzero(np.diff(columns["response"], prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(table)], strict=True):
        at = slice(start, end)
        said = {name: table[name][int(start)].as_py() for name in ("response", "problem_id", "sample", "correct")}
        own = {name: column[at] for name, column in (columns | lists).items() if name not in ("response", "token")}
        yield TokenRows(**said, tokens=columns["token"][at], **own)


def padded(rows: Sequence[TokenRows]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """logp [B, T], entropy [B, T], candidate log-probabilities [B, T, K] and mask [B, T] of some responses."""
    pad = partial(torch.nn.utils.rnn.pad_sequence, batch_first=True)
    logp, entropy, candidates = (
        pad([torch.tensor(getattr(r, name)) for r in rows]) for name in ("logp", "entropy", "candidate_logp")
    )
    return logp, entropy, candidates, pad([torch.ones(len(r.tokens), dtype=torch.bool) for r in rows])


def as_rows(stats: TokenStats, **words: Any) -> TokenRows:
    """The rows of one response. words: the fields that its statistics do not say."""
    return TokenRows(
        logp=stats.logp.float().numpy(),
        entropy=stats.entropy.float().numpy(),
        candidates=stats.topk_ids.to(torch.int32).numpy(),
        candidate_logp=stats.topk_logp.float().numpy(),
        **words,
    )
