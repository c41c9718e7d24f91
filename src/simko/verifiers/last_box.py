r"""The last \boxed{...} of a response, compared with the gold answer as text.

A strict match: equal answers in another form (1/2 for \frac{1}{2}, 0.5, x=3 for 3, reordered sets) are incorrect here.
A reward made from it is never too generous, but misses correct answers; the verifier "math" accepts them.
"""

import re

from simko.records import Problem, Verdict
from simko.verifiers.boxes import last_box
from simko.verifiers.direct import Direct, Judge

_DROPPED = re.compile(r"(?<!\\)(?:\\(?:left|right)(?![A-Za-z])|\\[!,;: ]|\$)")
_FRACTION = re.compile(r"\\[dt]frac(?![A-Za-z])")
_SPACE = re.compile(r"\s+")
_LOOSE_SPACE = re.compile(r"(?<![A-Za-z0-9]) | (?![A-Za-z0-9])")


@Direct
def verify_last_box(problem: Problem) -> Judge:
    r"""Whether the content of the last \boxed{...} (or \fbox{...}) equals problem.answer after `normalise_answer`.

    "unparsed": no box, an empty one, or a last box whose braces never close (a cut-off response).
    Raises ValueError if problem.answer is empty.
    """
    gold = normalise_answer(problem.answer)
    if not gold:
        raise ValueError(f"problem {problem.id!r} has no gold answer")

    def judge(response: str) -> Verdict:
        extracted = normalise_answer(last_box(response) or "")
        if not extracted:
            return Verdict("unparsed")
        return Verdict("correct" if extracted == gold else "wrong", extracted)

    return judge


def normalise_answer(answer: str) -> str:
    r"""Drop $, \left, \right and spacing commands, write \dfrac and \tfrac as \frac, and drop white space.

    White space between two letters or digits stays, as one space: "1 2" is not "12".
    """
    answer = _FRACTION.sub(r"\\frac", _DROPPED.sub("", answer))
    return _LOOSE_SPACE.sub("", _SPACE.sub(" ", answer))
