"""Grade an evaluation's samples again with another verifier, list the disagreements by kind, and count the new verdicts by
the rule that found the answer. With --apply they replace the old ones. Nothing is sampled again.

example:
  simko audit runs/qwen --verifier last_box
  simko audit runs/qwen --verifier ./judge.py:judge
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from simko.evaluate import SampleStore, Setting
    from simko.evaluate.audit import RegradedSample
    from simko.records import Sample, Verdict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="the directory of an evaluation")
    parser.add_argument(
        "--verifier",
        help="the second verifier: a name of simko tasks, or your own, package.module:function or ./file.py:function "
        "(default: each task's own)",
    )
    parser.add_argument("--task", help="this task only (default: all)")
    parser.add_argument("--examples", type=int, default=3, help="disagreements of each kind to print (default 3)")
    parser.add_argument("--to", type=Path, help="also write every disagreement to this .jsonl file")
    parser.add_argument("--apply", action="store_true", help="keep the new verdicts in place of the old ones")


def run(args: argparse.Namespace) -> None:
    from simko.cli.places import named_as
    from simko.evaluate import SampleStore
    from simko.evaluate.audit import check_responses
    from simko.evaluate.files import locked, replacing
    from simko.report.runs import store_of
    from simko.verifiers import get_verifier

    if args.verifier is not None:
        get_verifier(args.verifier)
    if args.to:
        named_as("--to", args.to, (".jsonl",), "every disagreement, in JSON lines,")
    path = store_of(args.run)
    with ExitStack() as stack:
        stack.enter_context(locked(path.parent) if args.apply else nullcontext())
        store = stack.enter_context(SampleStore(path, read_only=not args.apply))
        settings = [s for s in store.settings() if args.task in (None, s.task)]
        if not settings:
            raise ValueError(f"{args.run} holds no evaluation of {args.task or 'any task'}")
        file = stack.enter_context(stack.enter_context(replacing(args.to)).open("w")) if args.to else None
        for setting in settings:
            check_responses(setting)
            _Audit(setting, args.verifier or _stored_verifier(setting), args.examples, file).run(store, args.apply)


def _stored_verifier(setting: "Setting") -> str:
    """The name of a setting's verifier. ValueError if it was a callable, or the user's own and is missing now."""
    from simko.verifiers import get_verifier

    try:
        get_verifier(setting.verifier)
    except ValueError as error:
        raise ValueError(f"{setting.task} was graded by {setting.verifier}: give --verifier ({error})") from error
    return setting.verifier


class _Audit:
    """Counts and prints the disagreements of one setting, and writes them to `file`."""

    def __init__(self, setting: "Setting", verifier: str, examples: int, file: TextIO | None) -> None:
        from simko.verifiers import get_verifier, verifier_name

        self.setting, self.examples, self.file = setting, examples, file
        self.judge, self.verifier = get_verifier(verifier), verifier_name(verifier)
        self.samples = 0
        self.kinds: dict[str, int] = {}
        self.shown: dict[str, list[str]] = {}
        self.rules: Counter[tuple[str, str]] = Counter()

    def run(self, store: "SampleStore", apply: bool) -> None:
        from simko.report.text import visible

        verdicts = self._verdicts(store)
        if apply:
            store.regrade(self.setting, self.verifier, verdicts)
        else:
            for _ in verdicts:
                pass
        setting = f"{self.setting.task} {self.setting.name}: {self.setting.verifier}"
        differing = f"{sum(self.kinds.values())} of {self.samples} verdicts differ"
        print(visible(f"{setting}, then {self.verifier}: {differing}"))
        ungraded = store.tally(self.setting).outcomes.get("ungraded", 0)
        if ungraded:
            print(f"  {ungraded} samples have no verdict yet: simko evaluate grades them")
        for kind, count in sorted(self.kinds.items(), key=lambda item: -item[1]):
            print(f"  {kind}: {count}", *(visible(line, kept="") for line in self.shown[kind]), sep="\n    ")
        for rule in sorted({rule for rule, _ in self.rules}):
            outcomes = {outcome: count for (name, outcome), count in sorted(self.rules.items()) if name == rule}
            counts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
            print(visible(f"  answers by the rule {rule}: {sum(outcomes.values())} ({counts})"))

    def _verdicts(self, store: "SampleStore") -> "Iterator[tuple[Sample, Verdict]]":
        from simko.evaluate.audit import regrade_samples

        for row in regrade_samples(store, self.setting, self.judge):
            self.samples += 1
            if row.after.rule is not None:
                self.rules[row.after.rule, row.after.outcome] += 1
            if row.disagrees:
                self._record(row)
            yield row.sample, row.after

    def _record(self, row: "RegradedSample") -> None:
        self.kinds[row.kind] = self.kinds.get(row.kind, 0) + 1
        shown = self.shown.setdefault(row.kind, [])
        gold, was, now = row.problem.answer, row.before.extracted, row.after.extracted
        if len(shown) < self.examples:
            shown.append(f"{row.problem.id}, sample {row.sample.index}: gold {gold!r}, extracted {was!r}, then {now!r}")
        if self.file:
            line: dict[str, object] = {
                "task": self.setting.task,
                "setting": self.setting.name,
                "problem_id": row.problem.id,
            }
            line |= {"sample": row.sample.index, "kind": row.kind, "gold": gold, "extracted": was}
            line |= {"rule": row.before.rule, "extracted_again": now, "rule_again": row.after.rule}
            line |= {"response": row.sample.response}
            self.file.write(json.dumps(line) + "\n")
