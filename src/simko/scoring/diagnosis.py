"""Models over stored responses -> records and their summary, which the page is made of."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simko.diagnostics import Concentration, candidate_matrix
from simko.evaluate.difficulty import MIN_PROBLEMS
from simko.evaluate.files import locked, read_json, write_whole
from simko.evaluate.intervals import studentised_interval, t_interval
from simko.report.diagnosis import digests
from simko.scoring.records import Records, TokenRows, padded
from simko.scoring.responses import Responses
from simko.scoring.scored import ModelChoice, Scoring, check, score

_NAME = re.compile(r"\w[\w.+-]*")
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_SHOWN_TOKENS = 240
_SHOWN_CANDIDATES = 5
_SEGMENT = 12
_ROWS = 8
_COMPARED = ("Λ(1), log10", "probability of rank 1", "entropy, nats", "sampled at rank 1")
_FIRST = _COMPARED.index("probability of rank 1")
_OVER = ("gated", "all")
_Key = tuple[str, int]


def diagnose(
    models: Sequence[ModelChoice],
    responses: Sequence[Responses],
    directory: Path,
    options: Scoring,
    *,
    command: str = "",
    show: Sequence[_Key] = (),
    progress: bool = True,
) -> dict[str, Any]:
    """Score responses by each model into a directory of records, and return what `summarise_records` does.

    The same call continues an interrupted one: scored responses are kept.

    Args:
        models: the models, with different names.
        responses: one for all models, or one for each.
        directory: where the records go.
        options: how responses are scored.
        command: for the page.
        show: (problem id, index) of the responses that are shown token by token; by default a correct and an incorrect one.
        progress: show progress bars.
    """
    check(options)
    names = [choice.name for choice in models]
    if len(set(names)) != len(names):
        raise ValueError(f"two models are called {max(names, key=names.count)!r}: name them, --model NAME=PATH")
    for name in names:
        if not _NAME.fullmatch(name) or name.endswith((".json", ".lock")):  # as files beside it are called
            raise ValueError(f"{name!r} is no name for a folder: name the model, --model NAME=PATH")
    each = [*responses] * len(models) if len(responses) == 1 else [*responses]
    for one in each:
        there = {(r.problem.id, r.sample.index) for r in one.responses}
        for id, index in show:
            if (id, index) not in there:
                raise ValueError(f"--show {id}:{index}: there is no such response in {one.source}")
    with locked(directory):
        for choice, own in zip(models, each, strict=True):
            score(choice, own, Records(directory / choice.name), options, progress=progress)
        prompts = {r.problem.id: r.problem.prompt for one in each for r in one.responses}
        kept = {"models": names, "command": command, "show": [list(key) for key in show]}
        write_whole(directory / "plan.json", json.dumps(kept | {"prompts": _few(prompts, show)}, indent=1) + "\n")
        return summarise_records(directory)


def _few(prompts: dict[str, str], show: Sequence[_Key]) -> dict[str, str]:
    return prompts if len(prompts) <= 10_000 else {id: prompts[id] for id, _ in show if id in prompts}


def summarise_records(directory: Path) -> dict[str, Any]:
    """The summary of all records of a directory, which is also written to its diagnosis.json. No model is needed.

    ValueError for a directory without records.
    """
    if not (directory / "plan.json").is_file():
        raise ValueError(f"{directory} holds no records of simko diagnose (no plan.json): give its --records directory")
    plan = read_json(directory / "plan.json")
    models = [_Model(Records(directory / name)) for name in plan["models"]]
    readers: dict[str, list[_Model]] = {}  # of the same responses
    for m in models:
        readers.setdefault(m.kept["responses_sha256"], []).append(m)
    shown = []
    for some in readers.values():
        keys = [tuple(key) for key in plan["show"]] or some[0].examples()
        shown += [_shown(some, key, plan["prompts"]) for key in keys]
    summary = {
        "command": plan["command"],
        "records": digests(directory, plan["models"]),
        "models": [m.described for m in models],
        "differences": [_difference(ours, other, over) for other, ours in combinations(models, 2) for over in _OVER],
        "shown": shown,
    }
    summary = json.loads(json.dumps(summary), parse_constant=lambda _: None)  # nan: a mean over no tokens
    write_whole(directory / "diagnosis.json", json.dumps(summary) + "\n")
    return summary


class _Model:
    """The records of a model, read once: their summary and where each response is."""

    def __init__(self, records: Records) -> None:
        self.records, self.kept = records, records.model
        self.name = records.folder.name
        sums = Concentration(int(self.kept["candidates"]), gate_quantile=self.kept["gate_quantile"])
        self.correct: dict[_Key, bool | None] = {}
        self._place: dict[_Key, Path] = {}
        self._sums: dict[str, dict[str, np.ndarray]] = {over: {} for over in _OVER}
        for path in records.files():
            rows = records.rows(path)
            for judged in (True, False):
                some = [r for r in rows if (r.correct is not None) == judged]
                if some:
                    verdicts = torch.tensor([bool(r.correct) for r in some]) if judged else None
                    sums.add(*padded(some), verdicts)
            for r in rows:
                self.correct[r.problem_id, r.sample] = r.correct
                self._place[r.problem_id, r.sample] = path
                for over, where in (("all", slice(None)), ("gated", r.gated)):
                    if len(r.entropy[where]):
                        total = self._sums[over].setdefault(r.problem_id, np.zeros(1 + len(_COMPARED)))
                        total += [1, *_means(r, where)]
        lacking = self.kept["responses"] - len(self.correct)
        if lacking:
            raise ValueError(
                f"{records.folder} lacks {lacking} of {self.kept['responses']} responses: the command that began it "
                "scores them"
            )
        path = Path(self.kept["path"])
        found = _CHECKPOINT.fullmatch(path.name)
        self.described = {
            "name": self.name,
            **self.kept,
            "run": path.parent.name if found else None,
            "step": int(found[1]) if found else None,
            "problems": len(self.problem_means("all")),
            "first": {over: self._first(over) for over in _OVER},
            "summary": sums.summary(),
        }
        self.texts = records.vocabulary

    def problem_means(self, over: str) -> dict[str, np.ndarray]:
        """{problem id: the numbers of `_COMPARED`, means over its responses of means over their tokens of `_OVER`}."""
        return {id: total[1:] / total[0] for id, total in self._sums[over].items()}

    def _first(self, over: str) -> dict[str, Any]:
        """The probability of rank 1, a mean over problems, with the interval of such a mean, for problems enough."""
        values = np.array([numbers[_FIRST] for _, numbers in sorted(self.problem_means(over).items())])
        ends = studentised_interval(values[:, None])[0].tolist() if len(values) >= MIN_PROBLEMS else None
        return {"mean": float(values.mean()) if len(values) else None, "interval": ends, "problems": len(values)}

    def examples(self) -> list[_Key]:
        """A correct and an incorrect response to one problem if there are, else the first of each, else the first two."""
        by_verdict: dict[bool | None, dict[str, _Key]] = {True: {}, False: {}, None: {}}
        for key in sorted(self.correct):
            by_verdict[self.correct[key]].setdefault(key[0], key)
        right, wrong, unjudged = by_verdict[True], by_verdict[False], by_verdict[None]
        both = next((id for id in right if id in wrong), None)
        if both is not None:
            return [right[both], wrong[both]]
        return [*list(right.values())[:1], *list(wrong.values())[:1]] or list(unjudged.values())[:2]

    def response(self, key: _Key) -> TokenRows:
        """The rows of one response."""
        return next(r for r in self.records.rows(self._place[key]) if (r.problem_id, r.sample) == key)

    def text(self, token: int) -> str:
        """A token's text."""
        return self.texts[token] if token < len(self.texts) else f"<{token}>"


def _means(r: TokenRows, where: Any) -> list[float]:
    first, entropy, rank = r.candidate_logp[where, 0].astype(float), r.entropy[where].astype(float), r.rank[where]
    return [first.mean() / math.log(10), np.exp(first).mean(), entropy.mean(), (rank == 1).mean()]


def _difference(ours: _Model, other: _Model, over: str) -> dict[str, Any]:
    """Paired differences over the problems that both models read; without intervals for fewer than `MIN_PROBLEMS` problems."""
    a, b = ours.problem_means(over), other.problem_means(over)
    apart = np.array([a[id] - b[id] for id in a if id in b]).reshape(-1, len(_COMPARED))
    numbers: Mapping[str, list[float]] = {}
    if len(apart) >= MIN_PROBLEMS:
        rows = zip(_COMPARED, apart.mean(0).tolist(), t_interval(apart).tolist(), strict=True)
        numbers = {name: [mean, *ends] for name, mean, ends in rows}
    return {"ours": ours.name, "other": other.name, "over": over, "problems": len(apart), "numbers": numbers}


def _shown(models: Sequence[_Model], key: _Key, prompts: dict[str, str]) -> dict[str, Any]:
    """One response as each of its readers sees it: its tokens, and the candidates of its most uncertain segment."""
    found = {m.name: (m, m.response(key)) for m in models}
    first, rows = next(iter(found.values()))
    start = _most_uncertain(rows.entropy)
    alike = {name: (m, r) for name, (m, r) in found.items() if np.array_equal(r.tokens, rows.tokens)}
    return {
        "source": first.kept["source"],
        "problem_id": key[0],
        "sample": key[1],
        "correct": rows.correct,
        "prompt": prompts.get(key[0], ""),
        "tokens": len(rows.tokens),
        "views": {name: _view(m, r) for name, (m, r) in found.items()},
        "segment": {
            "start": start,
            "path": [first.text(t) for t in rows.tokens[start : start + _SEGMENT].tolist()],
            "models": {name: _matrix(m, r, start, alike) for name, (m, r) in alike.items()},
        },
    }


def _most_uncertain(entropy: np.ndarray) -> int:
    """Where the segment of highest mean entropy begins."""
    width = min(_SEGMENT, len(entropy))
    return int(np.convolve(entropy, np.ones(width), "valid").argmax())


def _view(model: _Model, rows: TokenRows) -> list[dict[str, Any]]:
    """The first tokens of a response with their first candidates."""
    view = []
    for t in range(min(len(rows.tokens), _SHOWN_TOKENS)):
        ids, logp = rows.candidates[t, :_SHOWN_CANDIDATES], rows.candidate_logp[t, :_SHOWN_CANDIDATES]
        view.append(
            {
                "text": model.text(int(rows.tokens[t])),
                "p": _round(np.exp(rows.logp[t])),
                "entropy": _round(rows.entropy[t]),
                "rank": int(rows.rank[t]),
                "gated": bool(rows.gated[t]),
                "acts": int(rows.acts[t]),
                "candidates": [[model.text(i), _round(p)] for i, p in zip(ids.tolist(), np.exp(logp), strict=True)],
            }
        )
    return view


def _matrix(
    model: _Model, rows: TokenRows, start: int, others: dict[str, tuple[_Model, TokenRows]]
) -> list[dict[str, Any]]:
    """The columns of the candidate matrix: of each token the candidates, and what the models give to each."""
    at = slice(start, start + _SEGMENT)
    logp, ids = rows.candidate_logp[at, :_ROWS], rows.candidates[at, :_ROWS]
    found = candidate_matrix(torch.tensor(rows.tokens[at]), torch.tensor(logp), torch.tensor(ids))
    columns = []
    for i, t in enumerate(range(start, min(start + _SEGMENT, len(rows.tokens)))):
        shown = ids[i][found.shown[i].numpy()].tolist()
        columns.append(
            {
                "candidates": [
                    [model.text(c), _round(p)] for c, p in zip(shown, found.probability[i].tolist(), strict=False)
                ],
                "elsewhere": {name: [_probability(r, t, c) for c in shown] for name, (_, r) in others.items()},
                "sampled": int(found.sampled[i]),
                "sampled_p": _round(np.exp(rows.logp[t])),
                "sampled_rank": int(rows.rank[t]),
                "rest": _round(found.rest[i]),
            }
        )
    return columns


def _probability(rows: TokenRows, t: int, token: int) -> str:
    """What a model gives to a token; a bound if it is not among its candidates."""
    p = np.exp(rows.candidate_logp[t])
    at = np.flatnonzero(rows.candidates[t] == token)
    return f"{p[at[0]]:.3f}" if len(at) else f"≤ {p[-1]:.3f}"


def _round(x: Any) -> float:
    return round(float(x), 5)
