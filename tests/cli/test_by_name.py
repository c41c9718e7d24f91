"""`simko evaluate` from Python: the same run as the command's."""

import pytest

from simko.cli.main import main
from simko.evaluate import evaluate
from simko.report import read_sections


def test_it_evaluates_as_the_command_does(speaker, tmp_path):
    model = speaker(0)
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(f'{{"prompt": "{i} + 1 =", "answer": "{i + 1}"}}\n' for i in range(3)))
    said = ["--max-new-tokens", "4", "-n", "2", "--quiet", "--temperature", "0.6,1", "--dtype", "float32"]
    words = ["--model", str(model), "--task", str(file), "--verifier", "last_integer", *said]
    assert main(["evaluate", *words, "--out", str(tmp_path / "command")]) == 0
    given = {"verifier": "last_integer", "max_new_tokens": 4, "quiet": True, "dtype": "float32"}
    found = evaluate(str(model), str(file), tmp_path / "python", samples=2, temperature=[0.6, 1.0], **given)
    assert [s.setting for s in found.sections] == ["T=0.6", "T=1"]
    there = read_sections([str(tmp_path / "command")])
    assert [s.sides[0].evaluations[0].setting.record for s in found.sections] == [
        s.sides[0].evaluations[0].setting.record for s in there
    ]
    again = evaluate(str(model), [str(file)], tmp_path / "python", samples=3, temperature=0.6, **given)
    assert [s.samples for s in again.sections] == [3, 2]
    own = evaluate(str(model), str(file), tmp_path / "own", samples=1, **given | {"verifier": lambda r, p: True})
    assert own.curves["pass_at_k"].to_pylist() == [1.0]
    with pytest.raises(ValueError, match="takes no spice"):
        evaluate(str(model), str(file), tmp_path / "no", samples=1, **given, spice=1)
