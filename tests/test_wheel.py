"""What a user installs: the wheel, and a core that needs torch and jaxtyping alone."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXTRAS = ("trl", "transformers", "datasets", "accelerate", "peft", "scipy", "matplotlib", "jinja2", "tqdm", "yaml")


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The wheel, built and unpacked into a folder of its own."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    (wheel,) = folder.glob("simko-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(installed: Path, code: str) -> str:
    """Run code that sees the wheel instead of the checkout."""
    code = f"import sys; sys.path.insert(0, {str(installed)!r})\n{code}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=installed)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_the_wheel_holds_everything(installed):
    for name in (
        "py.typed",
        "verifiers/cues.toml",
        "report/document.html.jinja",
        "recipes/quickstart.yaml",
        "recipes/qwen2.5-math-7b.yaml",
        "recipes/verl/method/simko.yaml",
        "training/models.yaml",
    ):
        assert (installed / "simko" / name).is_file(), name
    code = "import simko; from simko.training.recipe import find_recipe; print(simko.__file__, find_recipe('smollm2.yaml'))"
    assert run(installed, code).split() == [
        str(installed / "simko" / "__init__.py"),
        str(installed / "simko" / "recipes" / "smollm2.yaml"),
    ]


def test_the_core_needs_torch_and_jaxtyping_alone(installed):
    code = f"""
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {EXTRAS!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
import simko.objectives, simko.token_stats, simko.diagnostics, simko.records, simko.verifiers
from simko.cli.main import main
assert main(["methods"]) == main(["methods", "pkpo"]) == 0
print(simko.objectives.simko_loss.__name__)
"""
    assert run(installed, code).endswith("simko_loss")
