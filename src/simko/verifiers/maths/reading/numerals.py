r"""Numbers as people write them: thousands separators, repeating decimals, words; and one spelling for each."""

import re
from collections.abc import Callable
from fractions import Fraction

# separators that no one writes for anything else; what a plain comma means, the reader decides
_THOUSANDS: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(r"(?<=[0-9])(?:\{,\}|,? ?\\! ?|\\[,;: ] ?|\{\\[,;:! ]\})(?=[0-9]{3}(?![0-9]))"), ""),
    (
        re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:[ ~][0-9]{3})+(?![0-9,.]|[ ~][0-9])"),
        lambda run: re.sub("[ ~]", "", run.group()),
    ),
    (re.compile(r"(?<![0-9.,'A-Za-z])[0-9]{1,3}(?:'[0-9]{3})+(?![0-9'])"), lambda run: run.group().replace("'", "")),
    (re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:\.[0-9]{3}){2,}(?![0-9.])"), lambda run: run.group().replace(".", "")),
]
_BAR = r"\\(?:overline|bar|dot|overbar|widebar|mathring)\s*"
_DOTS = r"\s*(?:\.\.\.|\\[lc]?dots(?:[a-z](?![A-Za-z]))?)"
_REPEATING = re.compile(
    rf"(?<![0-9.])(?P<whole>[0-9]*)\.(?P<start>[0-9]*)"
    rf"(?:{_BAR}(?:\{{\s*(?P<bar>[0-9]+)\s*\}}|(?P<digit>[0-9]))(?:(?P<inner>[0-9]*){_BAR}\{{?(?P<last>[0-9])\}}?)?"
    rf"|\((?P<brackets>[0-9]+)\)|(?<=[0-9])\s*(?:\\text\s*\{{)?\s*(?P<word>repeating|recurring)\s*\}}?|(?P<dots>{_DOTS}))(?![0-9])"
)
_PERIODS = re.compile(r"([0-9]*?)(?:([0-9])\2{2,}|([0-9]{2})\3{1,}[0-9]?|([0-9]{3,6})\4{1,}[0-9]{0,5})")


def plain_numbers(text: str) -> str:
    r"""Without thousands separators that are sure (1{,}000, 1\,000, 1 000), and repeating decimals as fractions."""
    for pattern, joined in _THOUSANDS:
        text = pattern.sub(joined, text)
    return _REPEATING.sub(_fraction, text) if "." in text else text


def _fraction(match: re.Match[str]) -> str:
    start, period = match["start"], match["bar"] or match["digit"] or match["brackets"] or ""
    if match["last"]:
        period += match["inner"] + match["last"]
    elif match["inner"]:
        return match.group()
    if match["word"]:
        start, period = "", start
    if match["dots"]:  # 0.333... repeats, 0.3... does not say how it goes on
        found = _PERIODS.fullmatch(start)
        if not found:
            return match.group()
        start, period = found[1], found[2] or found[3] or found[4]
    if not period or len(match.group()) > 60:
        return match.group()
    value = Fraction(int((match["whole"] or "0") + start)) / 10 ** len(start)
    value += Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(start))
    return rf"{{\frac{{{value.numerator}}}{{{value.denominator}}}}}"


_ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_SMALL = {word: value for value, word in enumerate(_ONES.split())}
_SMALL |= {word: 10 * value for value, word in enumerate(_TENS.split(), 2)}
_LARGE = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}


def words_value(words: list[str]) -> int | None:
    """The number that words spell: ["forty", "two"] is 42, ["three", "hundred", "and", "one"] 301; None if none."""
    total = group = 0
    previous = ""
    for word in words:
        if word in _SMALL:
            small = previous in _SMALL
            if small and not (_SMALL[previous] >= 20 and 0 < _SMALL[word] < 10):
                return None
            group += _SMALL[word]
        elif word == "hundred" and 0 < group < 10:
            group *= 100
        elif word in _LARGE and group:
            total, group = total + group * _LARGE[word], 0
        elif word != "and" or not previous:
            return None
        previous = word
    return total + group if previous and previous != "and" else None


def spell(value: Fraction) -> str:
    """One spelling of a rational: digits where its decimals end (in scientific form where long), else p/q."""
    denominator, twos, fives = value.denominator, 0, 0
    while denominator % 2 == 0:
        denominator, twos = denominator // 2, twos + 1
    while denominator % 5 == 0:
        denominator, fives = denominator // 5, fives + 1
    if denominator != 1:
        return f"{value.numerator}/{value.denominator}"
    places = max(twos, fives)
    digits = str(abs(value.numerator) * 10**places // value.denominator)
    sign = "-" if value < 0 else ""
    significant = digits.rstrip("0") or "0"
    exponent = len(digits) - places - 1
    if -7 <= exponent < 21:
        digits = digits.rjust(places + 1, "0")
        return sign + (f"{digits[:-places]}.{digits[-places:]}" if places else digits)
    return sign + significant[0] + ("." + significant[1:] if significant[1:] else "") + f"e{exponent}"
