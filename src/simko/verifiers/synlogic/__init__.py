"""Our own verifiers for the puzzle families of SynLogic: rules and exact values, never a run of the answer's text.

Grid puzzles, the game of 24, cryptarithms and math paths may have several solutions; any that keeps the rules passes.
"""

from simko.records import Problem, Verdict
from simko.verifiers.direct import Direct, Judge
from simko.verifiers.parts import answer_tag
from simko.verifiers.synlogic.equations import EQUATION_FAMILIES
from simko.verifiers.synlogic.family import Family
from simko.verifiers.synlogic.grids import GRID_FAMILIES
from simko.verifiers.synlogic.places import PLACE_FAMILIES
from simko.verifiers.synlogic.texts import TEXT_FAMILIES

__all__ = ["FAMILIES", "Family", "verify_synlogic"]

FAMILIES: dict[str, Family] = {**GRID_FAMILIES, **PLACE_FAMILIES, **TEXT_FAMILIES, **EQUATION_FAMILIES}
"""{name: `Family`}: the puzzle families."""


@Direct
def verify_synlogic(problem: Problem) -> Judge:
    """Judge an answer to a SynLogic puzzle by the rules of its family.

    metadata["task"] names the family, metadata["metadata"] holds the puzzle's own data, and
    problem.answer the gold answer, where the family has one. Read is what stands in the last <answer>, closed or
    not, if there is one. "unparsed": no answer in the form that the family's prompts ask for.

    Raises ValueError naming the problem if the family is unknown or the puzzle's data do not fit it.
    """
    name = problem.metadata.get("task")
    if name not in FAMILIES:
        raise ValueError(f"problem {problem.id!r}: no SynLogic family is called {name!r}; known: {', '.join(FAMILIES)}")
    family = FAMILIES[name]
    try:
        puzzle = family.puzzle(problem)
    except (KeyError, TypeError, IndexError, ValueError, SyntaxError) as error:
        raise ValueError(f"problem {problem.id!r}: no {name} puzzle can be read from its data ({error!r})") from error

    def judge(response: str) -> Verdict:
        tagged = answer_tag(response, unclosed=True)
        answer = family.read(response if tagged is None else tagged)
        if answer is None:
            return Verdict("unparsed")
        extracted, value = answer
        return Verdict("correct" if family.holds(value, puzzle) else "wrong", extracted)

    return judge
