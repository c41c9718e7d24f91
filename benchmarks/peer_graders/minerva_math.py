"""lm-evaluation-harness, task minerva_math: its normaliser, then sympy.

The task reads "Final Answer: The final answer is ..." alone. Where the response has a box, that is read instead, by the
task's own function for golds.
"""

from importlib.metadata import version as installed

from peer_graders.loading import part

task = part("lm_eval.tasks.minerva_math.utils")

TITLE = "lm-eval minerva_math"


def version() -> str:
    return installed("lm_eval")


def grade(response: str, gold: str) -> bool:
    box = task.last_boxed_only_string(response)
    answer = task.remove_boxed(box) if box else task.get_unnormalized_answer(response)
    return task.is_equiv(task.normalize_final_answer(answer), task.normalize_final_answer(gold))
