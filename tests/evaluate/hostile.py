"""An evaluation whose ids and responses a reader or viewer may stumble over."""

from pathlib import Path

from simko.evaluate import SampleStore
from simko.evaluate.graded import grade_stored
from simko.records import Problem, Sample

RECORD = {
    "backend": "transformers",
    "model": "m/tiny",
    "weights": "sha256:0",
    "temperature": 1.0,
    "top_p": 0.95,
    "top_k": 0,
    "max_new_tokens": 64,
    "stop": ["\n\n"],
    "seed": 3,
    "chat": False,
    "do_sample": True,
    "task_revision": "unknown",
}
IDS = [
    "a",
    "../../etc/x\x00y",
    "..",
    "題 5/b",
    "題 5\\b",
    "-" * 300,
    "%2e%2e%2f",
    "a_epoch_1",
    "CON",
    " x",
    "x\n",
    "\u202ex",
    "é",
]
IDS += ["a-b", "a/b", "a-b-3", ""]
RESPONSES = [
    r"so \boxed{2}",
    "it is \\boxed{3}\n\nfoo **bar**",
    "\u2028\x00\x1b[31m</script><img src=x onerror=alert(1)>\ud800 \\boxed{2}",
    "attachment://" + "0" * 32,
]
ENDS = ["stop", "length", "unknown", "stop"]
WORDS = "503 Service Unavailable: <b>overloaded</b>, retry later"


def judge(response: str, problem: Problem) -> bool:
    """A verifier that reads what a problem has beside its answer."""
    return problem.metadata["key"] in response


def hostile_evaluation(folder: Path, verifier: str = "math") -> Path:
    """The folder of an evaluation at two settings: unequal n, a failed sample, thinking, seeds and tokens known and unknown."""
    folder.mkdir(exist_ok=True)
    problems = [Problem(id, f"problem {i}: {id}", "2", {"key": str(2 + i % 2)}) for i, id in enumerate(IDS)]
    with SampleStore(folder / "samples.db") as store:
        for task, name, more in (
            ("sums/of ../two", "T=1", {}),
            ("sums", "step=40, T=0.6", {"temperature": 0.6, "step": 40}),
        ):
            setting = store.begin(task, name, RECORD | more, verifier, problems, 4)
            for problem in problems:
                store.add(
                    setting,
                    [
                        Sample(problem.id, i, text, 4 * (i != 1), ENDS[i], 9 * (i != 1), 2**62 + i if i else None)
                        for i, text in enumerate(RESPONSES)
                    ],
                )
            thought = Sample("a", 4, r"\boxed{2}", 7, "stop", 9, thinking="One and one.\x00")
            store.add(setting, [thought, Sample("a", 5, "", 0, "failed", failure=WORDS)])
            grade_stored(store, setting, judge if verifier == "judge" else verifier, progress=False)
    return folder
