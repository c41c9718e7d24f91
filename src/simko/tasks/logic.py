"""The logic tasks of the paper: BIG-Bench Hard, whole (`bbh`) or a subtask (`bbh/snarks`), and SynLogic-easy.

The settings are the paper's (arXiv 2510.14807): temperature 0.7, top-p 0.95, 8,192 new tokens, 128 samples; training at
temperature 1.0. The paper's logic prompts are not public. BBH has the prompt of mathematics, without examples. SynLogic's own
prompts say how to answer.
"""

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from difflib import get_close_matches
from functools import partial
from typing import Any

from simko.records import Problem
from simko.tasks.hub import HubSource, Part, Rows, hub_task
from simko.tasks.maths import MATH_PROMPT
from simko.tasks.synlogic import synlogic_family, synlogic_problem
from simko.tasks.task import Task, fill
from simko.verifiers.synlogic import FAMILIES

logger = logging.getLogger("simko")

BBH_SUBTASKS: dict[str, tuple[str, int]] = {
    "boolean_expressions": ("binary", 250),
    "causal_judgement": ("binary", 187),
    "date_understanding": ("multiple_choice", 250),
    "disambiguation_qa": ("multiple_choice", 250),
    "dyck_languages": ("string", 250),
    "formal_fallacies": ("binary", 250),
    "geometric_shapes": ("multiple_choice", 250),
    "hyperbaton": ("multiple_choice", 250),
    "logical_deduction_five_objects": ("multiple_choice", 250),
    "logical_deduction_seven_objects": ("multiple_choice", 250),
    "logical_deduction_three_objects": ("multiple_choice", 250),
    "movie_recommendation": ("multiple_choice", 250),
    "multistep_arithmetic_two": ("integer", 250),
    "navigate": ("binary", 250),
    "object_counting": ("integer", 250),
    "penguins_in_a_table": ("multiple_choice", 146),
    "reasoning_about_colored_objects": ("multiple_choice", 250),
    "ruin_names": ("multiple_choice", 250),
    "salient_translation_error_detection": ("multiple_choice", 250),
    "snarks": ("multiple_choice", 178),
    "sports_understanding": ("binary", 250),
    "temporal_sequences": ("multiple_choice", 250),
    "tracking_shuffled_objects_five_objects": ("multiple_choice", 250),
    "tracking_shuffled_objects_seven_objects": ("multiple_choice", 250),
    "tracking_shuffled_objects_three_objects": ("multiple_choice", 250),
    "web_of_lies": ("binary", 250),
    "word_sorting": ("string", 250),
}
"""{subtask: (the kind of its answers, as in the verifier `bbh`; the number of problems)}."""

_BBH_COMMIT = "982bb89fd79532a8ac676a61fc42eb1aeec63f99"
_OPTION = re.compile(r"^\(([A-Z])\)", re.MULTILINE)


def bbh_problems(subtask: str, rows: Rows) -> list[Problem]:
    """Rows of a BBH subtask (input, target) -> problems, with metadata for the verifier `bbh` and the guessing line.

    A multiple-choice gold answer that is none of the options is judged as a string. Rows with the same input and different gold
    answers are flagged.
    """
    golds = defaultdict(set)
    for row in rows:
        golds[row["input"].strip()].add(row["target"].strip())
    kind, _ = BBH_SUBTASKS[subtask]
    problems = []
    for number, row in enumerate(rows):
        text, gold = row["input"].strip(), row["target"].strip()
        metadata: dict[str, Any] = {"subtask": subtask, "answer_type": kind}
        options = [f"({letter})" for letter in _OPTION.findall(text)]
        if kind == "binary":
            metadata["choices"] = 2
        elif kind == "multiple_choice" and gold in options:
            metadata["choices"] = len(options)
        elif kind == "multiple_choice":
            metadata |= {"answer_type": "string", "gold_issue": "gold is none of the options"}
        if len(golds[text]) > 1:
            metadata["gold_issue"] = "the same problem occurs with another gold"
        problems.append(Problem(f"bbh/{subtask}/{number:03d}", fill(MATH_PROMPT, text), gold, metadata))
    return problems


def synlogic_problems(side: str, rows: Rows) -> list[Problem]:
    """Rows of SynLogic -> problems (see `synlogic_problem`), with ids synlogic/<side>/<row number>.

    Rows of families without a verifier are left out. A warning counts them by family.
    """
    left_out = Counter(family for row in rows if (family := synlogic_family(row)) not in FAMILIES)
    if left_out:
        counts = ", ".join(f"{family} {count}" for family, count in sorted(left_out.items()))
        total = left_out.total()
        text = "synlogic_easy (%s): %d of %d problems are left out, since no verifier knows their families: %s"
        logger.warning(text, side, total, len(rows), counts)
    return [
        synlogic_problem(row, f"synlogic/{side}/{number:05d}")
        for number, row in enumerate(rows)
        if synlogic_family(row) in FAMILIES
    ]


_logic = partial(hub_task, temperature=0.7, top_p=0.95, max_new_tokens=8192, stop=(), chat=True, samples=128)
_bbh = partial(_logic, verifier="bbh", licence="MIT")


def _bbh_part(subtask: str) -> Part:
    source = HubSource("lukaemon/bbh", "test", _BBH_COMMIT, BBH_SUBTASKS[subtask][1], config=subtask)
    return Part(source, partial(bbh_problems, subtask))


_BBH_DEFECTS: Mapping[str, tuple[str, ...]] = {
    "causal_judgement": ("4 golds: two problems occur twice with opposite golds; flagged as gold_issue.",),
    "movie_recommendation": ("1 gold is none of the options (163); flagged as gold_issue.",),
    "ruin_names": ("2 golds are none of the options (099, 144); flagged as gold_issue.",),
}

BBH = _bbh(
    "bbh",
    {"test": [_bbh_part(subtask) for subtask in BBH_SUBTASKS]},
    description="BIG-Bench Hard, all 27 subtasks. Guessing alone reaches pass@4 .60, pass@16 .81, pass@256 .85.",
    sizes={"test": 6511},
    known_defects=tuple(f"{subtask}: {defect}" for subtask, defects in _BBH_DEFECTS.items() for defect in defects),
)


def bbh_task(subtask: str) -> Task:
    """One of the 27 subtasks of BIG-Bench Hard, e.g. bbh/snarks."""
    if subtask not in BBH_SUBTASKS:
        close = get_close_matches(subtask, BBH_SUBTASKS) or list(BBH_SUBTASKS)
        raise ValueError(f"bbh has no subtask {subtask!r}; did you mean: {', '.join(close)}?")
    kind, size = BBH_SUBTASKS[subtask]
    return _bbh(
        f"bbh/{subtask}",
        {"test": [_bbh_part(subtask)]},
        description=f"BIG-Bench Hard: {subtask.replace('_', ' ')} ({kind.replace('_', ' ')}).",
        sizes={"test": size},
        known_defects=_BBH_DEFECTS.get(subtask, ()),
    )


def _synlogic_part(side: str) -> Part:
    source = HubSource("MiniMaxAI/SynLogic", side, files=(f"synlogic_easy/{side}.parquet",))
    return Part(source, partial(synlogic_problems, side))


SYNLOGIC_EASY = _logic(
    "synlogic_easy",
    {"train": [_synlogic_part("train")], "test": [_synlogic_part("validation")]},
    description="SynLogic-easy, 27 families of puzzles: the paper's training set for logic, and its validation set.",
    verifier="synlogic",
    sizes={"train": None, "test": None},
    licence="MIT",
    known_defects=(
        "Golds of the generators break rules that their own prompts state: 9 of 10 of futoshiki, 10 of 10 of "
        "star_placement_puzzle and 4 of 5 of calcudoko in problems generated for a check (the hub's own rows were not "
        "checked). The verifier goes by the rules, so that these golds fail.",
        "Problems of families without a verifier are left out, with a warning that counts them.",
    ),
)

LOGIC: tuple[Task, ...] = (BBH, SYNLOGIC_EASY)
