"""What the tests of extraction share: answers, and the span found of each."""

from simko.verifiers.extract import find_answer

VALUES = [
    "42",
    "-7",
    ".5",
    "0.25",
    "1,234",
    "(2,4)",
    "[0,1)",
    "$x = 11$",
    "\\frac{3}{4}",
    "$\\sqrt{2}$",
    "x^2+1",
    "60\\%",
    "2:3",
]
"""Answers of many forms, in order of no meaning."""


def of(response: str, **options: bool) -> tuple[str, str] | None:
    found = find_answer(response, **options)
    return None if found is None else (found.text.strip("$ ").rstrip("."), found.rule)


def checked(form: str, rule: str | None, before: str = "", **options: bool) -> None:
    """Each value in the form is found by the rule, or none where it is None; <V> stands for the value."""
    for value in VALUES:
        expected = None if rule is None else (value.strip("$"), rule)
        assert of(before + form.replace("<V>", value), **options) == expected, (form, value)
