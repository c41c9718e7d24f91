r"""The mathematics tasks of the paper: seven benchmarks and two training sets.

The settings are the paper's (arXiv 2510.14807): temperature 0.6, top-p 0.95, 4,096 new tokens; 300 samples for AIME and AMC,
256 elsewhere; training at temperature 1.0 with 3,072 new tokens. The prompt is that of the authors' training code, which
sends it as a user message in ChatML (or Llama's template) even to base models, hence chat=True. With chat=False a base model
continues the same text. The authors' evaluation scripts are not public.

Gold answers keep the text of the source. An answer that a grader could not read is rewritten, and metadata's answer_raw holds
the source's text. metadata's gold_issue describes a broken gold answer.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from simko.records import Problem
from simko.tasks.hub import HubSource, Part, Rows, hub_task
from simko.tasks.task import Task, fill
from simko.verifiers.boxes import last_box

MATH_PROMPT = "{problem}\nPlease reason step by step, and put your final answer within \\boxed{}."

_LEADING_INTEGER = re.compile(r"\s*(-?[0-9]+)(?:\.0+)?(?:\s*\^\{?\\circ\}?)?\s*")
_E_NOTATION = re.compile(r"(-?[0-9]*\.?[0-9]+)[eE]\+?(-?[0-9]+)")


def _problem(id: str, text: str, answer: str, **metadata: Any) -> Problem:
    return Problem(id, fill(MATH_PROMPT, text), answer, metadata)


def _rewritten(raw: str, answer: str) -> dict[str, str]:
    return {} if raw == answer else {"answer_raw": raw}


def integer_gold(place: str, raw: Any) -> str:
    r"""A contest's integer answer in plain form: "025", "336^\circ" and 27.0 become 25, 336 and 27."""
    number = _LEADING_INTEGER.fullmatch(str(raw))
    if number is None:
        raise ValueError(f"{place}: the gold answer {raw!r} is not an integer")
    return str(int(number[1]))


def aime_problems(name: str, rows: Rows) -> list[Problem]:
    """Rows of AIME 2024 or 2025 (id, problem, answer) -> problems; a guesser draws from 000 to 999."""
    problems = []
    for row in rows:
        id, raw = f"{name}/{row['id']}", str(row["answer"])
        answer = integer_gold(id, raw)
        problems.append(_problem(id, row["problem"], answer, choices=1000, **_rewritten(raw, answer)))
    return problems


def amc23_problems(rows: Rows) -> list[Problem]:
    """Rows of AMC 2023 (id, question, answer) -> problems. They have no options, so there is no guessing line."""
    problems = []
    for row in rows:
        id, raw = f"amc23/{row['id']}", str(row["answer"])
        answer = integer_gold(id, raw)
        problems.append(_problem(id, row["question"], answer, **_rewritten(raw, answer)))
    return problems


def math500_problems(rows: Rows) -> list[Problem]:
    """Rows of MATH-500 (problem, answer, subject, level, unique_id) -> problems, with the unique_id as id."""
    return [
        _problem(row["unique_id"], row["problem"], row["answer"], level=int(row["level"]), subject=row["subject"])
        for row in rows
    ]


def minerva_problems(rows: Rows) -> list[Problem]:
    r"""Rows of Minerva (question, answer) -> problems. Ids are row numbers.

    4.5e33 becomes 4.5 \times 10^{33}, which a LaTeX parser reads as a number. A numpy function name becomes LaTeX.
    """
    problems = []
    for number, row in enumerate(rows):
        raw = answer = row["answer"]
        metadata: dict[str, str] = {}
        if e_notation := _E_NOTATION.fullmatch(raw):
            answer = rf"{e_notation[1]} \times 10^{{{int(e_notation[2])}}}"
        elif raw.startswith("np."):
            answer = "\\" + raw.removeprefix("np.")
            metadata["gold_issue"] = "gold is a numpy expression"
        problems.append(
            _problem(f"minerva/{number:03d}", row["question"], answer, **_rewritten(raw, answer), **metadata)
        )
    return problems


def olympiadbench_problems(rows: Rows) -> list[Problem]:
    """Rows of OlympiadBench's open-ended English text-only maths (id, question, context, final_answer [list],
    answer_type, is_multiple_answer, unit, error, subfield) -> problems.

    A context comes before the question. The unit is not part of the gold answer. metadata's tolerance is the source's absolute
    error.
    """
    problems = []
    for row in rows:
        text = "\n".join(part for part in (row.get("context"), row["question"]) if part)
        metadata = {
            "subject": row["subfield"],
            "answer_type": row["answer_type"],
            "is_multiple_answer": bool(row["is_multiple_answer"]),
            "unit": row.get("unit") or None,
            "tolerance": float(row["error"]) if row.get("error") else None,
        }
        problems.append(_problem(f"olympiadbench/{row['id']}", text, ",".join(row["final_answer"]), **metadata))
    return problems


def gsm8k_problems(split: str, rows: Rows) -> list[Problem]:
    """Rows of GSM8K (question, answer) -> problems. The gold answer is the text after ####, without commas."""
    return [
        _problem(f"gsm8k/{split}/{number:04d}", row["question"], _gsm8k_gold(number, row))
        for number, row in enumerate(rows)
    ]


def _gsm8k_gold(number: int, row: Mapping[str, Any]) -> str:
    _, mark, gold = row["answer"].rpartition("####")
    if not mark or not gold.strip():
        raise ValueError(f"row {number} of GSM8K has no answer after ####")
    return str(gold).replace(",", "").strip()


def math_problems(levels: tuple[int, ...], rows: Rows) -> list[Problem]:
    """Rows of MATH's training set (problem, level, solution, type) of these levels -> problems.

    The gold answer is the last box. Ids are math/train/<row number>, counted over all rows. Two rows have no level.
    """
    problems = []
    for number, row in enumerate(rows):
        level = row["level"].removeprefix("Level ")
        if level not in map(str, levels):
            continue
        answer = last_box(row["solution"])
        if answer is None:
            raise ValueError(f"row {number} of MATH has no \\boxed answer in its solution")
        problems.append(_problem(f"math/train/{number}", row["problem"], answer, level=int(level), subject=row["type"]))
    return problems


_MATH = HubSource("DigitalLearningGmbH/MATH-lighteval", "train", "0530c78699ea5e8eb5530600900e1f328b48acad", 7500)
_GSM8K_COMMIT = "740312add88f781978c0658806c59bc2815b9866"

_evaluated = partial(hub_task, verifier="math", temperature=0.6, top_p=0.95, max_new_tokens=4096, stop=(), chat=True)
_trained = partial(hub_task, verifier="math", temperature=1.0, top_p=1.0, max_new_tokens=3072, stop=(), chat=True)

AIME24 = _evaluated(
    "aime24",
    {
        "test": [
            Part(
                HubSource("HuggingFaceH4/aime_2024", "train", "2fe88a2f1091d5048c0f36abc874fb997b3dd99a", 30),
                partial(aime_problems, "aime24"),
            )
        ]
    },
    description="AIME 2024, both exams: an integer from 0 to 999.",
    samples=300,
    sizes={"test": 30},
    licence="problems (c) MAA",
    known_defects=("Golds with leading zeros (7 in the exams' keys) are read as integers.",),
)

AIME25 = _evaluated(
    "aime25",
    {
        "test": [
            Part(
                HubSource("math-ai/aime25", "test", "563bb8404243c5f09de6ec262f2db674fe5bce9b", 30),
                partial(aime_problems, "aime25"),
            )
        ]
    },
    description="AIME 2025, both exams: an integer from 0 to 999.",
    samples=300,
    sizes={"test": 30},
    licence="Apache-2.0 (the card); problems (c) MAA",
    known_defects=("1 gold carries a degree sign (336^\\circ), which is dropped.",),
)

AMC23 = _evaluated(
    "amc23",
    {
        "test": [
            Part(HubSource("math-ai/amc23", "test", "80815d37005feb82cd7f8fbc6901d5d3eff43057", 40), amc23_problems),
        ]
    },
    description="AMC 12 of 2023, the options taken away: an integer.",
    samples=300,
    sizes={"test": 40},
    licence="problems (c) MAA",
)

MATH500 = _evaluated(
    "math500",
    {
        "test": [
            Part(
                HubSource("HuggingFaceH4/MATH-500", "test", "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be", 500),
                math500_problems,
            )
        ]
    },
    description="500 test problems of MATH.",
    samples=256,
    sizes={"test": 500},
    licence="MIT",
    known_defects=(
        "10 golds are texts (\\text{Evelyn}, \\text{(C)}): only the words themselves are right.",
        "7 golds write fractions and roots without braces (\\frac43), which some graders cannot read.",
    ),
)

MINERVA = _evaluated(
    "minerva",
    {
        "test": [
            Part(
                HubSource("math-ai/minervamath", "test", "ee46ddc498933b1977577953250ca5c66be64f96", 272),
                minerva_problems,
            )
        ]
    },
    description="Undergraduate physics, chemistry and maths from MIT OpenCourseWare: numbers and expressions.",
    samples=256,
    sizes={"test": 272},
    licence="CC BY-NC-SA (MIT OpenCourseWare)",
    known_defects=(
        "58 golds are in e-notation (4.5e33), which LaTeX parsers misread: rewritten as 4.5 \\times 10^{33}.",
        "1 gold is a numpy expression (np.arcsin(10/13)): rewritten, and flagged as gold_issue.",
    ),
)

OLYMPIADBENCH = _evaluated(
    "olympiadbench",
    {
        "test": [
            Part(
                HubSource(
                    "Hothan/OlympiadBench",
                    "train",
                    "91184b52131e7fc9455fef848035173aea8cc01a",
                    674,
                    files=("OlympiadBench/OE_TO_maths_en_COMP/*.parquet",),  # the rest is large: figures
                ),
                olympiadbench_problems,
            )
        ]
    },
    description="Olympiad problems in English with a final answer and no figure (OE_TO_maths_en_COMP).",
    samples=256,
    sizes={"test": 674},
    licence="Apache-2.0",
    known_defects=("674 problems; the copy in Qwen2.5-Math's evaluation has 675: report n with every score.",),
)

GSM8K = _evaluated(
    "gsm8k",
    {
        "test": [
            Part(
                HubSource("openai/gsm8k", "test", _GSM8K_COMMIT, 1319, config="main"),
                partial(gsm8k_problems, "test"),
            )
        ]
    },
    description="Grade-school word problems: a number.",
    samples=256,
    sizes={"test": 1319},
    licence="MIT",
)

MATH_L3_5 = _trained(
    "math_l3_5",
    {"train": [Part(_MATH, partial(math_problems, (3, 4, 5)))]},
    description="MATH training problems of levels 3 to 5: the paper's training set for Qwen.",
    sizes={"train": 5586},
    licence="MIT",
)

GSM8K_MATH_L1 = _trained(
    "gsm8k_math_l1",
    {
        "train": [
            Part(
                HubSource("openai/gsm8k", "train", _GSM8K_COMMIT, 7473, config="main"),
                partial(gsm8k_problems, "train"),
            ),
            Part(_MATH, partial(math_problems, (1,))),
        ]
    },
    description="GSM8K's training set and MATH's level 1: the paper's training set for Llama.",
    sizes={"train": 8037},
    licence="MIT",
)

MATHS: tuple[Task, ...] = (AIME24, AIME25, AMC23, MATH500, MINERVA, OLYMPIADBENCH, GSM8K, MATH_L3_5, GSM8K_MATH_L1)
