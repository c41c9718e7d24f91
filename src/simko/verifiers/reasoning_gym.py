"""Answers to reasoning-gym problems: find the answer, compare it with the gold, else ask the dataset's own scorer.

The scorer runs in the grading pool: see `reasoning_gym_judge`. Which datasets may be judged:
`simko.tasks.reasoning_gym.ALLOWED`.
"""

from collections.abc import Mapping

from simko.records import Problem
from simko.verifiers.extract import answer_tag, last_box, last_line
from simko.verifiers.pool.bounded import Bounded

MAX_ANSWER = 20_000
"""Longest answer that goes to a scorer, in characters; longer ones are wrong (the longest golds have about 2,000)."""


def check_entry(problem: Problem) -> None:
    """ValueError unless the problem holds its dataset's name and reasoning-gym's entry."""
    entry = problem.metadata.get("entry")
    if "dataset" not in problem.metadata or not isinstance(entry, Mapping) or "answer" not in entry:
        raise ValueError(
            f"problem {problem.id!r} does not hold a reasoning-gym entry: its metadata needs dataset and entry"
        )


def extract_answer_tag(response: str, problem: Problem) -> str | None:
    r"""What stands in the last <answer>...</answer>, else in the last box, else on the last line that is not empty.

    White space around it is dropped. None if there is nothing, or only an opened tag (a cut-off response).
    """
    found = answer_tag(response)
    if found is None and "<answer>" not in response:
        boxed = last_box(response)
        found = last_line(response) if boxed is None else boxed
    return (found or "").strip() or None


def quick(extracted: str, problem: Problem) -> bool | None:
    """True if the answer is the gold answer; False if it is empty or too long to be judged; None: ask the scorer."""
    if extracted == problem.answer.strip():
        return True
    if not extracted.strip() or len(extracted) > MAX_ANSWER:
        return False
    return None


verify_reasoning_gym = Bounded(
    "verify_reasoning_gym", check_entry, extract_answer_tag, quick, "simko.verifiers.reasoning_gym_judge:judge"
)
