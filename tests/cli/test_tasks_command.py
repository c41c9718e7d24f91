"""`simko tasks` as a user meets it."""

import subprocess
import sys
from pathlib import Path

import pytest

from simko.cli.main import main
from simko.tasks import PREFIXES, TASKS
from simko.verifiers import VERIFIERS


def test_every_task_has_one_line_with_its_facts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks"]) == 0
    out = capsys.readouterr().out
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    for name, task in TASKS.items():
        assert task.licence in lines[name]
        for size in task.sizes.values():
            assert ("?" if size is None else f"{size:,}") in lines[name]
    assert lines["aime24"].split()[1:6] == ["30", "test", "math", "300", "0.6/0.95"]
    assert "HuggingFaceH4/aime_2024@2fe88a2f" in lines["aime24"]
    assert "revision not pinned yet" in lines["synlogic_easy"]
    assert all(f"{prefix}/NAME:" in lines for prefix in PREFIXES)
    assert all(name in lines["verifiers:"] for name in VERIFIERS)


def test_one_task_is_told_with_its_first_problem(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "multiplication"]) == 0
    out = capsys.readouterr().out
    first = TASKS["multiplication"].load("test", 1)[0]
    for text in ("158 train, 122 test", "stop at '\\n'", "defects:  none known", first.prompt.split("\n")[0], first.id):
        assert text in out


def test_a_task_that_is_not_here_says_what_to_fetch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert main(["tasks", "bbh/causal_judgement"]) == 0
    out = capsys.readouterr().out
    assert (
        "run: hf download lukaemon/bbh --repo-type dataset --revision 982bb89fd79532a8ac676a61fc42eb1aeec63f99" in out
    )
    assert "187 test" in out
    assert "two problems occur twice" in out
    assert main(["tasks", "bbh/causal_judgment"]) == 2
    assert "did you mean: causal_judgement?" in capsys.readouterr().err


def test_listing_loads_no_problems_and_no_framework() -> None:
    code = "import sys\nfrom simko.cli.main import main\nmain(['tasks'])\n"
    code += "print([m for m in ('torch', 'datasets', 'huggingface_hub', 'transformers') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
