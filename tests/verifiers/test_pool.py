"""The grading pool: what becomes of a job, whoever calls, whatever is killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from judges import OBEY

from simko.records import Problem, Verdict
from simko.verifiers import grade_many
from simko.verifiers.pool.pool import SHARED, GradingPool, Job

GOLD = Problem("p", "", "42")
NUMBERS = [str(number) for number in range(30, 60)]


def jobs(*orders: str, judge: str = "judges:obey") -> list[Job]:
    return [Job(judge, order, GOLD) for order in orders]


def group(pid: int) -> dict[int, str]:
    """The processes of a process group with their states (Z: a zombie)."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(pgrp) == pid:
            found[int(path.parent.name)] = state
    return found


def emptied(pid: int, seconds: float = 10.0) -> bool:
    """Whether a group comes to hold nothing but zombies that belong to the machine's first process."""
    end = time.monotonic() + seconds
    while any(state != "Z" for state in group(pid).values()):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture(scope="module")
def pool() -> Iterator[GradingPool]:
    with GradingPool(2) as made:
        yield made


@pytest.mark.parametrize(
    ("order", "outcome"),
    [
        ("42", "correct"),
        ("41", "wrong"),
        ("", "wrong"),
        ("\ud800\n\0", "wrong"),
        ("9" * 1_000_000, "wrong"),
        ("hog", "timeout"),
        ("recurse", "timeout"),
        (f"signal {signal.SIGABRT:d}", "timeout"),
        ("crash", "timeout"),
        ("raise x", "error"),
        ("raise \ud800", "error"),
        ("exit", "error"),
        (f"signal {signal.SIGKILL:d}", "error"),
        (f"signal {signal.SIGTERM:d}", "error"),
        ("patricide", "error"),
        ("print x", "wrong"),
        ("modules torch", "wrong"),
        ("modules simko", "correct"),
    ],
)
def test_outcomes(pool: GradingPool, order: str, outcome: str) -> None:
    assert pool.grade(jobs(order)) == [outcome]
    assert pool.grade(jobs("42")) == ["correct"]


@pytest.mark.parametrize(
    "judge", ["judges:never_gives_up", pytest.param("judges:obey", marks=pytest.mark.slow)], ids=["stubborn", "in_c"]
)
def test_cpu_time_ends_what_nothing_else_can(judge: str) -> None:
    start = os.times()
    with GradingPool(1) as one:
        assert one.grade([Job(judge, "burn_in_c", GOLD), *jobs("42")]) == ["timeout", "correct"]
    used = os.times()
    assert 1.9 < used.children_user + used.children_system - start.children_user - start.children_system < 4.0


@pytest.mark.slow
def test_waiting_and_earlier_jobs_do_not_count() -> None:
    with GradingPool(1) as one:
        assert one.grade(jobs(*["burn 0.8"] * 3, "sleep 2.5", "42")) == ["wrong"] * 4 + ["correct"]


def test_memory_that_earlier_jobs_keep_does_not_count() -> None:
    with GradingPool(1) as one:
        assert one.grade(jobs(*["keep 300"] * 4)) == ["wrong"] * 4


def test_no_file_can_be_filled(pool: GradingPool, tmp_path: Path) -> None:
    assert pool.grade(jobs(f"write {tmp_path / 'x'}")) == ["error"]
    assert (tmp_path / "x").stat().st_size == 0


@pytest.mark.slow
def test_a_sleeping_answer_ends(pool: GradingPool) -> None:
    assert pool.grade(jobs("sleep 1000", "42")) == ["timeout", "correct"]


def test_order_is_kept(pool: GradingPool) -> None:
    outcomes = pool.grade(jobs(*NUMBERS * 5, "burn 0.3", *NUMBERS))
    assert outcomes == ["correct" if number == "42" else "wrong" for number in [*NUMBERS * 5, "", *NUMBERS]]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT, signal.SIGTERM])
def test_a_job_whose_process_ends_once_is_graded_again(pool: GradingPool, tmp_path: Path, number: int) -> None:
    assert pool.grade(jobs(f"first {number:d} {tmp_path / 'mark'}")) == ["correct"]


@pytest.mark.parametrize("victim", ["worker", pytest.param("children", marks=pytest.mark.slow)])
def test_killed_while_grading(victim: str) -> None:
    orders = [*(f"burn 0.{tenths}" for tenths in (30, 31)), *NUMBERS * 5]
    with GradingPool(2) as made:
        made.grade(jobs("42"))
        assert made._process is not None
        leader = made._process.pid
        killed = []

        def kill() -> None:
            time.sleep(0.2)
            for pid in [leader] if victim == "worker" else set(group(leader)) - {leader}:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

        killer = threading.Thread(target=kill)
        killer.start()
        outcomes = made.grade(jobs(*orders))
        killer.join()
        assert len(killed) == (1 if victim == "worker" else 2)
        assert (made._process.pid != leader) == (victim == "worker")
    assert outcomes == ["correct" if order == "42" else "wrong" for order in orders]


@pytest.mark.parametrize("victims", ["worker", *(pytest.param(v, marks=pytest.mark.slow) for v in ("children", "all"))])
def test_kills_once_a_second_cost_no_verdict(victims: str) -> None:
    orders = [*(f"burn 0.0{hundredths}" for hundredths in range(2, 9)), *NUMBERS] * 4
    with GradingPool(2) as made:
        made.grade(jobs("42"))
        done, killed = threading.Event(), []

        def kill() -> None:
            while not done.wait(1.0):
                leader = made._process.pid if made._process else 0
                found = {leader} if victims == "worker" else set(group(leader)) if leader else set()
                for pid in found - {0} - ({leader} if victims == "children" else set()):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        killed.append(pid)

        killer = threading.Thread(target=kill)
        killer.start()
        outcomes, rounds = [], 0
        try:
            while len(killed) < 2:  # a fast machine grades one round between two kills
                outcomes += made.grade(jobs(*orders))
                rounds += 1
        finally:
            done.set()
            killer.join()
    assert outcomes == ["correct" if order == "42" else "wrong" for order in orders * rounds]


def test_an_answer_that_ends_the_worker_costs_itself_alone() -> None:
    with GradingPool(2) as made:
        assert made.grade(jobs(*NUMBERS, "patricide", *NUMBERS)) == [
            "error" if order == "patricide" else "correct" if order == "42" else "wrong"
            for order in [*NUMBERS, "patricide", *NUMBERS]
        ]


def test_children_of_a_killed_worker_are_ended() -> None:
    made = GradingPool(1)
    made.grade(jobs("42"))
    assert made._process is not None
    leader = made._process.pid
    assert made.grade(jobs("patricide")) == ["error"]
    assert emptied(leader)


def test_no_process_is_left_and_none_is_a_zombie() -> None:
    with GradingPool(2) as made:
        made.grade(jobs("42", "crash", "hog", "exit", "raise", *NUMBERS))
        assert made._process is not None
        leader = made._process.pid
        assert leader in group(leader)  # its children may be done by now
        assert "Z" not in group(leader).values()
    assert group(leader) == {}


SCRIPT = """
import os, sys
sys.path.insert(0, {here!r})
from simko.records import Problem
from judges import OBEY, has_gold
GOLD = Problem("p", "", "42")
def right():
    verdicts = OBEY.grade([(r"\\boxed{{%s}}" % text, GOLD) for text in ("burn 0", "42 ", "41", "modules torch")])
    return [v.outcome for v in verdicts] == ["wrong"] * 4
with open(sys.argv[1], "a") as file:
    file.write("x")
"""


def run(tmp_path: Path, body: str, shell: str = "{python} {script} {mark}") -> None:
    """Run an unguarded script from another directory; it must print ok and be executed once."""
    script, mark, elsewhere = tmp_path / "script.py", tmp_path / "mark", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "json.py").write_text("raise SystemExit('imported from the current directory')")
    script.write_text(SCRIPT.format(here=str(Path(__file__).parent)) + body)
    command = shell.format(python=sys.executable, script=script, mark=mark)
    done = subprocess.run(command, shell=True, cwd=elsewhere, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.split()) == (0, ["ok"]), done.stderr
    assert mark.read_text() == "x"
    assert done.stderr == ""


def test_an_unguarded_script_that_imports_torch(tmp_path: Path) -> None:
    run(tmp_path, "import torch\ntorch.zeros(9) @ torch.zeros(9)\nassert right()\nprint('ok')")


def test_without_standard_streams(tmp_path: Path) -> None:
    run(
        tmp_path,
        "open(sys.argv[2], 'w').write('ok ' * right())",
        "{python} {script} {mark} {mark}.said <&- >&- 2>&-; cat {mark}.said",
    )


@pytest.mark.parametrize("before", ["True", pytest.param("right()", marks=pytest.mark.slow)], ids=["unused", "used"])
def test_in_a_daemonic_process_and_after_a_fork(tmp_path: Path, before: str) -> None:
    body = """
import multiprocessing
context = multiprocessing.get_context("fork")
def child():
    assert right()
    print("ok", flush=True)
assert {before}
process = context.Process(target=child, daemon=True)
process.start()
process.join()
assert process.exitcode == 0 and right()
"""
    run(tmp_path, body.format(before=before))


def test_a_fork_while_another_thread_grades() -> None:
    SHARED.grade(jobs("42"))
    thread = threading.Thread(target=SHARED.grade, args=(jobs("sleep 1"),))
    thread.start()
    time.sleep(0.3)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if SHARED.grade(jobs("42", "41")) == ["correct", "wrong"] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    thread.join()
    assert SHARED.grade(jobs("42", "41")) == ["correct", "wrong"]


def test_threads_grade_at_once() -> None:
    results: dict[int, list[Verdict]] = {}

    def grade(gold: int) -> None:
        answers = [
            (rf"\boxed{{{number}}}", Problem(f"p{gold}", "", f" {gold}")) for number in range(gold - 9, gold + 9)
        ]
        results[gold] = grade_many(OBEY, [*answers, (rf"\boxed{{ {gold}}}", answers[0][1])])

    threads = [threading.Thread(target=grade, args=(gold,)) for gold in range(40, 48)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    for verdicts in results.values():
        assert [verdict.outcome for verdict in verdicts] == ["wrong"] * 18 + ["correct"]


@pytest.mark.parametrize("end", ["killed", "over"])
def test_a_caller_that_ends_while_grading_leaves_nothing(tmp_path: Path, end: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        SCRIPT.format(here=str(Path(__file__).parent))
        + "import threading, time\nfrom simko.verifiers.pool.pool import SHARED, Job\n"
        + "work = threading.Thread(target=SHARED.grade, args=([Job('judges:obey', 'sleep 1000', GOLD)],), daemon=True)\n"
        + "work.start()\ntime.sleep(1)\nprint(SHARED._process.pid, flush=True)\nsys.stdin.read()\n"
    )
    caller = subprocess.Popen(
        [sys.executable, script, tmp_path / "mark"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert caller.stdin is not None
    assert caller.stdout is not None
    leader = int(caller.stdout.readline())
    assert len(group(leader)) == 2
    if end == "killed":
        caller.kill()
    caller.stdin.close()
    assert caller.wait(timeout=10) == (-signal.SIGKILL if end == "killed" else 0)
    caller.stdout.close()
    assert emptied(leader)


def test_an_interrupted_call_leaves_no_answers_to_the_next(pool: GradingPool) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(KeyboardInterrupt):
            pool.grade(jobs(*["burn 0.1"] * 40))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert pool.grade(jobs("42", "41")) == ["correct", "wrong"]


@pytest.mark.parametrize(
    ("judge", "reason"), [("no_such_module:f", "No module named"), ("judges:none", "no attribute 'none'")]
)
def test_a_judge_that_cannot_be_imported_is_named(pool: GradingPool, judge: str, reason: str) -> None:
    with pytest.raises(RuntimeError, match=f"{judge} cannot be loaded: .*{reason}"):
        pool.grade(jobs("1", judge=judge))
    assert pool.grade(jobs("42")) == ["correct"]


def test_a_worker_that_cannot_start_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="ended as it started"):
        GradingPool(1).grade(jobs("42"))


def test_at_least_one_worker() -> None:
    with pytest.raises(ValueError, match="at least one"):
        GradingPool(0)
