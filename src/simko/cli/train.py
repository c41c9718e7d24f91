"""Train a model from a recipe, a YAML file with options of simko and of TRL's GRPOConfig and ModelConfig. All options are
listed below and in docs/training.md. Options on the command line win over the file. An interrupted run with the same
configuration in the run directory is continued.

example:
  simko train recipes/qwen2.5-math-7b.yaml --learning_rate 2e-6 --output_dir runs/qwen

a complete recipe, which trains on your own file (rows of prompt and answer):

  model_name_or_path: Qwen/Qwen2.5-0.5B
  train_file: sums.jsonl
  verifier: last_integer
  output_dir: runs/sums
  max_steps: 100
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help="a YAML file, or the name of a recipe that comes with simko")
    brief = parser.format_help

    def whole() -> str:
        from simko.training.options import list_options
        from simko.training.recipe import RECIPE_PARTS

        return brief() + list_options(RECIPE_PARTS)

    parser.format_help = whole  # type: ignore[method-assign]


def run(args: argparse.Namespace) -> None:
    from simko.training.recipe import find_recipe, read_recipe

    recipe = read_recipe(find_recipe(args.recipe), args.rest)
    from simko.training.run import train

    print(train(recipe))
