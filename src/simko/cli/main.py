"""`simko COMMAND ...`. Commands import what they need when they run, so that --help is fast."""

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NoReturn

from simko import __version__

COMMANDS = {
    "quickstart": "train a tiny model with GRPO and SimKO, evaluate both, write the report (minutes, CPU)",
    "real-model": "the same on SmolLM2-135M-Instruct (an hour or two, CPU)",
    "train": "train a model from a recipe",
    "recipe": "check recipes: their options, arithmetic and memory, and two updates of a tiny model",
    "evaluate": "sample and grade n responses per problem, on any tasks",
    "grade": "grade responses that you already have: your JSONL, CSV, Parquet, or the log of another package",
    "compare": "say whether evaluated models differ, and at which K",
    "report": "write the page of studies, training runs, evaluations and diagnoses",
    "watch": "serve that page on this machine while a run goes on",
    "diagnose": "show on stored responses where each model's probability gathers, token by token",
    "audit": "grade an evaluation again with another verifier and list what differs",
    "export": "write an evaluation's samples to JSONL or Parquet, or as logs for the viewer of inspect_ai",
    "study": "tune and compare methods on small tasks by one protocol, cell by cell (hours, CPU)",
    "toy": "train every method on a tree of 64 responses and count the correct ones it keeps (a minute, CPU)",
    "methods": "list the methods, or describe one",
    "tasks": "list the tasks and verifiers, or describe one",
    "fetch-model": "make a small pretrained model, without a model hub, and print its folder",
}


class _Parser(argparse.ArgumentParser):
    """Reports bad arguments in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"simko: error: {_one_line(message)} (see {self.prog} --help)\n")


class _Lines(logging.Handler):
    """Prints what is logged on stderr, one line each."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"simko: {_one_line(record.getMessage())}", file=sys.stderr)


@contextmanager
def _log_shown() -> Iterator[None]:
    """News and warnings of the logger "simko" reach the user once, even if a library adds handlers to the root logger."""
    logger, handler = logging.getLogger("simko"), _Lines(logging.INFO)
    level, propagate, logger.propagate = logger.level, logger.propagate, False
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and return 0, 2 for bad input (with one line on stderr), or 130 after an interrupt."""
    parser = _Parser(
        prog="simko",
        description="Train language models with SimKO and its rivals, measure pass@K, see the concentration.",
        epilog="example: simko quickstart --out runs/quickstart",
    )
    parser.add_argument("--version", action="version", version=f"simko {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        module = import_module(f"simko.cli.{name.replace('-', '_')}")
        command = commands.add_parser(
            name, help=summary, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.add_arguments(command)
        command.set_defaults(execute=module.run)
    args, rest = parser.parse_known_args(argv)
    if rest and args.command != "train":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    args.rest = rest
    try:
        with _log_shown(), exits_raised():
            args.execute(args)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads the output has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's own flush at exit
        return 0
    except KeyboardInterrupt:
        where = "from its last complete checkpoint, if there is one" if args.command == "train" else "where it stopped"
        print(f"simko: interrupted; the same command continues {where}", file=sys.stderr)
        return 130
    except SystemExit as exit:  # raised by the user's code; the command must not look finished
        print(
            f"simko: error: something called sys.exit({exit.code!r}) or os._exit before the command had ended",
            file=sys.stderr,
        )
        return 2
    except Exception as error:  # any error becomes one line for the user
        if os.environ.get("SIMKO_TRACEBACK"):
            raise
        message = str(error)
        if isinstance(error, ModuleNotFoundError):
            message += ": pip install 'simko[all]' brings what the commands need"
        if not isinstance(error, ValueError | OSError | RuntimeError | FloatingPointError | ImportError):
            message = f"{type(error).__name__}: {message} (SIMKO_TRACEBACK=1 shows where)"
        print(f"simko: error: {_one_line(message)}", file=sys.stderr)
        return 2
    return 0


def _one_line(text: str) -> str:
    """The text on one line, with control characters spelled out."""
    return "".join(c if c.isprintable() else f"⟨U+{ord(c):04X}⟩" for c in " ".join(text.split()))


@contextmanager
def exits_raised() -> Iterator[None]:
    """os._exit raises SystemExit in this process, as sys.exit does.

    A user's reward function or verifier must not end a command as if it were finished. Forked processes exit as usual.
    """
    process, really_exit = os.getpid(), os._exit

    def leave(code: int) -> Any:
        if os.getpid() != process:
            really_exit(code)
        raise SystemExit(code)

    os._exit = leave  # type: ignore[assignment]
    try:
        yield
    finally:
        os._exit = really_exit


if __name__ == "__main__":
    sys.exit(main())
