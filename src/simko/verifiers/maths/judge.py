"""What the grading pool imports to judge mathematical equality; nothing else does, for it loads SymPy."""

import re
from collections import Counter
from typing import Any

from simko.records import Problem
from simko.verifiers.maths.comparing.compare import judge_with
from simko.verifiers.maths.reading.latex import Unreadable, tokenise
from simko.verifiers.maths.reading.read import read
from simko.verifiers.maths.values import Unread
from simko.verifiers.maths.verify import gold_answer, tolerance

_NAMES = re.compile(r"[A-Za-z]+")


def judge(extracted: str, problem: Problem) -> bool:
    """Whether the extracted answer equals the problem's gold; without limits of its own.

    math-verify has the last word where simko's own reading ends: integrals, sums without end. What neither
    can decide is refused.
    """
    gold = gold_answer(problem)
    values = read(gold), read(extracted)
    verdict = judge_with(True, tolerance(problem)).same(*values)
    if verdict is None and any(isinstance(value, Unread) for value in values):
        return _math_verify(extracted, gold)
    return bool(verdict)


def _math_verify(answer: str, gold: str) -> bool:
    """Whether math-verify takes the answer, and has read all of both: no part of a text it cannot read is compared."""
    from math_verify import verify

    answers, golds = _parse(answer), _parse(gold)
    if len(answers) != 1 or len(golds) != 1:
        return False
    if not all(_is_whole(text, found) for text, found in ((answer, answers[0]), (gold, golds[0]))):
        return False
    return bool(verify(golds, answers, timeout_seconds=None, allow_set_relation_comp=False))


def _parse(text: str) -> list[Any]:
    # here: they load sympy, half a second and 60 MB that only workers need
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse

    # its units are off: they drop the m of 6m and the t of \frac{1}{m}t
    as_latex = LatexExtractionConfig(normalization_config=NormalizationConfig(units=False, malformed_operators=True))
    found = parse("\\boxed{" + text + "}", extraction_config=[as_latex], parsing_timeout=None)
    return [expression for expression in found if not isinstance(expression, str)]


def _is_whole(text: str, expression: Any) -> bool:
    """Whether every name and number of the text is in what was read of it."""
    try:
        tokens = tokenise(text)
    except Unreadable:
        return False
    if any(token.text in _RELATIONS for token in tokens):
        return False
    read_back = str(expression)
    names = {token.text.lstrip("\\") for token in tokens if token.kind == "macro"} - _SIGNS
    names |= {letter for token in tokens if token.kind in ("letters", "word") for letter in token.text} - {"d"}
    digits = Counter("".join(token.text for token in tokens if token.kind == "num"))
    return names <= set(_NAMES.findall(read_back)) | set(read_back) and digits <= Counter(read_back)


_RELATIONS = frozenset(["=", "<", ">", "<=", ">=", "!=", ",", r"\in", r"\approx", r"\to", r"\equiv"])
_SIGNS = {"frac", "sqrt", "int", "sum", "prod", "infty", "ln", "binom", "arcsin", "arccos", "arctan"}

# the first parse builds math-verify's and ANTLR's tables: here, so that every forked process has them
_math_verify("\\frac{x}{2}", "\\frac{1}{2}x")
