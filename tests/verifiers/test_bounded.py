"""Verifiers whose last step is the pool's: which answers become its jobs."""

import pytest
from judges import OBEY, has_gold

from simko.records import Problem, Verdict
from simko.verifiers import Bounded, check_problems
from simko.verifiers.extract import Span
from simko.verifiers.pool.pool import GradingPool

GOLD = Problem("p", "", "42")


class Spy(GradingPool):
    """Remembers the jobs."""

    def grade(self, jobs):  # type: ignore[no-untyped-def]
        self.seen = list(jobs)
        return super().grade(jobs)


def test_equal_answers_to_equal_problems_are_judged_once() -> None:
    harder = Problem("p", "", "42", {"level": 5})
    answers = [(text, Problem("p", "", "42")) for text in (r"\boxed{41}", r"so \boxed{41}", r"\boxed{40}", "none")] * 9
    answers += [(r"\boxed{41}", harder), (r"\boxed{42}", harder), (r"\boxed{raise x}", harder)]
    with Spy(2) as spy:
        verdicts = OBEY.grade(answers, spy)
    rows = [
        Verdict("wrong", "41", rule="box"),
        Verdict("wrong", "41", rule="box"),
        Verdict("wrong", "40", rule="box"),
        Verdict("unparsed"),
    ]
    assert verdicts == rows * 9 + [
        Verdict("wrong", "41", rule="box"),
        Verdict("correct", "42", rule="box"),
        Verdict("error", "raise x", rule="box"),
    ]
    assert [(job.extracted, job.problem) for job in spy.seen] == [
        ("41", GOLD), ("40", GOLD), ("41", harder), ("raise x", harder)
    ]  # fmt: skip


def test_what_text_decides_starts_no_process() -> None:
    with GradingPool(1) as made:
        assert OBEY.grade([(r"\boxed{42}", GOLD), ("", GOLD)], made)[0].outcome == "correct"
        assert OBEY.grade([], made) == []
        assert made._process is None


def test_a_bounded_verifier_is_called_as_any_other() -> None:
    assert OBEY(r"\boxed{42}", GOLD) == Verdict("correct", "42", rule="box")
    assert OBEY(r"\boxed{ 42}", GOLD) == Verdict("wrong", " 42", rule="box")
    assert OBEY.name == "obey"


def test_problems_that_cannot_be_judged_are_named() -> None:
    with pytest.raises(ValueError, match="'q' has no gold answer"):
        OBEY(r"\boxed{1}", Problem("q", ""))
    with pytest.raises(ValueError, match=r"'q'.*must be JSON"):
        OBEY(r"\boxed{1}", Problem("q", "", "1", {"set": {1}}))
    check_problems(OBEY, [GOLD])
    check_problems("last_integer", [GOLD])
    with pytest.raises(ValueError, match="'q' has no gold answer"):
        check_problems(OBEY, [GOLD, Problem("q", "")])
    with pytest.raises(ValueError, match=r"problem 'q'.*not an integer"):
        check_problems("last_integer", [GOLD, Problem("q", "", "x")])


@pytest.mark.parametrize("step", ["extract", "quick", "form"])
def test_an_answer_that_a_step_raises_on_is_an_error(step: str, caplog: pytest.LogCaptureFixture) -> None:
    def fragile(text: str, *_: Problem) -> str:
        return str(1 / (1 - text.count("bad"))) and text

    def same(text: str, problem: Problem) -> bool:
        return (fragile(text) if step == "quick" else text) == problem.answer

    def whole(text: str, problem: Problem) -> Span:
        return Span(fragile(text) if step == "extract" else text, "whole response")

    verifier = Bounded("fragile", has_gold, whole, same, "judges:obey", form=fragile if step == "form" else str)
    verdicts = verifier.grade([("bad", problem := Problem("p7", "", "5")), ("5", problem), ("bad", problem)])
    assert [verdict.outcome for verdict in verdicts] == ["error", "correct", "error"]
    assert [record.message.count("'p7'") for record in caplog.records] == [1]
    assert "ZeroDivisionError" in caplog.text
