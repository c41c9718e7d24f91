r"""Unicode to LaTeX: every character that is another spelling of a LaTeX one, by its class where Unicode knows it.

Digits, letters and punctuation of other widths and fonts become plain ones (NFKC), superscripts ^{...}, ½ a \frac, Greek
letters their macros, invisible characters nothing. Letters of other scripts stay themselves: a Cyrillic х is no Latin x.
"""

import re
import unicodedata

_MACROS = {
    **dict.fromkeys("×✕", r"\times"), "·": r"\cdot", "⋅": r"\cdot", "∙": r"\cdot", "÷": r"\div", "∕": "/", "⁄": "/", "∶": ":",
    "≤": r"\le", "≥": r"\ge", "⩽": r"\le", "⩾": r"\ge", "≠": r"\ne", "≈": r"\approx", "≃": r"\approx", "≅": r"\cong",
    "≡": r"\equiv", "∪": r"\cup", "∩": r"\cap", "∈": r"\in", "∉": r"\notin", "∖": r"\setminus", "⊂": r"\subset", "±": r"\pm",
    "∓": r"\mp", "∞": r"\infty", "√": r"\sqrt*", "∛": r"\cbrt*", "∜": r"\qdrt*", "°": r"\degree", "º": r"\degree",
    "∅": r"\emptyset", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}",
    "′": "'", "’": "'", "″": "''", "…": r"\dots", "⋯": r"\dots", "→": r"\to", "↦": r"\mapsto", "⇒": r"\Rightarrow", "∠": r"\angle",
    "△": r"\triangle", "⊥": r"\perp", "∥": r"\parallel", "⌊": r"\lfloor", "⌋": r"\rfloor", "⌈": r"\lceil", "⌉": r"\rceil",
    "∑": r"\sum", "∏": r"\prod", "∫": r"\int", "∂": r"\partial", "∇": r"\nabla", "¬": r"\neg", "∧": r"\wedge", "∨": r"\vee", "∣": r"\mid",
    "■": r"\blacksquare", "∎": r"\blacksquare", "□": r"\square", "℃": r"\degree C", "℉": r"\degree F", "Ω": r"\Omega", "µ": r"\mu",
    "€": r"\euro", "£": r"\pounds", "¥": r"\yen", "₹": r"\rupee", "¢": r"\cent", "。": ".", "、": ",", "﹣": "-", "➖": "-", "˗": "-", "➕": "+", "✖": r"\times", "➗": "/", "✓": "", "✔": "", "⟨": r"\langle", "⟩": r"\rangle",
}  # fmt: skip
_GREEK = re.compile(
    r"GREEK (?:(?P<small>SMALL)|CAPITAL) LETTER (?:FINAL )?(?P<name>[A-Z]+)$|GREEK (?P<form>[A-Z]+) SYMBOL$"
)
_LOST_ESCAPES = {"\x08": "b", "\x0c": "f", "\t": "t", "\r": "r", "\x0b": "v", "\x07": "a"}
_LOST = re.compile(r"([\x07\x08\x0b\x0c])(?=[a-z])|(\t)(?=ext|imes|an|heta|au\b|frac|o\b)|(\r)(?=ight|ho\b)")
_PICTURES = re.compile("[\u2600-\u27bf\ufe00-\ufe0f\U0001f000-\U0001faff]")
_OVERLINED = re.compile("(?:[0-9]\u0305)+")
_SCRIPT = re.compile(r"((?:<super>.)+)|((?:<sub>.)+)")


def to_latex(text: str) -> str:
    """The text with every character that has a LaTeX spelling in that; what no reader sees is gone."""
    if text.isascii() and text.isprintable():
        return text
    text = _OVERLINED.sub(lambda run: rf"\overline{{{run.group().replace(chr(0x305), '')}}}", text)
    text = _LOST.sub(lambda lost: "\\" + _LOST_ESCAPES[lost.group()], text)  # \f of \frac, \t of \times
    found = "".join(_character(character) for character in text)
    return _SCRIPT.sub(lambda run: ("^" if run[1] else "_") + "{" + re.sub("<su[a-z]+>", "", run.group()) + "}", found)


def _character(character: str) -> str:
    if " " <= character <= "~":
        return character
    if character in _MACROS:
        macro = _MACROS[character]
        return macro + " " if macro[-1:].isalpha() else macro
    category = unicodedata.category(character)
    if category.startswith("Z") or character in "\t\n\r":
        return " "
    if category in ("Cf", "Cc", "Cs", "Co") or _PICTURES.match(character):
        return ""
    if category == "Nd":
        return str(unicodedata.digit(character))
    if category == "Pd":
        return "-"
    mapping = unicodedata.decomposition(character)
    plain = unicodedata.normalize("NFKC", character)
    if mapping.startswith("<fraction>"):
        top, _, bottom = plain.partition("\u2044")
        return rf"\frac{{{top}}}{{{bottom or 1}}}"
    if plain == "\u2212":
        plain = "-"
    if mapping.startswith(("<super>", "<sub>")):
        return ("<super>" if mapping.startswith("<super>") else "<sub>") + "".join(map(_character, plain))
    if plain != character:
        return "".join(map(_character, plain))
    greek = _GREEK.match(unicodedata.name(character, ""))
    if greek:
        name = (greek["name"] or greek["form"]).lower().replace("lamda", "lambda")
        return "\\" + (name if greek["small"] or greek["form"] else name.capitalize()) + " "
    return "-" if character == "\u2212" else character
