"""math-verify as its README uses it."""

from importlib.metadata import version as installed

from math_verify import parse, verify

from peer_graders.loading import boxed

TITLE = "math-verify"


def version() -> str:
    return installed("math-verify")


def grade(response: str, gold: str) -> bool:
    return bool(verify(parse(boxed(gold)), parse(response)))
