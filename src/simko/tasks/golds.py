r"""Gold answers in files: what is one, and what would make every right answer incorrect without a word.

A verifier that compares answers needs the answer alone. A worked solution that marks its answer, by "####" as in GSM8K or by
\boxed{}, is read; prose, and text whose LaTeX was taken for JSON escapes, is refused.
"""

import re
from html import unescape

from simko.verifiers.extract import MAX_ANSWER, find_answer
from simko.verifiers.maths.reading.words import vocabulary
from simko.verifiers.parts import final_part

COMPARING = ("math", "last_box", "last_integer", "exact", "choice")
"""The verifiers to which a gold is the answer alone."""
_MATHEMATICAL = ("math", "last_box")

_MARK = re.compile(r"(?<!#)#{4}(?!#)")
_HEADING = re.compile(r"\s*#{1,6}\s")
_NAME = "[A-Za-z][A-Za-z0-9]*"
_MARKUP = re.compile(
    rf"</{_NAME}>|<{_NAME}\s*/>|<{_NAME}\s+[a-z]+=[^<>]*>|<[A-Za-z]{{2}}[A-Za-z0-9]*>|&(?:[A-Za-z]+|#x?[0-9A-Fa-f]+);"
)
"""What HTML writes. <y> alone may be an inequality's."""
_MISSING = ("nan", "nat", "none", "null", "n/a", "na", "<na>")
"""How tables spell a cell without a value."""
_THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
_QUOTED_LIST = re.compile(r"""\s*[\[{(]\s*(['"]).*\1\s*,?\s*[\])}]\s*""", re.DOTALL)


def read_gold(text: str, verifier: str | None) -> str:
    r"""The gold answer in a cell's text: what follows "####" or stands in \boxed{}, or all of it.

    verifier: a name of simko's; others, and None, take the text as it is. ValueError, with the reason, for a text that holds no
    answer alone.
    """
    alone = verifier in COMPARING and _MARK.search(text) is None
    if (reason := eaten_latex(text, answer=alone)) is not None:
        raise ValueError(f"{text!r:.80} {reason}")
    if verifier not in COMPARING:
        return text
    if (found := (_CONTROL if verifier == "math" else _ESCAPED).search(text)) is not None:
        raise ValueError(f"{text!r:.80} holds the control character {found[0]!r}")
    gold = _marked(text)
    if verifier in _MATHEMATICAL and (reason := _no_answer(gold)) is not None:
        raise ValueError(
            f"{text!r:.80} is {reason}, where the verifier {verifier} needs the answer alone, or a solution that ends in "
            "#### and the answer"
        )
    return gold


def _marked(text: str) -> str:
    """What the text marks as its answer; the text itself if it marks nothing."""
    if marks := list(_MARK.finditer(text)):
        gold = text[marks[-1].end() :].strip()
        if not gold or "\n" in gold:
            raise ValueError(f"{text!r:.80} has no answer alone after its ####")
        return _THOUSANDS.sub("", gold)
    found = find_answer(text) if "box" in text else None
    return found.text if found is not None and found.rule == "box" else text


def _no_answer(gold: str) -> str | None:
    """What a gold is instead of an answer, in words; None if it may be one."""
    if _QUOTED_LIST.fullmatch(gold):
        return "a list of quoted texts"
    if final_part(gold) != gold:
        return "a text with a thought or a chat template's token"
    if gold.strip().casefold() in _MISSING:
        return "the mark of a missing value"
    if (found := _MARKUP.search(gold)) is not None and (found[0][0] == "<" or unescape(found[0]) != found[0]):
        return f"a text with HTML, {found[0]!r:.40},"
    if _HEADING.match(gold):
        return "a heading of Markdown"
    if len(gold) > MAX_ANSWER:
        return f"a text of {len(gold):,} characters, more than the {MAX_ANSWER:,} of the longest answer that is judged,"
    stated = find_answer(gold)
    if stated is not None and stated.rule not in ("box", "whole response"):
        return f"a text that states its answer, {stated.text!r:.40}"
    return "prose" if is_prose(gold) else None


# -- prose -------------------------------------------------------------------------------------------------------------

_WRAPPED = re.compile(r"\\(?:text[a-z]*|mbox|mathrm)\s*\{([^{}]*)\}")
_FORMULAS = re.compile(r"\\(?:begin|end)\s*\{[^{}]*\}|\\[A-Za-z]+|_\{[^{}]*\}")
_WORD = re.compile(r"(?<![A-Za-z0-9\\_^{}(])[A-Za-z]{2,}(?:['\u2019][a-z]+)?(?![A-Za-z0-9\\_^{}(])")
_TELLING = vocabulary(
    """
    we she he they it you her his their our my your therefore thus hence so because since means implies
    gets get got gives give gave giving takes take took makes make made needs need needed costs cost spends spend spent
    sells sell sold buys buy bought earns earn earned pays pay paid saves save saved eats eat ate loses lost uses used
    equals becomes remains runs ran walks walked drives drove works worked reads bakes baked collects collected
    adds adding subtract subtracting multiply multiplying dividing substituting solving simplifying using
    find found obtain compute calculate conclude know let's step altogether
    """
)
"""Words of one who tells how an answer was found. Beside a formula, none of them stands in an answer."""
_CONDITIONS = vocabulary(
    """
    if when where whenever otherwise all every any only such except unless for with iff which integer integers
    real positive negative prime primes odd even multiple multiples divisible increasing decreasing
    """
)
"""Words of answers that are told in words: for which numbers, where, what shape."""
_FUNCTION_WORDS = vocabulary("the a an of to in on at by and or is are was were has have had will would be as from")
_STATED = re.compile(
    r"\s*(?:the|our|my|its|this|that|her|his|there|a|an|in|final)\b[^.]*?"
    r"(?:\b(?:is|are|was|were|be|has|have|had)\s+(?:now\s+|then\s+|only\s+|exactly\s+|equal\s+to\s+)*"
    r"(?=[-+($\[{]*[0-9]|\$|\\|[A-Za-z]\s*=)|\b(?:result|solution|value|total|sum|number)\s*[:=])",
    re.IGNORECASE,
)
"""What states the value of something: "the total is 12", "there are 4 ways"."""
_HAS = re.compile(r"[A-Za-z]{2,}\s+(?:is|are|was|were|has|have|had)\s+[-+$]*[0-9]", re.IGNORECASE)
_LABELLED = re.compile(
    r"\A\s*(?:ans|result|solution|output|l\u00f6sung)\.?\s*:|(?:\A|[,.;])\s*(?:so|then|ergo)\s+[-$\\0-9(]"
    r"|\bis the (?:final |only |correct )*(?:answer|solution|result)\b",
    re.IGNORECASE,
)
"""What says that an answer comes, or was: "Result: 4", "so 4", "4 is the solution"."""
_SENTENCE = re.compile(r"\s*[A-Z][a-z]*['\u2019]?[a-z]* .*[.!]\s*", re.DOTALL)
_SOME, _LONG = 3, 8


def is_prose(text: str) -> bool:
    """Whether a text tells of an answer rather than being one, so that no answer can equal it.

    Words with units, options, conditions and the like are answers: "Tuesday", "5 apples per day", "n is odd or n = 2".
    """
    text = _WRAPPED.sub(r" \1 ", text)
    words = [word.casefold() for word in _WORD.findall(_FORMULAS.sub(" ", text))]
    told, conditions = _TELLING & set(words), _CONDITIONS & set(words)
    if re.search(r"[0-9=\\$]", text) is not None:
        if _LABELLED.search(text):
            return True
        if told and (len(words) > 1 or len(words[0]) > _SOME):
            return True
        if (stated := _STATED.match(text)) and not _CONDITIONS & set(stated[0].casefold().split()):
            return True
        if not conditions and (_HAS.search(text) or (len(words) >= _SOME and _SENTENCE.fullmatch(text))):
            return True
    function_words = sum(word in _FUNCTION_WORDS for word in words)
    lines = [line for line in text.splitlines() if _WORD.search(_FORMULAS.sub(" ", line))]
    return len(words) >= _LONG and function_words > 1 and (len(lines) > 1 or not conditions)


# -- LaTeX whose backslashes were read as escapes ------------------------------------------------------------------------

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_ESCAPED = re.compile(r"[\b\f]")
"""What stands in no text but through an escape. The strict match of other verifiers may want any other character."""
_COMMANDS = {
    "\a": "alpha approx angle arcsin arccos arctan arg ast",
    "\b": "beta bar binom boxed begin bf big bigl bigr bigcup bigcap bmod bullet because bot",
    "\f": "frac forall",
    "\n": "neq nabla notin nleq ngeq newline",
    "\r": "rho right rightarrow rceil",
    "\t": "theta times text textbf textit textrm tfrac triangle tilde tanh tbinom therefore",
    "\v": "vec varphi varepsilon vartheta vee vert vdots",
}
"""{a control character: the commands whose first letter an escape makes it}, where the rest is no word that may start a line."""
_SHORT_COMMANDS = {
    "\f": "fbox flat",
    "\n": "nu ne ni neg not nexists nmid nparallel",
    "\r": "rangle rfloor rvert rm",
    "\t": "tan tau to top",
}
"""Those with such a rest, which no answer has at the start of a line."""
_NAMES = {
    "\a": "a bell",
    "\b": "a backspace",
    "\f": "a form feed",
    "\n": "a line break",
    "\r": "a carriage return",
    "\t": "a tab",
    "\v": "a vertical tab",
}


def _eaten(*tables: dict[str, str]) -> re.Pattern[str]:
    commands = {control: " ".join(table.get(control, "") for table in tables).split() for control in _COMMANDS}
    rests = {control: "|".join(name[1:] for name in names) for control, names in commands.items()}
    return re.compile("|".join(f"{re.escape(control)}(?:{rest})(?![A-Za-z])" for control, rest in rests.items()))


_EATEN, _EATEN_OF_ANSWER = _eaten(_COMMANDS), _eaten(_COMMANDS, _SHORT_COMMANDS)


def eaten_latex(text: str, *, answer: bool = False) -> str | None:
    r"""Where a command's backslash was read as an escape (\f and "rac" for \frac), in words; None if nowhere.

    answer: whether the text is an answer alone, and no prose, whose lines may start with "an" without a \tan before it.
    """
    found = (_EATEN_OF_ANSWER if answer else _EATEN).search(text)
    if found is None:
        return None
    control, rest = found[0][0], found[0][1:]
    command = f"\\{_COMMANDS[control][0]}{rest}"
    return f"holds {_NAMES[control]} before {rest!r}: {command} was read as an escape; write \\{command} in JSON"
