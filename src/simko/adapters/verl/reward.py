"""simko's verifiers as verl's reward function.

    reward.custom_reward_function.path=pkg://simko.adapters.verl.reward
    +reward.custom_reward_function.reward_kwargs.verifier=math

verl's reward workers call `compute_score` for a response at a time, from many threads. The calls that wait are graded
together, in the bounded grading pool of their process: a hostile answer costs its own time limit and no more.
"""

import json
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from simko.records import Problem, Verdict, Verifier
from simko.verifiers import VerifierError, get_verifier, grade_many

MODULE = "pkg://simko.adapters.verl.reward"
DEFAULT = "math"
_SWALLOWS = "rate_limited"


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    verifier: str | None = None,
) -> dict[str, Any]:
    """The verdict on one response, as verl logs it.

    solution_str: the decoded response. ground_truth: the gold answer, a text or a number. extra_info: may hold `problem`,
    the JSON of the whole `Problem`, and `verifier`, its verifier's name; `simko tasks NAME --parquet FILE` writes both.
    Without `problem`, the problem is its ground_truth. verifier: as `get_verifier` takes it, a file of your own by its
    absolute path; goes before the row's; "math" where neither says.

    Returns `score`, the reward; `acc`, 1.0 if correct, else 0.0; `outcome` and `pred`, the verdict's outcome and the
    answer that was judged ("" if there was none), which verl skips in its averages.

    Raises ValueError for an unknown verifier, or a problem that no response can answer; VerifierError where the verifier
    failed on this response, which is never the response's fault. verl then leaves the response out: its sync trainer
    trains on the rest of the group, its async trainers draw another group, its legacy trainer ends the run. The message
    counts such responses. In validation verl counts them as incorrect in `acc`, and leaves them out of `score`.
    """
    judge, problem = _judge_and_problem(data_source, ground_truth, extra_info or {}, verifier)
    judge.check(problem)
    verdict = _WAITING.grade(judge, solution_str, problem)
    reward = verdict.reward
    if reward is None:
        raise VerifierError(
            f"the verifier {judge.name} failed on a response to problem {problem.id!r}: {_WAITING.count()}"
        )
    return {
        "score": reward,
        "acc": float(verdict.outcome == "correct"),
        "outcome": verdict.outcome,
        "pred": verdict.extracted or "",
    }


def check_reward(config: Any) -> None:
    """ValueError where a run's config has `compute_score` for its reward and could not be graded by it: called before any
    worker starts.

    config: verl's composed config. Looks at the options, and at each problem of the local data.train_files and
    data.val_files.
    """
    function = config.reward.custom_reward_function
    if (function.get("path") or "").replace("/", ".") != MODULE.replace("/", "."):
        return
    if config.reward.reward_model.get("enable", False):
        raise ValueError(
            f"reward.reward_model.enable=True beside {MODULE}, which asks no reward model: set it to False"
        )
    options = dict(function.get("reward_kwargs") or {})
    unknown = sorted(set(options) - {"verifier"})
    if unknown:
        raise ValueError(
            f"reward.custom_reward_function.reward_kwargs has {', '.join(unknown)}: it takes verifier alone"
        )
    if function.name != compute_score.__name__:
        raise ValueError(f"reward.custom_reward_function.name is {function.name}: say {compute_score.__name__}")
    if config.reward.reward_manager.name == _SWALLOWS:
        raise ValueError(
            f"reward.reward_manager.name={_SWALLOWS} gives reward 0 to a response on which the verifier failed: choose "
            "another, such as naive"
        )
    verifier = options.get("verifier")
    if verifier is not None:
        _verifier(verifier)
    for key in ("train_files", "val_files"):
        files = config.data.get(key) or []
        for file in [files] if isinstance(files, str) else files:
            path = Path(file).expanduser()
            if path.is_file():
                _check_rows(f"data.{key}={file}", _rows(path), verifier)


def _rows(file: Path) -> Iterable[Mapping[str, Any]]:
    import datasets

    kind = "parquet" if file.suffix == ".parquet" else "json"
    try:
        rows = datasets.load_dataset(kind, data_files=str(file), split="train")
    except (datasets.exceptions.DatasetGenerationError, ValueError, OSError) as error:
        raise ValueError(f"{file} cannot be read as {kind}: {error}") from error
    return rows.select_columns([c for c in ("data_source", "reward_model", "extra_info") if c in rows.column_names])


def _check_rows(place: str, rows: Iterable[Mapping[str, Any]], verifier: str | None) -> None:
    for number, row in enumerate(rows):
        try:
            judge, problem = _judge_and_problem(
                row["data_source"], row["reward_model"]["ground_truth"], row.get("extra_info") or {}, verifier
            )
            judge.check(problem)
        except KeyError as error:
            raise ValueError(f"{place}, row {number}: has no {error.args[0]}, which verl needs") from None
        except (TypeError, AttributeError) as error:  # a column that holds another kind of value
            raise ValueError(f"{place}, row {number}: is no row of verl's ({error})") from error
        except ValueError as error:
            raise ValueError(f"{place}, row {number}: {error}") from error


@cache
def _verifier(name: str) -> Verifier:
    """Read once: a file of the user's own stays as it was at the first response."""
    return get_verifier(name)


def _judge_and_problem(
    data_source: str, ground_truth: Any, extra_info: Mapping[str, Any], verifier: str | None
) -> tuple[Verifier, Problem]:
    judge = _verifier(verifier or extra_info.get("verifier") or DEFAULT)
    if isinstance(ground_truth, bool) or not isinstance(ground_truth, str | int | float):
        raise ValueError(f"the ground_truth of {data_source} is {ground_truth!r:.80}: give a text or a number")
    text = extra_info.get("problem")
    if text is None:
        return judge, Problem(f"{data_source}/{extra_info.get('index', '?')}", "", str(ground_truth))
    try:
        problem = Problem(**json.loads(text))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"extra_info's problem {text!r:.80} is not the JSON of a Problem: {error}") from error
    if problem.answer != str(ground_truth):
        raise ValueError(
            f"problem {problem.id!r}: its answer is {problem.answer!r:.80} in extra_info, {ground_truth!r:.80} in reward_model"
        )
    return judge, problem


class _Waiting:
    """Grades together the calls that threads make at the same time.

    Whoever gets the lock grades all that wait; the others find their verdicts made when they get it.
    """

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[Verifier, str, Problem, Future[Verdict]]] = SimpleQueue()
        self._lock = threading.Lock()
        self._graded = self._failed = 0

    def grade(self, judge: Verifier, response: str, problem: Problem) -> Verdict:
        """The verdict on a response; raises what the verifier raises on it."""
        verdict: Future[Verdict] = Future()
        self._queue.put((judge, response, problem, verdict))
        with self._lock:
            if not verdict.done():
                self._settle([self._queue.get() for _ in range(self._queue.qsize())])
        return verdict.result()

    def count(self) -> str:
        """How many responses were left ungraded so far."""
        return f"{self._failed} of this process's {self._graded} so far"

    def _settle(self, calls: list[tuple[Verifier, str, Problem, "Future[Verdict]"]]) -> None:
        for judge in dict.fromkeys(call[0] for call in calls):
            own = [call[1:] for call in calls if call[0] == judge]
            try:
                verdicts = grade_many(judge, [(response, problem) for response, problem, _ in own])
            except Exception as error:  # it belongs to one call, and must not reach the others
                if len(own) == 1:
                    self._graded, self._failed = self._graded + 1, self._failed + 1
                    own[0][2].set_exception(error)
                else:
                    for call in own:
                        self._settle([(judge, *call)])
                continue
            self._graded += len(verdicts)
            self._failed += sum(verdict.reward is None for verdict in verdicts)
            for (_, _, future), verdict in zip(own, verdicts, strict=True):
                future.set_result(verdict)


_WAITING = _Waiting()
