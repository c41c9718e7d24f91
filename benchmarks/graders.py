r"""simko's mathematics grader beside other libraries', on labelled answers.

    python benchmarks/graders.py --peers ~/.cache/simko-peers/env/bin/python    # grade with all, keep the peers' verdicts
    python benchmarks/graders.py --page docs/results/graders.md                 # ours anew, the peers' as kept

The cases are tests/data/grader_cases.jsonl, or the files given by --cases: one JSON object a line with "id", "gold",
"response", "kind" and the label, "correct" (true or false) or "expected" ("correct" or "wrong"). Ids with one prefix are a
set. Pairs marked "taste" or "chosen_because_it_failed", and those of tests/verifiers/math_policy.jsonl, are not counted.

The peers' verdicts are kept in --kept by a hash of gold and response; a peer's are dropped when its version changes.
Prints the tables, or writes them between the marks of --page.
"""

import argparse
import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from peer_graders.asking import Peer
from scipy.stats import binomtest

from simko.records import Problem
from simko.verifiers import verify_math
from simko.verifiers.pool.pool import GradingPool

ROOT = Path(__file__).parent.parent
PEERS = [
    "math_verify",
    "trl_accuracy",
    "lighteval",
    "minerva_math",
    "hendrycks_math",
    "verl_math",
    "verl_prime",
    "qwen_math",
]
SETS = {
    "case": "From other graders' tests and issue trackers",
    "hard": "Forms of golds, and made-up answers",
    "k2": "Kinds that bug reports name",
}
OURS = "simko"
KEPT = ROOT / "docs/results/graders_peers.json"
BEGIN, END = "<!-- made by benchmarks/graders.py -->", "<!-- end -->"
Case = dict[str, Any]
Verdicts = dict[str, list[Any]]
"""By key: the outcome (correct, wrong, timeout, error, unparsed) and the seconds it took."""


def rows(path: Path) -> list[Case]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def key(case: Case) -> str:
    return hashlib.sha256(f"{case['gold']}\0{case['response']}".encode()).hexdigest()[:16]


def counted(paths: Iterable[Path]) -> list[Case]:
    """The pairs that count, each with its `right` (the label), `set` and `key`."""
    policy = {row["id"] for row in rows(ROOT / "tests/verifiers/math_policy.jsonl")}
    cases = []
    for path in paths:
        for case in rows(path):
            if case["id"] in policy or case.get("taste") or case.get("chosen_because_it_failed"):
                continue
            right = case["correct"] if "correct" in case else case["expected"] == "correct"
            prefix = case["id"].replace("/", "-").partition("-")[0]
            cases.append(case | {"right": right, "set": SETS.get(prefix, path.stem), "key": key(case)})
    return cases


def by_set(cases: list[Case]) -> dict[str, list[Case]]:
    return {title: [case for case in cases if case["set"] == title] for title in dict.fromkeys(c["set"] for c in cases)}


def ours(cases: list[Case]) -> tuple[str, Verdicts]:
    verdicts: Verdicts = {}
    with GradingPool() as pool:
        verify_math.grade([("\\boxed{x^2+1}", Problem("p", "", "1+x^2"))], pool)
        for members in by_set(cases).values():
            start = time.perf_counter()
            given = verify_math.grade([(c["response"], Problem(c["id"], "", c["gold"])) for c in members], pool)
            each = (time.perf_counter() - start) / len(members)
            verdicts |= {case["key"]: [verdict.outcome, each] for case, verdict in zip(members, given, strict=True)}
    return version("simko"), verdicts


def ask(python: str, cases: list[Case], limit: float, kept: dict[str, Any]) -> None:
    """The verdicts of each peer that can be had on the pairs that `kept` lacks, into `kept`."""
    for name in PEERS:
        peer = Peer(name, python)
        if "left_out" in peer.about:
            print(f"{name} is left out: {peer.about['left_out']}")
            continue
        record = kept.get(name, {})
        about = peer.about | {"limit": limit}
        if any(record.get(field) != value for field, value in about.items()):
            record = kept[name] = about | {"verdicts": {}}
        for case in cases:
            if case["key"] not in record["verdicts"]:
                record["verdicts"][case["key"]] = peer.ask(case["response"], case["gold"], limit)
        peer.close()


def share(faults: int, number: int) -> str:
    if not number:
        return "-"
    low, high = binomtest(faults, number).proportion_ci(method="wilson")
    return f"{faults} of {number}: {faults / number:.1%} ({low:.1%} to {high:.1%})"


def agrees(case: Case, verdicts: Verdicts) -> bool:
    return (verdicts[case["key"]][0] == "correct") is case["right"]


def faults(cases: list[Case], verdicts: Verdicts) -> tuple[int, int]:
    """False rejects and false accepts."""
    wrongly = [case["right"] for case in cases if not agrees(case, verdicts)]
    return wrongly.count(True), wrongly.count(False)


def totals(cases: list[Case], graders: dict[str, tuple[str, Verdicts]]) -> list[str]:
    right = sum(case["right"] for case in cases)
    lines = [
        f"| grader | correct answers rejected, of {right} | incorrect ones accepted, of {len(cases) - right} "
        "| it errs, simko does not | simko errs, it does not | timeouts, errors | verdicts a second |",
        "|---|---|---|---|---|---|---|",
    ]
    own = graders[OURS][1]
    for title, (edition, verdicts) in graders.items():
        rejects, accepts = faults(cases, verdicts)
        alone = [agrees(case, own) for case in cases if agrees(case, own) is not agrees(case, verdicts)]
        outcomes = [verdicts[case["key"]][0] for case in cases]
        seconds = sum(verdicts[case["key"]][1] for case in cases)
        pairs = "| - | -" if title == OURS else f"| {alone.count(True)} | {alone.count(False)}"
        lines.append(
            f"| {title} {edition} | {share(rejects, right)} | {share(accepts, len(cases) - right)} {pairs} "
            f"| {outcomes.count('timeout')}, {outcomes.count('error')} | {len(cases) / seconds:,.0f} |"
        )
    return lines


def by_kind(cases: list[Case], graders: dict[str, tuple[str, Verdicts]]) -> list[str]:
    kinds = defaultdict(list)
    for case in cases:
        kinds[case["kind"]].append(case)
    lines = ["| kind | correct, incorrect | " + " | ".join(graders) + " |", "|---" * (len(graders) + 2) + "|"]
    for kind, members in sorted(kinds.items()):
        right = sum(case["right"] for case in members)
        found = ["{}, {}".format(*faults(members, verdicts)) for _, verdicts in graders.values()]
        lines.append(f"| {kind} | {right}, {len(members) - right} | " + " | ".join(found) + " |")
    return lines


def tables(cases: list[Case], kept: dict[str, Any]) -> str:
    graders = {OURS: ours(cases)}
    lines = []
    for name in PEERS:
        record = kept.get(name, {"title": name, "verdicts": {}})
        missing = sum(case["key"] not in record["verdicts"] for case in cases)
        if missing:
            lines += [f"{record['title']} is left out: {missing} of {len(cases)} pairs have no verdict of it.", ""]
        else:
            graders[record["title"]] = record["version"], record["verdicts"]
    sets = by_set(cases)
    if len(sets) > 1:
        lines += ["## All pairs", "", *totals(cases, graders), ""]
    for title, members in sets.items():
        lines += [f"## {title}", "", *totals(members, graders), "", *by_kind(members, graders), ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, action="append", help="labelled pairs; may be given more than once")
    parser.add_argument("--peers", help="the interpreter that has the peers; without it, kept verdicts alone")
    parser.add_argument("--kept", type=Path, default=KEPT, help="the file of the peers' verdicts")
    parser.add_argument("--limit", type=float, default=10.0, help="seconds of a peer's verdict")
    parser.add_argument("--page", type=Path, help="a page whose tables are written anew")
    args = parser.parse_args()
    cases = counted(args.cases or [ROOT / "tests/data/grader_cases.jsonl"])
    kept = json.loads(args.kept.read_text("utf-8")) if args.kept.exists() else {}
    if args.peers:
        ask(args.peers, cases, args.limit, kept)
        args.kept.write_text(json.dumps(kept, indent=0) + "\n", encoding="utf-8")
    text = tables(cases, kept)
    if args.page is None:
        print(text)
        return
    before, _, rest = args.page.read_text("utf-8").partition(BEGIN)
    args.page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
