"""Qwen2.5-Math's evaluation, for its data set "math"."""

import importlib

from peer_graders.loading import source

source("Qwen2.5-Math/evaluation/latex2sympy")
source("Qwen2.5-Math/evaluation")
parser = importlib.import_module("parser")
grader = importlib.import_module("grader")

TITLE = "Qwen2.5-Math"


def version() -> str:
    return "a45202b"


def grade(response: str, gold: str) -> bool:
    return bool(grader.math_equal(parser.extract_answer(response, "math"), parser.strip_string(gold)))
