"""Answers to reasoning-gym problems: find the answer, compare it with the gold, else ask the dataset's own scorer.

The scorer runs in the grading pool: see `reasoning_gym_judge`. Which datasets may be judged:
`simko.tasks.reasoning_gym.ALLOWED`.
"""

from collections.abc import Mapping

from simko.records import Problem
from simko.verifiers.boxes import last_box
from simko.verifiers.extract import Span
from simko.verifiers.parts import answer_tag, final_part, last_line, opens_answer, runs_on
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


def extract_answer_tag(response: str, problem: Problem) -> Span | None:
    r"""What stands in the last <answer>...</answer>, else in the last box, else on the last line that is not empty.

    White space around it is dropped. None if there is nothing, or only an opened tag (a cut-off response).
    """
    text = final_part(response, run_on=runs_on(problem))
    places: list[tuple[str, str | None]] = [("answer tag", answer_tag(text))]
    if not opens_answer(text):
        places += [("box", last_box(text)), ("last line", last_line(text))]
    rule, found = next(((rule, found) for rule, found in places if found is not None), ("", ""))
    return Span(found.strip(), rule) if found.strip() else None


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
"""Judges answers to reasoning-gym's problems: correct is the gold answer, or what the dataset's own scorer gives exactly 1."""
