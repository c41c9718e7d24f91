r"""One text form for equal mathematical answers.

tidy         LaTeX without its typesetting, but still LaTeX: what a parser is given
normal_form  tidy, numbers in one spelling and lists in one order: what answers are grouped and first compared by
"""

import re
from collections.abc import Callable
from fractions import Fraction

from simko.verifiers.boxes import closing_brace
from simko.verifiers.last_box import normalise_answer

MAX_FORM = 2000
"""Longer texts are left as they are."""

_MAX_DEPTH = 10
_MAX_ROUNDS = 6
_MAX_DIGITS = 400
_SYMBOLS = str.maketrans(
    {
        "\u2212": "-",
        "\u2013": "-",
        "\u00d7": "\\times ",
        "\u00b7": "\\cdot ",
        "\u00b0": "^\\circ ",
        "\u03c0": "\\pi ",
        "\u221e": "\\infty ",
        "\u2264": "\\leq ",
        "\u2265": "\\geq ",
        "\u2260": "\\neq ",
        "\u2248": "\\approx ",
        "\u222a": "\\cup ",
        "\u2208": "\\in ",
        "\u00b1": "\\pm ",
        "\u00b2": "^2 ",
        "\u00b3": "^3 ",
        "\u221a": "\\sqrt ",
        "\u00bd": "\\frac{1}{2}",
        "\u00bc": "\\frac{1}{4}",
        "\u00be": "\\frac{3}{4}",
        **{chr(0xFF10 + digit): str(digit) for digit in range(10)},  # full-width
        "\u20ac": "",
        "\u00a3": "",
    }
)
_NUMERAL = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_TEXT = r"\\(?:text|mbox|mathrm|textnormal|textbf|textit|mathbf)"
# words after a number that are no unit: the number says something else with them. One list for plain text and \text{}
_NO_UNIT = (
    r"(?! *(?:squared|cubed)(?![A-Za-z]))(?![^{}0-9]*(?<![A-Za-z])(?i:"
    r"zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|[a-z]{3,6}teen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty"
    r"|hundred|thousand|(?:m|b|tr)illions?|hundreds|thousands|dozens?|half|halves|first|(?:third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|hundredth|thousandth)s?"
    r"|plus|minus|times +[a-z]+|over|divided|multiplied|mod|modulo|factorial|power|root|matrix|sqrt|sin|cos|tan|log|ln|exp|inf|infinity|infinite|pi"
    r"|negative|below|not?|none|never|cannot|isn|aren|wasn|incorrect|wrong|false|or|and|but|also|either|maybe|if|unless|except|is|are|was|than"
    r"|less|more|fewer|greater|least|most|alpha|beta|gamma|delta|theta|lambda|omega|sigma)(?![A-Za-z]))"
)
_LENGTH = r"(?:(?:centi|milli|kilo)?met(?:er|re)s?|inch(?:es)?|feet|foot|yards?|miles?|units?|cm|mm|km|ft|m)"
_REWRITES: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r"\\\$", ""),
        # 10,\!080 and 58{,}500 and 4\,100 are one number each, as is 1 000
        (r"(?<=[0-9])(?:, *\\! *|\{,\}|\\[,;! ] *)(?=[0-9]{3}(?![0-9]))", ""),
        (r"(?<![0-9.,])[0-9]{1,3}(?: [0-9]{3})+(?![0-9,])", lambda number: number.group().replace(" ", "")),
        (r"(?<=[0-9]) *\\[,;: ] *(?=[0-9])", " "),
        (r"\\(?:lbrace|\{)", r"\\{"),
        (r"\\(?:rbrace|\})", r"\\}"),
        (r"\\(?:le|leqslant)(?![A-Za-z])|<=", r"\\leq "),
        (r"\\(?:ge|geqslant)(?![A-Za-z])|>=", r"\\geq "),
        (r"\\ne(?![A-Za-z])|!=", r"\\neq "),
        (r":=|==", "="),
        (r"\\(?:varnothing|emptyset)(?![A-Za-z])", r"\\emptyset "),
        (r"\\(begin|end) *\{[bB]matrix\}", r"\\\1{pmatrix}"),
        (r"\^ *\{? *\\(?:circ|degree)(?![A-Za-z]) *\}?|\\degree(?![A-Za-z])", ""),
        (r"\\%|\b(?:per ?cent(?:age)?|pct)\b|\\text *\{ *per ?cent *\}", "%"),
        (_TEXT + r" *\{ *,? *(?:and|or) *\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])", " , "),
        (r"\\q?quad(?![A-Za-z])|~|\\displaystyle(?![A-Za-z])", " "),
        (r",(?: *,)+", ","),
        (r"(?:np|numpy|math)\.(?=arc|sin|cos|tan|sqrt|exp|log|pi)", r"\\"),
        (r"^ *(?:\\(?:approx|simeq|sim)(?![A-Za-z])|=)", ""),
        # values are compared, not units: words in \text after a number, or plain ones too long to be a product
        (r"(?<=[0-9)}%.]) *" + _TEXT + r" *\{" + _NO_UNIT + r"[^{}0-9,]*\} *(?:\^ *\{? *[0-9] *\}?)? *$", ""),
        (r"(?<=\\pi) *" + _TEXT + r" *\{" + _NO_UNIT + r"[^{}0-9,]*\} *(?:\^ *\{? *[0-9] *\}?)? *$", ""),
        (r"(?<=[0-9}]) " + _NO_UNIT + r"(?:[A-Za-z]{3,20}|cm|mm|km|kg|mg|mL|ft)(?: [A-Za-z]{2,20})*$", ""),
        (r"(?<=[0-9])(?:cm|mm|km|kg)$", ""),
        (r"(?<=[0-9}]) *(?:square|cubic|sq|cu)? *" + _LENGTH + r" *\^ *\{? *[23] *\}? *$", ""),
        (rf"(?<![A-Za-z0-9.\\])({_NUMERAL})[eE]\+?(-?[0-9]+)(?![A-Za-z0-9.])", r"\1\\times 10^{\2}"),
        (r"(?<=[0-9]) *[*xX] *(?=10 *(?:\^|\*\*))|(?<=[0-9]) *\\cdot *(?=10 *\^)", r"\\times "),
    ]
]
_WRAPPER = re.compile(
    r"\\(?:text(?:bf|it|rm|normal|sf|tt)?|math(?:bf|rm|it|sf)|mbox|bm|boldsymbol|operatorname|boxed|fbox) *(?=\{)"
)
_APPROXIMATELY = re.compile(r"\\(?:approx|simeq)(?![A-Za-z])")
_THOUSANDS = re.compile(r"(^|=)( *[-+]?[0-9]{1,3}(?:,[0-9]{3})+)(?=(?:\.[0-9]+)? *%? *$)")
_NO_SOLUTION = re.compile(r"(?:there(?:is|are))?no(?:real|integer)?solutions?|\\\{\\\}", re.IGNORECASE)
_ARGUMENTS = re.compile(r"\\(?:[cdt]?(frac)|(sqrt))(?![A-Za-z])")
_ARGUMENT = re.compile(r"\\(?!frac|sqrt)[A-Za-z]+|[0-9A-Za-z]")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_ARGUMENT_AHEAD = re.compile(r"(?:\\[A-Za-z]+\*?|[\^_}\]]) *$")
_SPACE_IN_WORD = re.compile(r"(?<![0-9]) (?=[0-9])|(?<=[0-9]) (?=[A-Za-z])|(?<=[A-Za-z]) (?=[A-Za-z])")
_ONE_CHARACTER = re.compile(r"([\^_])\{([0-9A-Za-z])\}")
_COMMAND_SPACE = re.compile(r"(\\[A-Za-z]+) (?=[A-Za-z])")
_SPLIT = re.compile(r"\\[{}]|\\[A-Za-z]+|[()\[\]{},;=]")


def tidy(answer: str) -> str:
    r"""The answer in plain LaTeX: no $, sizes, spacing, fonts, degree signs, currency, units or thousands separators.

    4.5e33 becomes 4.5\times 10^{33}; "and" and "or" become commas; matrices become pmatrix. A leading \approx goes, and
    so does everything from a later one on: 1/3 \approx 0.33 is 1/3 (but after a name, or between plain numbers far
    apart, 3 \approx 4, it reads as =).
    """
    if len(answer) > MAX_FORM:
        return answer
    text = " ".join(answer.replace("\0", " ").translate(_SYMBOLS).split())
    if "\\begin" not in text:
        text = text.replace("\\\\", "\\")
    text = text.rstrip("\\ ").replace("\\$", "").replace("$", "")
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text.strip().rstrip("."))
    if sign := _APPROXIMATELY.search(text):
        exact = text[: sign.start()].strip()
        rounded = text[sign.end() :].strip()
        text = f"{exact}={rounded}" if is_name(exact) or _contradicts(rounded, exact) else exact
    text = _drop_groups(_brace_arguments(_WRAPPER.sub("", text))).strip()
    return _THOUSANDS.sub(lambda number: number.group().replace(",", ""), text)


def _contradicts(rounded: str, exact: str) -> bool:
    """Whether both are plain numbers, further apart than 1% and one unit of the rounded one's last place.

    An exact form stands whatever its approximation: 1/3 \\approx 1.3 is 1/3.
    """
    near, number = parse_number(rounded), parse_number(exact.rpartition("=")[2])
    if near is None or number is None or "/" in exact or "frac" in exact:
        return False
    places = len(rounded.partition(".")[2])
    unit = Fraction(1, 10**places) if places else Fraction(1, 2)
    return abs(near - number) > max(unit, abs(number) / 100)


def normal_form(answer: str) -> str:
    r"""The form by which equal answers are grouped (duplicates, majority votes) and first compared. Idempotent.

    On top of `tidy`: \frac43, \dfrac{4}{3}, 4/3 and 8/6 are "4/3"; 0.50, .5, 1/2 and 5 \times 10^{-1} are "0.5"; 073
    is "73"; 28 percent is "28%" (and not 0.28). A name before = or \in is dropped (x=5, f(x)=5, x \in [1,2]); other
    equations keep both sides, in one order. Lists and sets are unordered: \{2, 1\}, "1 and 2" and x=1, x=2 are
    "1, 2"; \pm a stands for two items. Tuples and intervals keep their order and brackets. (C) is "C".
    Texts of more than MAX_FORM characters, and absurdly nested ones, come back stripped only.
    """
    text = answer.strip()
    if len(text) > MAX_FORM:
        return text
    form = text
    for _ in range(_MAX_ROUNDS):
        previous, form = form, _list_form(_compact(tidy(form)), 0)
        if form == previous:
            return form
    return text


def parse_number(text: str) -> Fraction | None:
    r"""The number that a tidied text is: 12, -0.5, 4.5\times10^{33}, 3/4, \frac{3}{4}, 1\frac{4}{5}; else None.

    None too for digits split by a space (3 4), and beyond _MAX_DIGITS digits or powers of ten: numbers stay cheap.
    """
    if SPLIT_DIGITS.search(text):
        return None
    text = text.replace(" ", "")
    if len(text) > _MAX_DIGITS or not (match := _NUMBER.fullmatch(text)):
        return None
    sign = -1 if match["sign"] == "-" else 1
    if match["power"] is not None:
        exponent = int(match["power"].strip("{}"))
        if abs(exponent) > _MAX_DIGITS:
            return None
        return sign * Fraction(match["mantissa"] or 1) * Fraction(10) ** exponent
    if match["numeral"] is not None:
        return sign * Fraction(match["numeral"])
    numerator, denominator = match["top"] or match["over"], match["bottom"] or match["under"]
    if Fraction(denominator) == 0:
        return None
    return sign * (Fraction(match["whole"] or 0) + Fraction(numerator) / Fraction(denominator))


SPLIT_DIGITS = re.compile(r"[0-9.] +[0-9.]")
_NUMBER = re.compile(
    rf"(?P<sign>[-+]?)(?:(?P<numeral>{_NUMERAL})"
    rf"|(?:(?P<mantissa>{_NUMERAL})\\times)?10\^(?P<power>\{{[-+]?[0-9]{{1,9}}\}}|[0-9])"
    rf"|(?P<whole>[0-9]*)\\[dtc]?frac\{{(?P<top>-?{_NUMERAL})\}}\{{(?P<bottom>-?{_NUMERAL})\}}"
    rf"|(?P<over>{_NUMERAL})/(?P<under>{_NUMERAL}))"
)


def _spell(value: Fraction) -> str:
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


def _drop_groups(text: str) -> str:
    """Without the braces that hold no argument: {5} is 5, {x}+1 is x+1."""
    kept: list[str] = []
    is_argument: list[bool] = []
    position = 0
    for brace in _BRACE.finditer(text):
        kept.append(text[position : brace.start()])
        position = brace.end()
        if brace.group() == "{":
            is_argument.append(bool(_ARGUMENT_AHEAD.search(text, max(0, brace.start() - 20), brace.start())))
        if brace.group() not in "{}" or not is_argument or is_argument[-1]:
            kept.append(brace.group())
        if brace.group() == "}" and is_argument:
            is_argument.pop()
    return "".join(kept) + text[position:]


def _compact(text: str) -> str:
    text = normalise_answer(text)
    text = _COMMAND_SPACE.sub(r"\1\0", text)
    text = _SPACE_IN_WORD.sub("", text).replace("\0", " ")
    text = _ONE_CHARACTER.sub(r"\1\2", text)
    return "\\emptyset" if _NO_SOLUTION.fullmatch(text) else text


def _brace_arguments(text: str) -> str:
    r"""\frac43, \frac{4}3, \dfrac 4 3 and \sqrt2 with every argument in braces."""
    for command in reversed(list(_ARGUMENTS.finditer(text))):
        arguments, rest = "", text[command.end() :]
        for _ in range(2 if command[1] else 1):
            rest = rest.lstrip(" ")
            if rest.startswith("{") and (end := closing_brace(rest, 1)) is not None:
                arguments, rest = arguments + rest[: end + 1], rest[end + 1 :]
            elif token := _ARGUMENT.match(rest):
                arguments, rest = arguments + "{" + token.group() + "}", rest[token.end() :]
            else:
                break
        text = text[: command.start()] + "\\" + (command[1] or command[2]) + arguments + rest
    return text


def split_outside(text: str, marks: str = ",;") -> list[str]:
    """The parts of a text between the marks that stand outside all brackets, empty ones left out."""
    items, depth, position = [], 0, 0
    for mark in _SPLIT.finditer(text):
        if mark.group() in ("(", "[", "{", "\\{"):
            depth += 1
        elif mark.group() in (")", "]", "}", "\\}"):
            depth -= 1
        elif mark.group() in marks and depth == 0:
            items.append(text[position : mark.start()])
            position = mark.end()
    return [item.strip() for item in [*items, text[position:]] if item.strip()]


def _list_form(text: str, depth: int) -> str:
    return ", ".join(sorted(_item_form(signed, depth) for item in split_outside(text) for signed in _both_signs(item)))


def _both_signs(item: str) -> list[str]:
    if item.count("\\pm") != 1 or "\\mp" in item:
        return [item]
    before, after = item.split("\\pm")
    if not after.strip():
        return [item]
    bare = not before or before.endswith(("=", "(", "{"))
    return [before + ("" if bare else "+") + after.strip(), before + "-" + after.strip()]


def _item_form(item: str, depth: int) -> str:
    if depth > _MAX_DEPTH or not item:
        return item
    if item.endswith("%") and (number := parse_number(item[:-1])) is not None:
        return _spell(number) + "%"
    if (number := parse_number(item)) is not None:
        return _spell(number)
    if item.startswith("\\{") and item.endswith("\\}") and _encloses(item, 2):
        return _list_form(item[2:-2], depth + 1)
    if item[0] in "([" and item[-1] in ")]" and len(item) > 2 and _encloses(item, 1):
        inner = split_outside(item[1:-1])
        if len(inner) > 1:
            return item[0] + ",".join(_item_form(part, depth + 1) for part in inner) + item[-1]
        if inner and item[0] == "(" and item[-1] == ")":
            return _item_form(inner[0], depth + 1)
    sides = drop_name(item)
    if sides == [item]:
        return item
    return "=".join(sorted({_item_form(side, depth + 1) for side in sides}))


def _encloses(text: str, width: int) -> bool:
    """Whether the bracket that opens the text closes at its end."""
    depth = 0
    for mark in _SPLIT.finditer(text):
        if mark.group() in ("(", "[", "{", "\\{"):
            depth += 1
        elif mark.group() in (")", "]", "}", "\\}"):
            depth -= 1
            if depth == 0:
                return mark.end() == len(text)
    return False


_NAME_TAIL = re.compile(r"_(?:[0-9A-Za-z]|\\[A-Za-z]+|\{[^{}]*\})|(?<=[A-Za-z}])\([^()=]*\)|'|\^\{?\\prime\}?")
_NAME = re.compile(
    r"(?:\\(?!frac|sqrt|pi(?![A-Za-z])|times|infty|pm|mp|cup|cap|int|sum|binom|leq|geq|neq)[A-Za-z]+|[A-Za-z |(),:])+"
)


def is_name(text: str) -> bool:
    r"""Whether a text only names a quantity: x, a_{n}, f(x), |AB|, V_1:V_2, (p,q), \angle ABC; no digit, no operator."""
    return len(text) <= 60 and bool(_NAME.fullmatch(_NAME_TAIL.sub("", text)))


def drop_name(item: str) -> list[str]:
    r"""The sides of an equation, without a name that leads it: x=5 is [5], x \in A is [A], 1=2=3 is [1, 2, 3].

    MR=SRMC, where a word equals a word, stays an equation.
    """
    name, member, rest = item.partition("\\in")
    if member and not rest[:1].isalpha() and is_name(name):
        return [rest.strip()]
    sides = split_outside(item, "=")
    words = all(side.isalpha() and len(side) > 1 for side in sides)
    return (sides[1:] if len(sides) > 1 and is_name(sides[0]) and not words else sides) or [item]
