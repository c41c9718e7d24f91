"""lm-evaluation-harness, task hendrycks_math: the texts are equal once normalised, as in hendrycks/math.

The task reads what stands between the first and the last dollar. Where the response has a box, that is read instead, by
the task's own function for golds.
"""

from importlib.metadata import version as installed

from peer_graders.loading import part

task = part("lm_eval.tasks.hendrycks_math.utils")

TITLE = "lm-eval hendrycks_math"


def version() -> str:
    return installed("lm_eval")


def grade(response: str, gold: str) -> bool:
    box = task.last_boxed_only_string(response)
    if box:
        return task.is_equiv(task.remove_boxed(box), gold)
    _, dollar, rest = response.partition("$")
    return task.is_equiv(rest.rpartition("$")[0] if dollar and "$" in rest else response, gold)
