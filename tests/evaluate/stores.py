"""What the tests of the sample store share."""

from simko.evaluate import SampleStore, Setting
from simko.records import Problem, Sample

PROBLEMS = [Problem(f"p{i}", f"{i}+1=", str(i + 1)) for i in range(3)]


def begin(store: SampleStore, **changes) -> Setting:
    given = {"task": "t", "name": "T=1", "record": {"model": "m"}, "verifier": "v", "problems": PROBLEMS, "n": 4}
    return store.begin(*(given | changes).values())


def batch(first: int, count: int, **changes) -> list[Sample]:
    return [
        Sample(**({"problem_id": p.id, "index": i, "response": "r", "tokens": 2, "finish_reason": "stop"} | changes))
        for p in PROBLEMS
        for i in range(first, first + count)
    ]
