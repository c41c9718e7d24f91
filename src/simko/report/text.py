"""Text of unknown origin, made safe to look at."""

import unicodedata


def visible(text: str, kept: str = "\n\t") -> str:
    """Text with everything that could act unseen spelled out: "a\\u202eb" becomes "a⟨U+202E⟩b".

    Replaced are control, format and surrogate characters (NUL, escape, bidi overrides, zero-width signs, lone
    surrogates) and line separators, but for those in `kept`. It does not escape HTML.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in kept else _spelled(c) for c in text)


def _spelled(character: str) -> str:
    if unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return character
    return f"⟨U+{ord(character):04X}⟩"
