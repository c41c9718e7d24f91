r"""Words, options, times and ratios."""

from fractions import Fraction

from simko.verifiers.maths.comparing.judges import Judge, Verdict3
from simko.verifiers.maths.nodes import number
from simko.verifiers.maths.reading.words import vocabulary
from simko.verifiers.maths.values import Clock, Listing, Option, Quantity, Text


def texts(gold: Text, answer: Text, judge: Judge) -> Verdict3:
    """Whether the words are the same; small words and "it is", "the function is" may lead in."""
    if gold.text == answer.text:
        return True
    one, other = gold.text.casefold(), answer.text.casefold()
    if one == other:
        return len(one) > 2 or one == "no"
    lead = other.removesuffix(" " + one).split() if other.endswith(" " + one) else []
    return bool(lead) and len(lead) <= 3 and set(lead) <= _LEAD_INS


_LEAD_INS = vocabulary(
    """
    it this is are on at limit series sequence integral function sum expression equation system answer value statement
    graph curve shape conic triangle figure locus day month name
    """
)


def letters_in_order(gold: Text, answer: Quantity, judge: Judge) -> Verdict3:
    r"""A word of plain letters as a product, in its order: a \cdot b for ab."""
    if gold.node is None or answer.unit:
        return False
    return [part.value for part in answer.node.walk() if part.head in ("name", "constant")] == [
        part.value for part in gold.node.walk() if part.head in ("name", "constant")
    ] and all(part.head in ("mul", "name", "constant") for part in answer.node.walk())


def product_of_letters(gold: Quantity, answer: Text, judge: Judge) -> Verdict3:
    """A word of plain letters read as a product: ab for a times b."""
    return False if answer.node is None or gold.unit else judge.equal(gold.node, answer.node)


def options_as_word(gold: Listing, answer: Text, judge: Judge) -> Verdict3:
    """Several options as one word: AC for A and C."""
    chosen = [item.letter for item in gold.items if isinstance(item, Option)]
    return len(chosen) == len(gold.items) > 1 and "".join(sorted(chosen)) == answer.text


def several_options(gold: Text, answer: Listing, judge: Judge) -> Verdict3:
    """A and C for the word AC."""
    return options_as_word(answer, gold, judge)


def options(gold: Option, answer: Option, judge: Judge) -> Verdict3:
    """The same letter; the contents too, where both give one."""
    if gold.letter != answer.letter:
        return False
    if gold.content is None or answer.content is None:
        return True
    return judge.same(gold.content, answer.content)


def option_letter(gold: Option, answer: Quantity, judge: Judge) -> Verdict3:
    """The letter alone, up to E also as a small one; or the option's content."""
    if answer.node.head in ("name", "constant") and str(answer.node.value) in (
        gold.letter,
        gold.letter.lower() if gold.letter <= "E" else "",
    ):
        return True
    return False if gold.content is None else judge.same(gold.content, answer)


def clocks(gold: Clock, answer: Clock, judge: Judge) -> Verdict3:
    """Times of day, to the second; a half may be left out. Ratios, where no part but the first has two digits."""
    one, other = [[int(part) for part in clock.parts] for clock in (gold, answer)]
    if gold.half or answer.half:
        seconds = [_seconds(clock) for clock in (gold, answer)]
        halves = {gold.half, answer.half} - {""}
        if len(halves) == 1 and "" in (gold.half, answer.half) and one == other:
            return True
        return seconds[0] == seconds[1] and None not in seconds
    if any(len(part) == 2 for part in gold.parts[1:]) or len(one) != len(other):
        return one == other
    return (
        all(left * other[0] == right * one[0] for left, right in zip(one, other, strict=True))
        and one[0] * other[0] != 0
    )


def _seconds(clock: Clock) -> int | None:
    hours, *rest = [int(part) for part in clock.parts]
    if clock.half and not 1 <= hours <= 12:
        return None
    hours = hours % 12 + 12 * (clock.half == "pm") if clock.half else hours
    return 3600 * hours + 60 * rest[0] + (rest[1] if len(rest) > 1 else 0)


def ratio(gold: Quantity, answer: Clock, judge: Judge) -> Verdict3:
    """3:2 for 3/2; not 12:05, a time."""
    if (
        len(answer.parts) != 2
        or answer.half
        or not int(answer.parts[1])
        or any(part[0] == "0" for part in answer.parts)
    ):
        return False
    return judge.same(gold, Quantity(number(Fraction(int(answer.parts[0]), int(answer.parts[1])))))


def as_ratio(gold: Clock, answer: Quantity, judge: Judge) -> Verdict3:
    """3/2 for 3:2."""
    if len(gold.parts) != 2 or gold.half or not int(gold.parts[1]) or any(len(part) == 2 for part in gold.parts[1:]):
        return False
    return judge.same(Quantity(number(Fraction(int(gold.parts[0]), int(gold.parts[1])))), answer)
