r"""Mathematical equality of two answers.

    quick_match     equality where text and rational numbers decide it: cheap, safe anywhere
    symbolic_match  equality by math-verify: may hang or exhaust memory, so only for a process that can be killed

What counts as equal, where graders differ:
- Integer golds are compared exactly; golds written as decimals within a relative 1e-4; decimal answers to fractions
  and closed forms within a relative 1e-6. Tiny numbers are never rounded to 0.
- 60% is 0.6; a gold with % also takes the bare number (28% takes 28 and 0.28), but 149% is not 149.
- Units, degree and currency signs, and a name before = (x=3) are not compared.
- Every side of an equality chain must equal the gold: 3/6=1/2 is 1/2, 1=2=149 is not 149.
- Lists and sets have no order; tuples do. A comma is never a decimal point.
- A gold of two or more letters is a word, not a product: "seat" is not "east", BA not AB; its case is not compared.
- A single letter's case is (X is not x), but an option may be given as a small letter: c for the gold C, not C for c.
- f'(x) is not f(x): primes count.
- The base of a number may be left out but not changed: 52_8 takes 52, not 52_9.
"""

import hashlib
import re
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from simko.verifiers.maths.form import SPLIT_DIGITS, normal_form, split_outside, tidy

DECIMAL_TOLERANCE = Fraction(1, 10**4)
"""Relative, for golds written as decimals; as in the Qwen2.5-Math grader."""

CLOSED_FORM_TOLERANCE = Fraction(1, 10**6)
"""Relative, for a decimal answer to a gold that is a fraction or a closed form."""

_MAX_ITEMS = 64
_POINTS = 6  # the first three with positive names only
_NUMERIC = re.compile(r"[-0-9.,/()\[\]: ]+")
_SPELLED = re.compile(r"-?[0-9]+(?:/[0-9]+|(?:\.[0-9]+)?(?:e-?[0-9]{1,4})?)")
_WORD = re.compile(r"[A-Za-z]{2,}")
_PROSE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{12,}")
_CHOICE = re.compile(r"\(?([A-Z])(?:[).:](?! *[-+*/=^<>]).*)?", re.DOTALL)
_NEXT_CHOICE = re.compile(r"(?<![A-Za-z\\])[A-Z](?=[).:,;]|$)")
_TIMES = re.compile(r"\\cdot(?![A-Za-z]) *|\*")
_PRIME = re.compile(r"'|\\prime(?![A-Za-z])")
_BASED = re.compile(r"([0-9A-Z]+)_(?:\{([0-9]+)\}|([0-9]))")
_RELATION = re.compile(r"=|<|>|\\(?:leq|geq|neq|in)(?![A-Za-z])")


def quick_match(answer: str, gold: str, *, tolerance: float | str | None = None) -> bool | None:
    """Whether answer equals gold, where text and rational numbers decide it; None: only symbolic_match can tell.

    tolerance: how far a number may be from a numeric gold, absolute; by default the relative ones of this module.
    """
    within = None if tolerance is None else Fraction(tolerance)
    answer_form, gold_form = normal_form(answer), normal_form(gold)
    if not gold_form:
        return None
    if answer_form == gold_form:
        return True
    if not answer_form or (_PROSE.search(answer_form) and not _PROSE.search(gold_form)):
        return False
    if SPLIT_DIGITS.search(answer_form) and not SPLIT_DIGITS.search(gold_form):
        return False
    is_decimal = "." in tidy(gold) or "\\times 10" in tidy(gold)
    if is_equation(gold_form) and not _RELATION.search(tidy(answer)):
        return False
    return _match_forms(answer_form, gold_form, is_decimal, within)


def _match_forms(answer: str, gold: str, is_decimal: bool, tolerance: Fraction | None) -> bool | None:
    """quick_match on normal forms."""
    if answer == gold:
        return True
    sides = split_outside(answer, "=")
    if len(sides) > 1 and not is_equation(gold):
        return _every(_match_forms(side, gold, is_decimal, tolerance) for side in sides)
    if len(sides) > max(2, len(split_outside(gold, "="))):
        return False
    if _WORD.fullmatch(gold):
        return _TIMES.sub("", answer).lower() == gold.lower()
    if len(gold) == 1 and gold.isupper() and (choice := _CHOICE.fullmatch(answer)):
        return choice[1] == gold and not _NEXT_CHOICE.search(answer, choice.end(1))
    if len(gold) == len(answer) == 1 and gold.isalpha() and answer.isalpha():
        return gold in "ABCDE" and answer.upper() == gold
    if len(_PRIME.findall(answer)) != len(_PRIME.findall(gold)):
        return False
    if _BASED.fullmatch(gold) or _BASED.fullmatch(answer):
        return answer == gold.partition("_")[0]
    number, gold_number = _value(answer), _value(gold)
    if number is not None and gold_number is not None:
        values = [number / 100 if answer.endswith("%") else number]
        if gold.endswith("%"):
            values = [number] if answer.endswith("%") else [number, 100 * number]
        if tolerance is None:
            closed_form = gold_number.denominator != 1 and "/" not in answer
            relative = DECIMAL_TOLERANCE if is_decimal else CLOSED_FORM_TOLERANCE if closed_form else Fraction(0)
            tolerance = abs(gold_number) * relative
        return any(abs(value - gold_number) <= tolerance for value in values)
    answers, golds = answer.split(", "), gold.split(", ")
    if len(golds) > 1 and len(answers) == len(golds) <= _MAX_ITEMS:
        return _lists_match(answers, golds, is_decimal, tolerance)
    if _NUMERIC.fullmatch(answer) and _NUMERIC.fullmatch(gold) and (not is_decimal or len(answers) != len(golds)):
        return False
    if "%" in answer and "%" not in gold:
        return False
    return None


def _every(verdicts: Iterable[bool | None]) -> bool | None:
    """False if any is False, else None if any is None, else True."""
    verdicts = list(verdicts)
    return False if False in verdicts else None if None in verdicts else True


def _value(form: str) -> Fraction | None:
    """The number, or the number of per cent, that a normal form spells; None for anything else, 1/0 too."""
    form = form.removesuffix("%")
    if not _SPELLED.fullmatch(form) or set(form.partition("/")[2]) == {"0"}:
        return None
    return Fraction(form)


def _lists_match(answers: list[str], golds: list[str], is_decimal: bool, tolerance: Fraction | None) -> bool | None:
    """Whether the items pair up, in any order; None where symbolic_match must look at the rest."""
    unsure = False
    for gold in golds:
        verdicts = [_match_forms(answer, gold, is_decimal, tolerance) for answer in answers]
        if True in verdicts:
            del answers[verdicts.index(True)]
        elif None in verdicts:
            unsure = True
        else:
            return False
    return None if unsure else True


def symbolic_match(answer: str, gold: str) -> bool:
    r"""Whether answer equals gold: quick_match where that is sure, else math-verify and values at some points.

    Only for a process that can be killed: some texts (9^{9^9}) take for ever or all memory, and math-verify's own
    time limits are off, since they go by the wall clock. Refused although math-verify passes them: an equality chain
    with one right side, a lone %, values that agree only after rounding (2^{-98} and 2^{-99}).
    """
    sure = quick_match(answer, gold)
    if sure is not None:
        return sure
    answer_form, gold_form = normal_form(answer), normal_form(gold)
    equations = [text for text in (tidy(answer), tidy(gold)) if len(split_outside(text, "=")) == 2]
    if len(equations) == 2 and re.search(r"[A-Za-z]", gold_form) and _equations_agree(*equations):  # 2x-y=0 is y=2x
        return True
    return not is_equation(gold_form) and all(_verify(side, gold_form) for side in split_outside(answer_form, "="))


def is_equation(text: str) -> bool:
    """Whether an = stands outside all brackets."""
    return len(split_outside(text, "=")) > 1


def _equations_agree(answer: str, gold: str) -> bool:
    """Whether lhs - rhs of two equations differ by a nonzero constant factor, or the equations are equal side by side.

    Solution sets would prove less: x^2+1=0 and x^2+2=0 have the same real one, none.
    """
    sides = [split_outside(text, "=") for text in (answer, gold)]
    differences = [_parse(f"({left})-({right})") for left, right in sides]
    if all(differences) and (factor := _constant_factor(differences[0][0], differences[1][0])) is not None:
        return factor
    return all(_verify(*pair) for pair in zip(*sides, strict=True))


def _constant_factor(answer: Any, gold: Any) -> bool | None:
    """Whether answer / gold is the same nonzero number at every point; None where neither can be evaluated."""
    ratios = []
    for value, target in _values(answer, gold):
        if value == 0 or target == 0:
            return False
        ratios.append(value / target)
    if not ratios:
        return None
    return all(abs(ratio - ratios[0]) <= 1e-12 * abs(ratios[0]) for ratio in ratios)


def _parse(text: str) -> list[Any]:
    # here: they load sympy, half a second and 60 MB that only workers need
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse

    # its units are off: they drop the m of 6m and the t of \frac{1}{m}t
    as_latex = LatexExtractionConfig(normalization_config=NormalizationConfig(units=False, malformed_operators=True))
    return list(parse("\\boxed{" + text + "}", extraction_config=[as_latex], parsing_timeout=None))


def _verify(answer: str, gold: str) -> bool:
    from math_verify import verify

    if answer == gold:
        return True
    answers, golds = _parse(answer), _parse(gold)
    if not answers or not golds:
        return False
    agree = _values_agree(answers[0], golds[0])
    if agree is not None:
        return agree
    return bool(verify(golds, answers, timeout_seconds=None, allow_set_relation_comp=True))


def _values_agree(answer: Any, gold: Any) -> bool | None:
    """Whether two sympy expressions have the same values at every point; None where they have none.

    Equal is a relative difference of at most 1e-12 (CLOSED_FORM_TOLERANCE for a plain decimal number) in 30 digits.
    Exact simplification proves less: it misses sqrt(1/n) = 1/sqrt(n), and rounds 2^-98 and 2^-99 to the same 0.
    """
    pairs = _values(answer, gold)
    tolerance = CLOSED_FORM_TOLERANCE if pairs and answer.is_Float else Fraction(1, 10**12)
    return all(abs(value - target) <= float(tolerance) * abs(target) for value, target in pairs) if pairs else None


def _values(answer: Any, gold: Any) -> list[tuple[Any, Any]]:
    """The values of two sympy expressions at _POINTS points; none if they have none at one where all names are positive.

    The points follow from a hash of both expressions, so that no answer can be made to agree at them alone, and every
    second one mirrors the one before, so that max(x, y) is neither x nor y. Points with negative names count where both
    values are real: sqrt(x^2) is not x, but 2 ln(x) is ln(x^2).
    """
    import sympy

    if not isinstance(answer, sympy.Expr) or not isinstance(gold, sympy.Expr):
        return []
    names = sorted({symbol.name for symbol in answer.free_symbols | gold.free_symbols})
    digest = f"{answer}\0{gold}"
    pairs = []
    for number in range(_POINTS if names else 1):
        point: dict[str, Any] = {}
        for name in names:
            draw = int.from_bytes(hashlib.sha256(f"{digest}\0{name}\0{number // 2}".encode()).digest()[:8])
            negative = number == 3 or (number > 3 and draw % 2)
            step = draw // 2 % 1500
            step = 1499 - step if number % 2 else step
            point[name] = sympy.Rational(1013 + step, -1009 if negative else 1009)
        point["i"] = sympy.I
        value, target = (_value_at(side, point) for side in (answer, gold))
        if number < 3 and (value is None or target is None):
            return []
        if number < 3 or all(side is not None and side.is_real for side in (value, target)):
            pairs.append((value, target))
    return pairs


def _value_at(expression: Any, point: dict[str, Any]) -> Any:
    """The expression's value, 30 digits, with its symbols set by name; None if it is not a finite complex number."""
    import sympy

    try:
        value = sympy.N(expression.subs({symbol: point[symbol.name] for symbol in expression.free_symbols}), 30)
        return value if all(part.is_Float or part == 0 for part in value.as_real_imag()) else None
    except (MemoryError, RecursionError, OverflowError):  # exhausted: for the pool to say
        raise
    except Exception:  # SymPy raises anything (TypeError, PoleError, AttributeError ...) where it cannot evaluate
        return None
