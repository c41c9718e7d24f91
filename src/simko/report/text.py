"""Makes text of unknown origin safe to display."""

import unicodedata


def visible(text: str, kept: str = "\n\t") -> str:
    """The text with hidden characters spelled out: "a\\u202eb" becomes "a⟨U+202E⟩b".

    Hidden are control, format and surrogate characters (NUL, escape, bidi overrides, zero-width characters, lone surrogates)
    and line separators, except those in `kept`. HTML is not escaped.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in kept else _spelled(c) for c in text)


def _spelled(character: str) -> str:
    if unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return character
    return f"⟨U+{ord(character):04X}⟩"


def cut(text: str, limit: int) -> str:
    """The first `limit` characters, and how many there are if there are more."""
    return text if len(text) <= limit else f"{text[:limit]} … ({len(text):,} characters)"
