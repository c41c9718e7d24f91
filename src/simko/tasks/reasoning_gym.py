"""Tasks from reasoning-gym's generators, by name: `reasoning_gym/<dataset>`.

Every dataset of version 0.1.25 is in one of the two tables: ALLOWED, or REFUSED with the reason. Its scorers were read
and tried with empty, malformed, huge and hostile answers. ALLOWED means that no text of an answer is run as code, that
a wrong or empty answer never scores 1.0, and that scoring an answer of 20,000 characters takes well under a second.
"""

import json
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

from simko.records import Problem
from simko.tasks.task import Split, Task, check_request

VERSION = "0.1.25"
PROMPT = "{question}\nGive the final answer inside <answer> and </answer> tags."
DEFAULT_SIZES: dict[Split, int] = {"train": 10_000, "test": 200}
# generators seed problem i with seed + i, so that ranges of seeds are ranges of problems
_FIRST_SEED: dict[Split, int] = {"train": 1_000_000_000, "test": 0}
# part of what a task is: some generators (acre) lay their problems out over the whole size
_SIZE = 20_000

_RUNS = "its scorer runs the answer's text as code (eval or sympy.parse_expr)"
_NO_GOLD = "it gives no gold answer, so that its scorer cannot be checked"
_TUPLES = "its scorer compares with tuples, which JSON does not keep: its own gold answer would fail"

REFUSED: dict[str, str] = {
    "binary_matrix": _RUNS,
    "countdown": _RUNS,
    "intermediate_integration": _RUNS,
    "n_queens": _RUNS,
    "polynomial_multiplication": _RUNS,
    "puzzle24": _RUNS,
    "simple_integration": _RUNS,
    "spiral_matrix": _RUNS,
    "string_insertion": _RUNS,
    "boxnet": _NO_GOLD,
    "graph_color": _NO_GOLD,
    "propositional_logic": "it gives no gold answer, hangs on nested answers, and a premise with signs added scores 1.0",
    "rubiks_cube": _NO_GOLD,
    "rush_hour": _NO_GOLD,
    "arc_agi": _TUPLES,
    "rearc": _TUPLES,
    "coin_flip": "a prefix of the gold scores 1.0 (0 for 0.171875), and 1e999999999 hangs it",
    "complex_arithmetic": "the answer nan scores 1.0",
    "game_of_life_halting": "any text that is not empty scores 1.0 where the gold is True",
    "number_sorting": "a list of NaN scores 1.0, and so does one whose numbers are off by 1",
    "composite": "it is a mixture of other datasets, not one of its own",
}

ALLOWED: tuple[str, ...] = tuple(
    [
        "ab",
        "acre",
        "advanced_geometry",
        "aiw",
        "arc_1d",
        "base_conversion",
        "basic_arithmetic",
        "bf",
        "binary_alternation",
        "bitwise_arithmetic",
        "caesar_cipher",
        "calendar_arithmetic",
        "chain_sum",
        "circuit_logic",
        "codeio",
        "color_cube_rotation",
        "count_bits",
        "count_primes",
        "course_schedule",
        "cryptarithm",
        "decimal_arithmetic",
        "decimal_chain_sum",
        "dice",
        "emoji_mystery",
        "family_relationships",
        "figlet_font",
        "fraction_simplification",
        "futoshiki",
        "game_of_life",
        "gcd",
        "group_anagrams",
        "gsm_symbolic",
        "isomorphic_strings",
        "jugs",
        "kakurasu",
        "knight_swap",
        "knights_knaves",
        "largest_island",
        "lcm",
        "leg_counting",
        "letter_counting",
        "letter_jumble",
        "list_functions",
        "mahjong_puzzle",
        "manipulate_matrix",
        "maze",
        "mini_sudoku",
        "modulo_grid",
        "needle_haystack",
        "number_filtering",
        "number_format",
        "number_sequence",
        "palindrome_generation",
        "palindrome_partitioning",
        "path_star",
        "polynomial_equations",
        "pool_matrix",
        "power_function",
        "prime_factorization",
        "products",
        "quantum_lock",
        "ransom_note",
        "rectangle_count",
        "rotate_matrix",
        "rotten_oranges",
        "self_reference",
        "sentence_reordering",
        "shortest_path",
        "simple_equations",
        "simple_geometry",
        "sokoban",
        "spell_backward",
        "string_manipulation",
        "string_splitting",
        "string_synthesis",
        "sudoku",
        "survo",
        "syllogism",
        "time_intervals",
        "tower_of_hanoi",
        "tsumego",
        "word_ladder",
        "word_sequence_reversal",
        "word_sorting",
        "zebra_puzzles",
    ]
)

# equally likely answers that a guesser draws from, where the answer is one of a fixed few
CHOICES = {
    "acre": 3,
    "circuit_logic": 2,
    "course_schedule": 2,
    "isomorphic_strings": 2,
    "mahjong_puzzle": 4,
    "ransom_note": 2,
    "syllogism": 2,
}


def reasoning_gym_task(name: str, *, temperature: float = 1.0, top_p: float = 1.0, max_new_tokens: int = 4096) -> Task:
    """The task over reasoning-gym's dataset `name`, in its default settings.

    The train and the test side draw from disjoint ranges of seeds; small generators may repeat a question across them.
    ValueError with the reason if the dataset is refused, or with the allowed names if there is no such dataset.
    """
    name = name.removeprefix("reasoning_gym/")
    if name in REFUSED:
        raise ValueError(f"reasoning-gym's dataset {name!r} is refused: {REFUSED[name]}")
    if name not in ALLOWED:
        raise ValueError(f"reasoning-gym has no dataset {name!r}; choose one of: {', '.join(ALLOWED)}")
    return Task(
        name=f"reasoning_gym/{name}",
        description=f"Problems of reasoning-gym's generator {name}.",
        verifier="reasoning_gym",
        load=partial(load, name),
        temperature=temperature,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        stop=(),
        source=f"generated by reasoning-gym {VERSION}",
        licence="Apache-2.0",
        chat=True,
    )


def load(name: str, split: Split, limit: int | None = None) -> list[Problem]:
    """The first `limit` problems of a side (None: 10,000 for train, 200 for test); the same ones each time.

    There are at most 20,000. RuntimeError if reasoning-gym is not installed, or in another version than the audited one.
    """
    check_request(f"reasoning_gym/{name}", split, limit)
    return list(islice(_problems(name, split), DEFAULT_SIZES[split] if limit is None else limit))


def _problems(name: str, split: Split) -> Iterator[Problem]:
    """A side's problems in order; those with an empty gold answer are passed over, as silence is no answer."""
    dataset = _dataset(name, _FIRST_SEED[split])
    for index in range(_SIZE):
        # scorers read the entry, which must survive being stored: fractions and the like become text
        entry: dict[str, Any] = json.loads(json.dumps(dataset[index], default=str))
        if not str(entry["answer"] or "").strip():
            continue
        metadata: dict[str, Any] = {"dataset": name, "config": {}, "entry": entry}
        if name in CHOICES:
            metadata["choices"] = CHOICES[name]
        yield Problem(f"{split}/{index}", PROMPT.format(question=entry["question"]), str(entry["answer"]), metadata)


def _dataset(name: str, seed: int) -> Any:
    try:
        import reasoning_gym
    except ModuleNotFoundError as missing:
        raise RuntimeError(f"the task reasoning_gym/{name} needs: pip install reasoning-gym=={VERSION}") from missing
    from importlib.metadata import version

    if version("reasoning-gym") != VERSION:
        raise RuntimeError(
            f"reasoning-gym {version('reasoning-gym')} is installed, but the scorers were checked in {VERSION} only: "
            f"pip install reasoning-gym=={VERSION}"
        )
    return reasoning_gym.create_dataset(name, seed=seed, size=_SIZE)
