"""Real training runs of a few steps on a tiny model, of which pages are made."""

from pathlib import Path

RECIPE = """
task: operator_puzzle
train_problems: 40
dtype: float32
num_generations: 4
per_device_train_batch_size: 16
steps_per_generation: 2
max_completion_length: 9
save_steps: 2
logging_steps: 1
learning_rate: 1.0e-2
probe_every: 2
reward_function: {module}:plus
bf16: false
gradient_checkpointing: false
use_cpu: true
report_to: none
disable_tqdm: true
"""


def plus(completions, **_):
    """Right where there is a plus: an untrained model earns it now and then."""
    return [float("+" in c) for c in completions]


def held_out(file: Path) -> list[str]:
    """Options that measure pass@K every second step, on problems that a model which says digits solves now and then."""
    file.write_text("".join(f'{{"prompt": "{i} 2 3 4 5 =", "answer": "{i}"}}\n' for i in range(1, 7)))
    words = [
        "--passk_every",
        "2",
        "--passk_samples",
        "8",
        "--passk_task",
        str(file),
        "--passk_verifier",
        "last_integer",
    ]
    return words


def train_run(base: Path, out: Path, method: str, steps: int = 4, *words: str) -> Path:
    """The run directory `out`, trained for real."""
    from simko.training.recipe import read_recipe
    from simko.training.run import train

    recipe = out.parent / f"{out.name}.yaml"
    recipe.write_text(RECIPE.format(module=__name__))
    named = ["--model_name_or_path", str(base), "--output_dir", str(out), "--method", method, "--max_steps", str(steps)]
    train(read_recipe(recipe, [*named, *words]))
    return out
