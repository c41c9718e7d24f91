"""Instructions that a program can check, by the names and arguments of IFEval (arXiv 2311.07911), strict mode.

The packages that carry IFEval's own checkers download NLTK's models on import or pull in whole evaluation harnesses,
and some of their patterns take quadratic time; so the table is here. Three checks differ from them: sentences are split
by the rule below instead of NLTK's punkt, words in capitals are words of letters, digits, ' and -, and english_capital
and english_lowercase look at the case alone. Keywords are texts, not patterns.
"""

import importlib.util
import json
import os
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from simko.records import Problem, Verdict
from simko.verifiers.direct import Direct, Judge

Arguments = Mapping[str, Any]

_RELATIONS = {"less than": lambda count, bound: count < bound, "at least": lambda count, bound: count >= bound}
_SENTENCE_END = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’)\]*_]*+(?=\s|\Z)")
_ABBREVIATION = re.compile(r"(?:\b(?:mr|mrs|ms|dr|prof|st|jr|sr|vs|etc|e\.g|i\.e|inc|ltd|fig)|(?-i:\b[A-Z]))\Z", re.I)
# Thai, Lao, Burmese, Khmer, kana, Chinese characters, Hangul
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]"
)
_ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_JSON_FENCES = ("```json", "```Json", "```JSON", "```")


@Direct
def verify_instructions(problem: Problem) -> Judge:
    """Whether a response keeps every instruction in problem.metadata["instruction_id_list"], with ["kwargs"] beside it.

    "unparsed": an empty response; `extracted` names the instructions that are broken, or says "all kept". Arguments
    that are None count as absent. Raises ValueError, naming the problem, for an unknown instruction, an argument that
    lacks or is of the wrong kind (see `ARGUMENTS`), or an instruction whose package is not installed.
    """
    instructions = _instructions(problem)

    def judge(response: str) -> Verdict:
        if not response.strip():
            return Verdict("unparsed")
        broken = [name for name, arguments in instructions if not CONSTRAINTS[name](response, arguments)]
        return Verdict("wrong" if broken else "correct", f"broken: {', '.join(broken)}" if broken else "all kept")

    return judge


def _instructions(problem: Problem) -> list[tuple[str, Arguments]]:
    """(name, arguments) of each of a problem's instructions."""
    names, arguments = problem.metadata.get("instruction_id_list"), problem.metadata.get("kwargs")
    if not isinstance(names, list) or not isinstance(arguments, list) or not 0 < len(names) == len(arguments):
        raise ValueError(
            f"problem {problem.id!r}: its metadata needs instruction_id_list and kwargs, two lists of one length above 0"
        )
    for name, given in zip(names, arguments, strict=True):
        if name not in CONSTRAINTS:
            raise ValueError(
                f"problem {problem.id!r}: no instruction is called {name!r}; known: {', '.join(CONSTRAINTS)}"
            )
        if given is not None and not isinstance(given, Mapping):
            raise ValueError(f"problem {problem.id!r}: the kwargs of {name} must be an object, not {given!r}")
        if name == "language:response_language" and importlib.util.find_spec("langdetect") is None:
            raise ValueError(f"problem {problem.id!r}: {name} needs a package: pip install 'simko[instructions]'")
    kept = [{key: value for key, value in (given or {}).items() if value is not None} for given in arguments]
    for name, given in zip(names, kept, strict=True):
        _check_arguments(name, given, problem)
    return list(zip(names, kept, strict=True))


def _check_arguments(name: str, arguments: Arguments, problem: Problem) -> None:
    """ValueError, naming the problem, for an argument that an instruction needs and does not have, or cannot use."""
    for argument, kind in ARGUMENTS.get(name, {}).items():
        if argument not in arguments:
            raise ValueError(f"problem {problem.id!r}: {name} lacks the argument {argument!r}")
        if not _KINDS[kind](arguments[argument]):
            raise ValueError(
                f"problem {problem.id!r}: the argument {argument!r} of {name} must be {kind}, not {arguments[argument]!r:.80}"
            )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53 and value == int(value)


def _is_language(value: object) -> bool:
    from langdetect.detector_factory import PROFILES_DIRECTORY

    return value in os.listdir(PROFILES_DIRECTORY)


_TEXT, _NUMBER, _RELATION = "a text that is not empty", "a whole number", '"less than" or "at least"'
_TEXTS, _LANGUAGE = "a list of texts that are not empty", "a language's code that langdetect knows, such as de or zh-cn"
_KINDS: dict[str, Callable[[object], bool]] = {
    _TEXT: _is_text,
    _NUMBER: _is_number,
    _RELATION: lambda value: isinstance(value, str) and value in _RELATIONS,
    _TEXTS: lambda value: isinstance(value, list) and bool(value) and all(map(_is_text, value)),
    _LANGUAGE: _is_language,
}
ARGUMENTS: dict[str, Mapping[str, str]] = {
    "keywords:existence": {"keywords": _TEXTS},
    "keywords:frequency": {"keyword": _TEXT, "relation": _RELATION, "frequency": _NUMBER},
    "keywords:forbidden_words": {"forbidden_words": _TEXTS},
    "keywords:letter_frequency": {"letter": _TEXT, "let_relation": _RELATION, "let_frequency": _NUMBER},
    "language:response_language": {"language": _LANGUAGE},
    "length_constraints:number_sentences": {"relation": _RELATION, "num_sentences": _NUMBER},
    "length_constraints:number_paragraphs": {"num_paragraphs": _NUMBER},
    "length_constraints:number_words": {"relation": _RELATION, "num_words": _NUMBER},
    "length_constraints:nth_paragraph_first_word": {
        "num_paragraphs": _NUMBER,
        "nth_paragraph": _NUMBER,
        "first_word": _TEXT,
    },
    "detectable_content:number_placeholders": {"num_placeholders": _NUMBER},
    "detectable_content:postscript": {"postscript_marker": _TEXT},
    "detectable_format:number_bullet_lists": {"num_bullets": _NUMBER},
    "detectable_format:number_highlighted_sections": {"num_highlights": _NUMBER},
    "detectable_format:multiple_sections": {"section_spliter": _TEXT, "num_sections": _NUMBER},
    "combination:repeat_prompt": {"prompt_to_repeat": _TEXT},
    "startend:end_checker": {"end_phrase": _TEXT},
    "change_case:capital_word_frequency": {"capital_relation": _RELATION, "capital_frequency": _NUMBER},
}
"""{instruction: {each argument that it needs: its kind, in words}}."""


# -- instructions that take more than a line: (text, arguments) -> kept? -----------------------------------------------


def _related(count: int, relation: str, bound: int) -> bool:
    return bool(_RELATIONS[relation](count, bound))


def _has_word(text: str, word: str) -> bool:
    """Whether the text has the word and not only as a part of a longer one, whatever the case."""
    word = word.strip()
    starts = [found.start() for found in re.finditer(f"(?={re.escape(word)})", text, re.IGNORECASE)] if word else []
    return any(
        not _joined(text[max(start - 1, 0) : start], word[0])
        and not _joined(word[-1], text[start + len(word) : start + len(word) + 1])
        for start in starts
    )


def _joined(left: str, right: str) -> bool:
    """Whether two characters stand in one word: letters, digits, marks or _ of a script that separates words.

    A sign as in C++ or .NET belongs to no word, and Chinese, Japanese, Thai and Korean particles follow without a space.
    """
    return all(
        character == "_" or (unicodedata.category(character)[0] in "LMN" and not _UNSPACED.match(character))
        for character in (left or " ", right or " ")
    )


def response_language(text: str, arguments: Arguments) -> bool:
    """langdetect, seeded, takes the text for language (a code such as "de"); text without any features passes."""
    from langdetect import DetectorFactory, LangDetectException, detect

    DetectorFactory.seed = 0
    try:
        return bool(detect(text) == arguments["language"])
    except LangDetectException:
        return True


def count_sentences(text: str) -> int:
    """Pieces with a letter or digit between runs of . ! ? … that stand before white space or the end.

    A single full stop after an initial or a common abbreviation ends nothing.
    """
    count, start, last = 0, 0, len(text.rstrip())
    for end in _SENTENCE_END.finditer(text):
        before = text[max(start, end.start() - 8) : end.start()]
        if end.group() == "." and _ABBREVIATION.search(before) and end.end() < last:
            continue
        count += any(map(str.isalnum, text[start : end.start()]))
        start = end.end()
    return count + any(map(str.isalnum, text[start:]))


def number_paragraphs(text: str, arguments: Arguments) -> bool:
    """Exactly num_paragraphs paragraphs, separated by ***; none between two separators is empty."""
    paragraphs = [part.strip() for part in text.split("***")]
    inner = paragraphs[1:-1]
    return all(inner) and sum(map(bool, paragraphs)) == arguments["num_paragraphs"]


def nth_paragraph_first_word(text: str, arguments: Arguments) -> bool:
    """Exactly num_paragraphs paragraphs between empty lines; number nth_paragraph (1-based) starts with first_word."""
    paragraphs = text.split("\n\n")
    count, nth = sum(bool(part.strip()) for part in paragraphs), arguments["nth_paragraph"]
    if not 1 <= nth <= count or not paragraphs[nth - 1].strip():
        return False
    word = paragraphs[nth - 1].split()[0].lstrip("'").lstrip('"')
    first = re.split(r"[.,?!'\"]", word, maxsplit=1)[0].lower()
    return count == arguments["num_paragraphs"] and first == arguments["first_word"].lower()


def number_placeholders(text: str, arguments: Arguments) -> bool:
    """At least num_placeholders times square brackets with something or nothing in them, on one line."""
    count = 0
    for line in text.split("\n"):
        end = 0
        while (start := line.find("[", end)) >= 0 and (end := line.find("]", start)) >= 0:
            count += 1
    return count >= int(arguments["num_placeholders"])


def postscript(text: str, arguments: Arguments) -> bool:
    """A postscript marked by postscript_marker: "P.S.", "P.P.S" (white space between the letters allowed) or a text."""
    marker = arguments["postscript_marker"]
    pattern = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}.get(marker, re.escape(marker.lower()))
    return re.search(pattern, text.lower()) is not None


def number_bullet_lists(text: str, arguments: Arguments) -> bool:
    """Exactly num_bullets lines that start with * (not **) or -."""
    lines = [line.strip() for line in text.split("\n")]
    bullets = sum(line.startswith("-") or (line.startswith("*") and line[1:2] != "*") for line in lines)
    return bullets == arguments["num_bullets"]


def number_highlighted_sections(text: str, arguments: Arguments) -> bool:
    """At least num_highlights parts in *single* or **double** stars on one line (a double one counts once)."""
    single = [part for part in re.findall(r"\*[^\n*]*\*", text) if part.strip("*").strip()]
    double = [part for part in re.findall(r"\*\*[^\n*]*\*\*", text) if part[2:-2].strip()]
    return len(single) + len(double) >= int(arguments["num_highlights"])


def multiple_sections(text: str, arguments: Arguments) -> bool:
    """At least num_sections times section_spliter and a number, as in "Section 2"."""
    pattern = re.escape(arguments["section_spliter"].strip()) + r"\s?\d+"
    return len(re.findall(pattern, text)) >= int(arguments["num_sections"])


def json_format(text: str, arguments: Arguments) -> bool:
    """The whole text, perhaps inside one fence, is JSON."""
    body = text.strip()
    for fence in _JSON_FENCES:
        body = body.removeprefix(fence)
    try:
        json.loads(body.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def title(text: str, arguments: Arguments) -> bool:
    """A title in <<double angle brackets>> on one line."""
    for line in text.split("\n"):
        start, end = line.find("<<"), line.rfind(">>")
        if 0 <= start < end and line[start:end].strip("<> \t\r"):
            return True
    return False


def two_responses(text: str, arguments: Arguments) -> bool:
    """Two different responses with six stars between them."""
    parts = [part.strip() for part in text.split("******")]
    given = [part for part in parts if part]
    return all(parts[1:-1]) and len(given) == 2 and given[0] != given[1]


def capital_word_frequency(text: str, arguments: Arguments) -> bool:
    """ "less than" or "at least" capital_frequency words all in capitals."""
    count = sum(word.isupper() for word in re.findall(r"\w[\w'-]*", text))
    return _related(count, arguments["capital_relation"], arguments["capital_frequency"])


def quotation(text: str, arguments: Arguments) -> bool:
    """The whole text stands in double quotation marks."""
    body = text.strip()
    return len(body) > 1 and body[0] == body[-1] == '"'


CONSTRAINTS: dict[str, Callable[[str, Arguments], bool]] = {
    # in any case, also inside a word
    "keywords:existence": lambda text, a: all(keyword.lower() in text.lower() for keyword in a["keywords"]),
    "keywords:frequency": lambda text, a: _related(
        text.lower().count(a["keyword"].strip().lower()), a["relation"], a["frequency"]
    ),
    # as a whole word, in any case
    "keywords:forbidden_words": lambda text, a: not any(_has_word(text, word) for word in a["forbidden_words"]),
    "keywords:letter_frequency": lambda text, a: _related(
        text.lower().count(a["letter"].lower()), a["let_relation"], a["let_frequency"]
    ),
    "language:response_language": response_language,
    "length_constraints:number_sentences": lambda text, a: _related(
        count_sentences(text), a["relation"], a["num_sentences"]
    ),
    "length_constraints:number_paragraphs": number_paragraphs,
    "length_constraints:number_words": lambda text, a: _related(
        len(re.findall(r"\w+", text)), a["relation"], a["num_words"]
    ),
    "length_constraints:nth_paragraph_first_word": nth_paragraph_first_word,
    "detectable_content:number_placeholders": number_placeholders,
    "detectable_content:postscript": postscript,
    "detectable_format:number_bullet_lists": number_bullet_lists,
    "detectable_format:constrained_response": lambda text, a: any(answer in text for answer in _ANSWERS),
    "detectable_format:number_highlighted_sections": number_highlighted_sections,
    "detectable_format:multiple_sections": multiple_sections,
    "detectable_format:json_format": json_format,
    "detectable_format:title": title,
    "combination:two_responses": two_responses,
    # at the start, at the end, in any case
    "combination:repeat_prompt": lambda text, a: text.strip().lower().startswith(a["prompt_to_repeat"].strip().lower()),
    "startend:end_checker": lambda text, a: text.strip().strip('"').lower().endswith(a["end_phrase"].strip().lower()),
    "startend:quotation": quotation,
    "change_case:capital_word_frequency": capital_word_frequency,
    # a letter of that case, and none of the other
    "change_case:english_capital": lambda text, a: text.isupper(),
    "change_case:english_lowercase": lambda text, a: text.islower(),
    "punctuation:no_comma": lambda text, a: "," not in text,
}
"""{instruction: (text, its arguments) -> whether it is kept}, each in time linear in the length of the text. A relation is
"less than" or "at least"."""
