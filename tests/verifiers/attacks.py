r"""Answers that a policy could try in place of an answer, made for any gold from the templates of attacks.txt.

attacks.txt is written as variants.txt is, without = lines: the gold is given. Every label is "incorrect". A template's
expressions know the draw of `variants.draw`, and of the gold:

    G       its text, without $             number  whether it is a plain number, not 0, 1 or -1
    v       its value, where it is a number  whole   whether it is such a number, and written as an integer
    W       another integer, far from v, whose digits G does not hold
"""

import json
import random
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import variants
from variants import BOXES, HERE, Line, Variant, draw, fill, read_lines

BENCHMARKS = ("aime24", "aime25", "amc23", "gsm8k", "math500", "minerva", "olympiadbench")
CYRILLIC = str.maketrans("acehopxyABCEHKMOPTX", "асеһорхуАВСЕНКМОРТХ")
GREEK = str.maketrans("apvwxyn", "αρνωχγη")
NOT_DIGITS = str.maketrans("0136", "OlЗб")
_NUMBER = re.compile(r"-?(?:\d+(?:\.\d+)?|\\[dt]?frac\{(\d+)\}\{(\d+)\})")
_OPTION = re.compile(r"(?:\\text *\{)? *\(?[A-J]\)? *\}?")
_ALONE = re.compile(r"(?<![A-Za-z\\])[A-Za-z0-9](?![A-Za-z])|[0-9]")


def golds(folder: Path) -> list[str]:
    """The benchmarks' gold answers, each once, without the options of a choice: B also takes B with its content."""
    found = []
    for name in BENCHMARKS:
        rows = (json.loads(row) for row in (folder / f"{name}.jsonl").read_text("utf-8").splitlines())
        found += [row.get("answer_latex") or row["answer"] for row in rows]
    return [gold for gold in dict.fromkeys(found) if not _OPTION.fullmatch(gold)]


def value(gold: str) -> Fraction | None:
    """The value of a plain number, None for 0, 1, -1 and anything else."""
    found = _NUMBER.fullmatch(gold)
    if found is None:
        return None
    number = Fraction(gold) if found[1] is None else Fraction(int(found[1]), int(found[2])) * (-1) ** (gold[0] == "-")
    return None if abs(number) in (0, 1) else number


def about(number: Fraction, digits: int) -> str:
    """The number rounded to significant digits, or "?" where that is (almost) the number itself."""
    rounded = f"{float(number):.{digits}g}"
    return rounded if abs(Fraction(rounded) - number) > abs(number) / 500 else "?"


def twin(text: str, letters: dict[int, int]) -> str:
    """The text with the digits, and letters that are no part of a word or command, replaced by look-alikes."""
    return _ALONE.sub(lambda found: found[0].translate(letters), text)


KNOWN = variants.FUNCTIONS | {
    "about": about,
    "twin": twin,
    "CYRILLIC": CYRILLIC,
    "GREEK": GREEK,
    "NOT_DIGITS": NOT_DIGITS,
}


def names_for(gold: str, source: random.Random) -> dict[str, Any]:
    """What a template's expressions may read (see the module)."""
    text = gold.replace("$", "").strip()
    number = value(text)
    whole = number is not None and text.lstrip("-").isdigit()
    fresh = [w for w in (17, 23, 41, 59, 83, 97, 131, 277) if str(w) not in text]
    fresh = [w for w in fresh if number is None or abs(w - number) > abs(number) / 10 + 2]
    names = draw(source) | {"G": text, "v": int(number) if whole else number, "W": source.choice(fresh)}
    return names | KNOWN | {"number": number is not None, "whole": whole}


ATTACKS = read_lines(HERE / "attacks.txt")


def attack(line: Line, gold: str, source: random.Random) -> Variant | None:
    """The attack on a gold, None where the template does not fit it."""
    names = names_for(gold, source)
    if not eval(line.condition, {}, names):
        return None
    filled = fill(line.text, names)
    response = filled if line.label == "->" else source.choice(BOXES) % filled
    return Variant(line.kind, gold, response, False, line.missed)


def attacks(answers: list[str], source: random.Random, each: int) -> Iterator[Variant]:
    """Every template on `each` golds that it fits, or on all of these where there are fewer."""
    for line in ATTACKS:
        drawn = source.sample(answers, min(len(answers), 40 * each))
        made = (attack(line, gold, source) for gold in drawn)
        fitting = [variant for variant in made if variant is not None]
        yield from fitting[:each]
