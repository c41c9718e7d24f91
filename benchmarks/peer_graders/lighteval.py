"""lighteval's normaliser for MATH: the texts of the last boxes are equal once normalised."""

from importlib.metadata import version as installed

from peer_graders.loading import boxed, part

math_normalizer = part("lighteval.metrics.normalizations").math_normalizer

TITLE = "lighteval math_normalizer"


def version() -> str:
    return installed("lighteval")


def grade(response: str, gold: str) -> bool:
    answer = math_normalizer(response)
    return answer != "" and answer == math_normalizer(boxed(gold))
