"""Mental multiplication, a x b with a in 3..30 and b in 3..12: small enough for a small pretrained model on a CPU."""

import hashlib

from simko.records import Problem
from simko.tasks.task import Split, Task, check_request


def load(split: Split, limit: int | None = None) -> list[Problem]:
    """The first `limit` problems of a split (None: all), in a fixed shuffled order.

    A hash of the unordered pair decides the split, with about two pairs in five for testing. 7 x 8 and 8 x 7 stay together.
    """
    check_request("multiplication", split, limit)
    pairs = [(a, b) for a in range(3, 31) for b in range(3, 13) if _is_test(a, b) == (split == "test")]
    pairs.sort(key=lambda pair: _hash(f"{pair[0]}x{pair[1]}"))
    return [Problem(f"{a}x{b}", f"Question: What is {a} times {b}?\nAnswer:", str(a * b)) for a, b in pairs[:limit]]


def _is_test(a: int, b: int) -> bool:
    return _hash(f"{min(a, b)},{max(a, b)}") % 5 < 2


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


MULTIPLICATION = Task(
    name="multiplication",
    description="Multiply two numbers (3-30 by 3-12), without working.",
    verifier="last_integer",
    load=load,
    temperature=1.0,
    top_p=1.0,
    max_new_tokens=8,
    stop=("\n",),
    source="generated",
    licence="Apache-2.0",
    sizes={"train": 158, "test": 122},
    version="1",
)
