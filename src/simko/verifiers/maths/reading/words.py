"""What words around a number mean: a unit, a factor, a sign, or something that makes it another answer."""

from collections.abc import Sequence
from fractions import Fraction

from simko.verifiers.maths.reading.numerals import words_value


def vocabulary(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


SCALES = {
    "hundred": Fraction(100), "thousand": Fraction(1000), "million": Fraction(10**6), "billion": Fraction(10**9), "trillion": Fraction(10**12),
    "quadrillion": Fraction(10**15), "lakh": Fraction(10**5), "lac": Fraction(10**5), "crore": Fraction(10**7), "dozen": Fraction(12), "gross": Fraction(144),
    "half": Fraction(1, 2), "halve": Fraction(1, 2), "quarter": Fraction(1, 4), "tenth": Fraction(1, 10), "mn": Fraction(10**6), "bn": Fraction(10**9),
    "万": Fraction(10**4), "亿": Fraction(10**8),
}  # fmt: skip
_ORDINALS = {
    "first": "one",
    "second": "two",
    "third": "three",
    "fifth": "five",
    "eighth": "eight",
    "ninth": "nine",
    "twelfth": "twelve",
}

NEGATIONS = vocabulary(
    """
    not no never cannot can't isn't aren't wasn't doesn't don't won't neither nor without except excluding
    unless incorrect wrong false untrue impossible nothing instead rather but however if maybe perhaps either
    otherwise than hardly doubt nicht kein keine pas ne nunca ningun nie не нет 不 不是 非 なし ない
    """
)
"""Words that make what stands beside them no plain answer."""

CHANGES = vocabulary(
    """
    negative minus plus below above less more fewer greater least most over under between within beyond
    exceeding exceeds divided multiplied power root square squared cube cubed factorial double doubled triple
    tripled quadrupled halved twice thrice inverse reciprocal opposite opposed sum difference remainder rest
    modulo mod base sin cos tan log ln exp inf infinity infinite infinitely pi percent sqrt matrix alternating
    approaching tends up repeating recurring choose complement conjugate squareroot cuberoot plusminus or and
    also half alpha beta gamma delta theta lambda omega sigma R r mult multiple multiples successor predecessor
    next previous another nan undefined tens grand kilo quintillion binary octal hexadecimal negated unequal tangent sine cosine logarithm derivative permille permil points bps ppm ppb decreased increased reduced raised to by
    """
)
"""Words that change a number's value, or say that it is not alone."""

LEADS = vocabulary(
    """
    all every exactly approximately about roughly around approx precisely only just simply total answer so thus hence
    therefore then we get have obtain find finally final result value is are be equals equal to the a an of area
    perimeter volume length width height radius distance probability number minimum maximum
    min max smallest largest least greatest mean median average cost price time speed rate angle measure count
    integer integers real reals numbers solution solutions answers values option choice ans since where with which and minimal
    maximal optimal required desired correct there exist exists das die der ist la le est es el sind ответ 答案 答
    """
)
"""Words that may lead in to an answer without a colon."""


ASKED = vocabulary("sum product ratio difference remainder root")
"""Words for what was asked: they lead in to an answer where "is" or a colon follows."""


def is_noun(word: str) -> bool:
    """Whether a word after a number can be what is counted."""
    low = word.casefold().strip(".")
    return (
        bool(low)
        and low not in ("th", "st", "nd", "rd")
        and not ({low, low.rstrip("s")} & (NEGATIONS | CHANGES))
        and scale(low) is None
        and words_value([low]) is None
    )


def scale(word: str) -> Fraction | None:
    """The factor that a word after a number is: million, dozen, sixteenths; None if none."""
    low = word.casefold()
    for form in (low, low.removesuffix("s"), low.removesuffix("ves") + "f"):
        if form in SCALES:
            return SCALES[form]
    if (of := fraction_word(low)) is not None:
        return of
    return None


def fraction_word(word: str) -> Fraction | None:
    """One sixteenth for "sixteenth(s)": an ordinal as a fraction; None if it is none. A second is a unit of time."""
    low = word.casefold()
    single = low.removesuffix("s")
    if single in _ORDINALS and single not in ("first", "second"):
        value = words_value([_ORDINALS[single]])
    elif single.endswith("ieth"):
        value = words_value([single.removesuffix("ieth") + "y"])
    elif single.endswith("th"):
        stem = single.removesuffix("th")
        value = words_value([stem]) or (int(SCALES[stem]) if stem in SCALES and SCALES[stem] >= 100 else None)
    else:
        return None
    return Fraction(1, value) if value else None


def says_a_number(words: Sequence[str]) -> int | None:
    """The number that a phrase spells, a leading sign included: "minus forty two" is -42; None if none."""
    low = [word.casefold() for word in words]
    negative = low[:1] in (["minus"], ["negative"])
    value = words_value(low[negative:])
    return None if value is None else -value if negative else value
