"""Text of unknown origin, made safe to look at."""

import unicodedata

_KEPT = "\n\t"


def visible(text: str) -> str:
    """Text with everything that could act unseen spelled out: "a\\u202eb" becomes "a⟨U+202E⟩b".

    Replaced are control, format and surrogate characters (NUL, escape, bidi overrides, zero-width signs, lone
    surrogates) and line separators; newline and tab stay. It does not escape HTML.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_spelled(c) for c in text)


def _spelled(character: str) -> str:
    if character in _KEPT or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return character
    return f"⟨U+{ord(character):04X}⟩"
