"""Units behind numbers: which tokens are one, and what one unit is in another (by pint)."""

import functools
import math
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from simko.verifiers.maths.reading.latex import Token
from simko.verifiers.maths.reading.words import is_noun, vocabulary
from simko.verifiers.maths.values import Unit

CURRENCIES = {"$": "USD", r"\euro": "EUR", r"\pounds": "GBP", r"\yen": "JPY", r"\rupee": "INR", "USD": "USD", "EUR": "EUR", "GBP": "GBP", "Rs": "INR", r"\cent": "cent", "¢": "cent"}  # fmt: skip
_SYMBOLS = vocabulary(
    """
    m cm mm km nm um μm dm pm fm in ft yd mi g kg mg μg ug lb lbs oz t s ms ns μs us min h hr hrs d yr Hz kHz
    MHz GHz J kJ MJ N kN W kW MW V kV mV A mA K C F L l mL ml dL cL mol mmol M Pa kPa MPa hPa atm bar eV keV MeV
    GeV T G rad deg sr cal kcal mph kph kmh rpm ha sq AU pc Mpc kpc ly Å Ω ohm dB B GB MB KB kB bit sec secs
    mins amu u Da erg dyn cc cu gal qt pt psi Wh kWh
    """
)  # fmt: skip
_UPRIGHT = _SYMBOLS - {"d", "u", "e", "i", "t", "M", "B", "G", "l"}
_PER = vocabulary("per / each")
_SQUARE = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_POWERS = {"squared": 2, "cubed": 3}
_SIUNITX = re.compile(r"\\(?:k?ilo|centi|milli|micro|nano|mega|giga|deci)?(?:k?met(?:er|re)|gram|second|minute|hour|newton|joule|watt|volt|ampere|kelvin|mole?|pascal|hertz|ohm|lit(?:er|re)|candela|coulomb)")  # fmt: skip
_SAME = {
    "meters": "meter", "metre": "meter", "metres": "meter", "inches": "inch", "feet": "foot", "hrs": "hour", "hr": "hour", "h": "hour", "mins": "minute", "min": "minute",
    "sec": "second", "secs": "second", "s": "second", "kph": "kmh", "lbs": "lb", "square": "", "people": "person", "persons": "person", "men": "man",
    "dollar": "USD", "dollars": "USD", "usd": "USD", "bucks": "USD", "cents": "cent", "euros": "EUR", "euro": "EUR", "pence": "penny", "pennies": "penny", "children": "child",
    "°": "degree", "deg": "degree", "degrees": "degree", "radians": "radian", "rad": "radian", r"\Omega": "ohm", "Ω": "ohm", "Å": "angstrom", "mph": "mile_per_hour",
    "m": "meter", "in": "inch", "ft": "foot", "C": "coulomb", "years": "year", "yr": "year", "yrs": "year", "days": "day", "K": "kelvin", "L": "liter", "l": "liter",
}  # fmt: skip
_FILLERS = vocabulary("of the a an in for is - . ~ *")
_MICRO = vocabulary("μm μg μs μF μC μL μA μV μN μJ μW μH")


def read_unit(tokens: Sequence[Token]) -> Unit | None:
    """The unit that the tokens are; None if they are none. Any noun counts things; a short symbol must be known."""
    parts: list[tuple[str, int]] = []
    sign, ahead, at = 1, 1, 0
    tokens = _flat(tokens)
    texts = [token.text for token in tokens] + ["", "", ""]
    while at < len(tokens):
        token, text, low = tokens[at], texts[at], texts[at].casefold()
        at += 1
        if low in _PER or (low in _FILLERS and not (low == "in" and not parts and texts[at] in ("", "^"))):
            sign = -1 if low in _PER else sign
            continue
        if low in _SQUARE and texts[at]:
            ahead = _SQUARE[low]
            continue
        if text in (r"\degree", r"\circ"):
            scale = texts[at][:1] if texts[at] in ("C", "F", "K", "Celsius", "Fahrenheit") else ""
            text, at = "degree" + scale, at + bool(scale)
        elif text == r"\mu" and "μ" + texts[at] in _MICRO:
            text, at = "μ" + texts[at], at + 1
        elif not _stands(token, len(tokens)):
            return None
        power = _POWERS.get(texts[at].casefold(), 1)
        at += power > 1
        if texts[at] == "^":
            number = texts[at + 1] + texts[at + 2] if texts[at + 1] == "-" else texts[at + 1]
            if not re.fullmatch("-?[0-9]", number):
                return None
            power, at = int(number), at + 1 + len(number)
        parts.append((text, power * ahead * sign))
        ahead = 1
    return tuple(parts) or None


def _flat(tokens: Sequence[Token]) -> list[Token]:
    r"""Without brackets, and with \frac{a}{b} as a/b."""
    found: list[Token] = []
    fraction = any(token.text == r"\frac" for token in tokens)
    for place, token in enumerate(tokens):
        if fraction and token.text == "}" and [after.text for after in tokens[place + 1 : place + 2]] == ["{"]:
            found.append(Token("op", "/"))
        elif token.text not in ("{", "}", "(", ")", ".", r"\frac"):
            found.append(token)
    return found


def _stands(token: Token, count: int) -> bool:
    """Whether a token can be a unit's name; a plain single letter can within a compound unit, as in m/s."""
    text = token.text
    if token.kind == "word":
        if len(text) == 1 and text.isascii() and text.isalpha():
            return text in _UPRIGHT
        return text in CURRENCIES or text in ("Å", "Ω") or (text[0].isalpha() and is_noun(text))
    if token.kind == "letters":
        if text in _SYMBOLS:
            return len(text) > 1 or count > 2
        return (
            token.gap
            and len(text) > 2
            and bool(re.search("[aeiouy]", text.lower()))
            and is_noun(text)
            and text not in _FUNCTIONS
        )
    if token.kind == "macro":
        return text == r"\Omega" or text in CURRENCIES or bool(_SIUNITX.fullmatch(text))
    return False


_FUNCTIONS = vocabulary(
    """
    sin cos tan cot sec csc log exp sqrt max min gcd lcm det arcsin arccos arctan sinh cosh tanh lim sum prod
    int deg dim mod and pi inf
    """
)


def canonical(unit: Unit) -> Unit:
    """The unit with each name in one spelling, in one order."""
    powers: dict[str, int] = {}
    for text, power in unit:
        name = CURRENCIES.get(text) or _SAME.get(text) or _SAME.get(text.casefold()) or text
        if len(name) > 3 and name.casefold().endswith("s") and not name.casefold().endswith("ss"):
            name = name[:-1]
        if len(name) > 3:
            name = name if name in CURRENCIES.values() or name.startswith("degree") else name.casefold()
        powers[name] = powers.get(name, 0) + power
    return tuple(sorted((name, power) for name, power in powers.items() if power))


def is_money(unit: Unit) -> bool:
    """Whether the unit is a currency, or so much of one per something."""
    return canonical(unit)[0][0] in {*CURRENCIES.values(), "penny"} or canonical(unit)[-1][0] in CURRENCIES.values()


def conversion(answer: Unit, gold: Unit) -> Fraction | None:
    """How many of the gold's unit one of the answer's is; None where the one is none of the other."""
    one, other = canonical(answer), canonical(gold)
    if one == other:
        return Fraction(1)
    plain = [unit for unit in (one, other) if all(name in ("unit", "degree") for name, _ in unit)]
    if len(plain) == 1 and all(name == "unit" for name, _ in plain[0]):
        return Fraction(1)  # "5 units" for 5 cm: no unit is claimed
    return _by_pint(one, other)


@functools.cache
def _registry() -> Any:
    import pint

    registry: Any = pint.UnitRegistry(non_int_type=Fraction)
    for line in ("USD = [currency]", "cent = USD / 100", "penny = USD / 100", "nickel = USD / 20", "dime = USD / 10"):
        registry.define(line)
    return registry


@functools.lru_cache(maxsize=4096)
def _by_pint(answer: Unit, gold: Unit) -> Fraction | None:
    registry = _registry()
    if any(
        name not in registry or abs(power) > 12 or not name.replace("_", "").isalpha()
        for name, power in (*answer, *gold)
    ):
        return None
    try:
        one, other = (
            math.prod(
                (registry.Quantity(Fraction(1), name) ** power for name, power in unit),
                start=registry.Quantity(Fraction(1)),
            )
            for unit in (answer, gold)
        )
        return Fraction(one.to(other.units).magnitude).limit_denominator(10**12)
    except Exception:  # pint's own kinds: other dimensions, temperatures with an offset
        return None
