"""What the grading pool imports to score reasoning-gym's answers; nothing else does, for it loads all generators.

At the top, and not in the call: every forked process then has them, and no answer pays for the import with its CPU time.
"""

import functools
import json
import operator
import re
from decimal import Decimal
from typing import Any

import reasoning_gym

from simko.records import Problem
from simko.verifiers.reasoning_gym import check_entry, quick


def judge(extracted: str, problem: Problem) -> bool:
    """Whether the dataset's scorer gives the answer 1.0 exactly, having read all of it; partial credit is no pass.

    Several scorers read the first value, a prefix, or what they can of a text, so that a list of candidates would pass:
    see `EXACT` and `SKIPPING`. A scorer that raises on an answer has refused it. Raises ValueError naming the problem if
    it holds no entry.
    """
    known = quick(extracted, problem)
    if known is not None:
        return known
    check_entry(problem)
    name = str(problem.metadata["dataset"])
    if name in EXACT:
        return _plain(extracted) == _plain(problem.answer)
    if name in SKIPPING and any(map(operator.gt, _size(extracted), _size(problem.answer))):
        return False
    entry = json.loads(json.dumps(problem.metadata["entry"]))  # a copy: scorers write into it
    try:
        return bool(_dataset(name).score_answer(extracted, entry) == 1.0)
    except Exception:  # a scorer raises anything on an answer that it does not understand
        return False


EXACT = frozenset({"gsm_symbolic", "number_format", "time_intervals"})
"""Datasets whose scorers ignore signs, words or digits: an answer must be the gold's text, but for case, spacing and how a
number is written."""
SKIPPING = frozenset(
    {"advanced_geometry", "fraction_simplification", "letter_jumble", "polynomial_equations", "sokoban", "word_sorting"}
)
"""Datasets whose scorers skip what they cannot read, or stop reading: an answer may hold no more numbers or words than the
gold."""
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_WRITTEN = re.compile(r"(?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[-+]?\d{1,3})?(?![\w.])")


def _size(text: str) -> tuple[int, int]:
    """How many numbers and how many words a text holds."""
    return len(_NUMBER.findall(text)), len(re.findall(r"[^\W\d_]+", text))


def _plain(text: str) -> str:
    """The text in one case and spacing, each number that stands alone in one form: 1,234.50 as 1234.5."""
    text = " ".join(text.casefold().split()).removesuffix(".")
    return _WRITTEN.sub(lambda number: _digits(Decimal(number[0].replace(",", ""))), text)


def _digits(number: Decimal) -> str:
    written = f"{number:f}"
    return written.rstrip("0").rstrip(".") if "." in written else written


@functools.lru_cache(maxsize=128)
def _dataset(name: str) -> Any:
    """A dataset object to score with; its own problems do not matter."""
    return reasoning_gym.create_dataset(name, seed=0, size=1)
