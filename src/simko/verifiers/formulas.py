"""Whether a text is nothing but one line of mathematics: no prose, no list of candidates. In linear time."""

import re

_WRAPPED = re.compile(
    r"\$\$(?P<a>[^$]+)\$\$|\\\[(?P<b>(?:(?!\\\[|\\\]).)+)\\\]|\$(?P<c>[^$\n]+)\$|\\\((?P<d>(?:(?!\\\(|\\\)).)+)\\\)",
    re.DOTALL,
)


def unwrapped(text: str) -> str:
    """The text without the marks of one formula that it is."""
    text = text.strip()
    formula = _WRAPPED.fullmatch(text.rstrip(".。 "))
    return (formula[formula.lastgroup or 0] if formula else text).strip()


_MATHS_WORD = re.compile(
    r"(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?|log|ln|lg|exp|sqrt|max|min|gcd|lcm|mod|pi|inf(?:inity|ty)?|[ap]\.?m\.?|deg"
)
_TEXT = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathbb|mathcal|operatorname|begin|end)\*?\s*\{([^{}]*)\}"
)
_MACRO = re.compile(r"\\[A-Za-z]+|\\.")
_RUN = re.compile(r"[^\W\d_]{2,}")
_SHORT_WORDS = {
    "or",
    "is",
    "if",
    "no",
    "so",
    "it",
    "to",
    "of",
    "an",
    "in",
    "at",
    "by",
    "we",
    "be",
    "as",
    "do",
    "he",
    "my",
    "on",
    "ok",
}
_LISTED = re.compile(r"\\(?:lor|vee|quad|qquad)(?![A-Za-z])|[;；、]|\d[ \t]+\d(?!\d*/\d)(?!\d\d(?:[ \t]\d{3})*(?!\d))")
_ITEM = re.compile(r"\d+[.)]\s|[-*•]\s")
_GROUPED = re.compile(r"(?<=\d),(?=\d{3}(?!\d))|\{,\}")


def is_maths(text: str) -> bool:
    """Whether the text is one line of mathematics: a formula or a number, no prose, no list of candidates."""
    text = text.strip().rstrip(".。").strip()
    inner = unwrapped(text)
    wrapped = inner != text
    if not inner or "$" in inner.replace("\\$", "") or (not wrapped and ("\n" in inner or _ITEM.match(inner))):
        return False
    if not (wrapped or re.search(r"\d|\\[A-Za-z]", inner)) or re.search(r"[?？!]\Z|[=:]\Z", inner):
        return False
    words = _RUN.findall(_MACRO.sub(" ", _TEXT.sub(lambda m: m[1] if " or" in m[0] or " and" in m[0] else " ", inner)))
    if any((len(word) > 2 or word.lower() in _SHORT_WORDS) and not _MATHS_WORD.fullmatch(word) for word in words):
        return False
    return not _LISTED.search(inner) and not _lists(_GROUPED.sub("", inner))


def _lists(text: str) -> bool:
    """Whether commas outside brackets separate anything but values of different names."""
    depth, start, parts = 0, 0, []
    for mark in re.finditer(r"\\.|[(\[{)\]}，,]", text):
        if mark.group() in ("(", "[", "{", "\\{"):
            depth += 1
        elif mark.group() in (")", "]", "}", "\\}"):
            depth -= 1
        elif mark.group() in ",，" and depth <= 0:
            parts.append(text[start : mark.start()])
            start = mark.end()
    parts.append(text[start:])
    names = [part.partition("=")[0].strip() for part in parts]
    return len(parts) > 1 and (not all("=" in part for part in parts) or len(set(names)) < len(names))
