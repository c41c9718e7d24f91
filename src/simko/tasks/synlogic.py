"""SynLogic's rows from the hub as problems for the verifier "synlogic"."""

import json
from collections.abc import Mapping
from typing import Any

from simko.records import Problem
from simko.verifiers.synlogic import FAMILIES


def synlogic_family(row: Mapping[str, Any]) -> str:
    """The puzzle family of a row of the hub set."""
    return str(row["data_source"]).removeprefix("val/")


def synlogic_problem(row: Mapping[str, Any], problem_id: str) -> Problem:
    """A row of the hub set (data_source, prompt [messages], extra_info {game_data_str}) -> a problem.

    The prompt is the messages' text. The answer is empty if any solution counts. The problem's metadata has task (the family),
    difficulty, and metadata (the puzzle's own data, which some rows hold as JSON inside the JSON). ValueError, naming the
    problem, for a row that does not fit, and for a family without a verifier.
    """
    task = synlogic_family(row)
    if task not in FAMILIES:
        raise ValueError(f"problem {problem_id!r}: no SynLogic family is called {task!r}; known: {', '.join(FAMILIES)}")
    try:
        game = json.loads(row["extra_info"]["game_data_str"])
        inner = game.get("metadata") or {}
        inner = json.loads(inner) if isinstance(inner, str) else inner
        prompt = "\n\n".join(message["content"] for message in row["prompt"])
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"problem {problem_id!r}: its prompt or game data cannot be read ({error!r})") from error
    answer = game.get("answer")
    text = answer if isinstance(answer, str) else "" if answer is None else json.dumps(answer, ensure_ascii=False)
    return Problem(problem_id, prompt, text, {"task": task, "difficulty": game.get("difficulty"), "metadata": inner})
