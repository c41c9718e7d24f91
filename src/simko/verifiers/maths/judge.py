"""What the grading pool imports to judge mathematical equality; nothing else does, for it loads SymPy."""

from simko.records import Problem
from simko.verifiers.maths.equal import symbolic_match
from simko.verifiers.maths.verify import gold_answer

# the first parse builds math-verify's and ANTLR's tables: here, so that every forked process has them
symbolic_match("\\frac{x}{2}", "\\frac{1}{2}x")


def judge(extracted: str, problem: Problem) -> bool:
    """Whether the extracted answer equals the problem's gold; without limits of its own."""
    return symbolic_match(extracted, gold_answer(problem))
