"""Verdicts of one peer: a line of JSON in, a line of JSON out.

The peers' interpreter runs it in the folder above, as `python -m peer_graders.worker math_verify`.
"""

import importlib
import json
import os
import sys
import time


def main(name: str) -> None:
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a grader prints must not stand among the verdicts
    try:
        peer = importlib.import_module(f"peer_graders.{name}")
    except (ImportError, AssertionError) as missing:  # lm-eval asserts its version of antlr
        print(json.dumps({"left_out": f"{type(missing).__name__}: {missing}".splitlines()[0]}), file=out)
        return
    print(json.dumps({"title": peer.TITLE, "version": peer.version()}), file=out)
    for line in sys.stdin:
        pair = json.loads(line)
        start = time.perf_counter()
        try:
            outcome = "correct" if peer.grade(pair["response"], pair["gold"]) else "wrong"
        except Exception:  # a grader that fails on an answer has rejected it
            outcome = "error"
        print(json.dumps([outcome, round(time.perf_counter() - start, 6)]), file=out)


if __name__ == "__main__":
    main(sys.argv[1])
