"""List the tasks that can be trained on and evaluated, and the verifiers.

example:
  simko tasks
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> None:
    from simko.tasks import TASKS
    from simko.verifiers import VERIFIERS

    for task in TASKS.values():
        print(f"{task.name:16} {task.description} [verifier {task.verifier}; source: {task.source}]")
    print(f"verifiers: {', '.join(VERIFIERS)}")
