"""Train a model from a recipe: a YAML file of TRL's GRPOConfig and ModelConfig options and simko's own (method,
method_options, task or train_file, verifier or reward_function, simko_alpha, simko_top_penalty ...). Options on the
command line win over the file; docs/methods.md and TRL's GRPOConfig list them. A run directory that holds an interrupted run of the same configuration is continued.

example:
  simko train recipes/qwen2.5-math-7b.yaml --learning_rate 2e-6 --output_dir runs/qwen
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help="a YAML file, or the name of a recipe that comes with simko")


def run(args: argparse.Namespace) -> None:
    from simko.training.recipe import find_recipe, read_recipe

    recipe = read_recipe(find_recipe(args.recipe), args.rest)
    from simko.training.run import train

    print(train(recipe))
