"""Tests of a program that lies to them: verdicts that it would forge, values that cross, limits."""

import textwrap

import pytest
from sandboxes import CHECK, SHORT, left_behind

from simko.verifiers.code.sandbox import Limits, ProgramTests, run_tests

pytestmark = pytest.mark.usefixtures("bwrap")


def test_tests_pass_and_fail() -> None:
    assert run_tests("def f(x): return {3: 77123, 4: 55321}[x]", CHECK) == "correct"
    assert run_tests("def f(x): return {3: 77123, 4: 0}[x]", CHECK) == "wrong"
    assert run_tests("def g(x): return 1", CHECK) == "wrong"


@pytest.mark.parametrize(
    "program",
    [
        "import os; os._exit(0)",
        "import sys; sys.exit(0)",
        "raise SystemExit(0)",
        "def f(x):\n    import os; os._exit(0)",
        "def f(x): raise SystemExit(0)",
        "def f(x): raise StopIteration",
        "print('correct', flush=True)\nimport os\nfor fd in range(60):\n    try: os.write(fd, b'correct\\n')\n    except OSError: pass\nos._exit(0)",
        'def f(x):\n    import os\n    for fd in range(60):\n        try: os.write(fd, b\'{"result": [["v", true], []]}\\ncorrect\\n\' * 9)\n        except OSError: pass',
        "class Yes:\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n    __hash__ = None\ndef f(x): return Yes()",
        "class Yes(int):\n    def __eq__(self, other): return True\ndef f(x): return Yes(5)",
        "import builtins\nbuiltins.AssertionError = type('E', (Exception,), {})\nbuiltins.len = lambda x: 0\ndef f(x): return 1",
        "import sys\nsys.settrace(lambda *a: None)\nsys.excepthook = lambda *a: None\ndef f(x): return 1",
        "def check(candidate): pass\ndef f(x): return 1",
        "def f(x): return 1\nimport os, signal\nos.kill(os.getppid(), signal.SIGKILL)",
        "def f(x): return float('nan')",
        "def f(x):\n    a = []\n    a.append(a)\n    return a",
        "def f(x): raise AssertionError('correct')",
        'import json\njson.dumps = lambda *a: \'{"result": "correct"}\'\ndef f(x): return 1',
    ],
)
def test_a_forged_verdict_is_wrong(program: str) -> None:
    assert run_tests(program, CHECK, SHORT) == "wrong"


def test_expected_values_are_nowhere_in_the_programs_process() -> None:
    program = """
        import gc, sys
        def f(x):
            frame, seen = sys._getframe(), []
            while frame:
                seen.append(repr(frame.f_locals) + repr(frame.f_globals))
                frame = frame.f_back
            seen += [repr(o) for o in gc.get_objects() if isinstance(o, (str, bytes, list, dict, tuple, int))]
            try: seen.append(open('/proc/self/maps').read())
            except OSError: pass
            return 77123 if any('5532' + '1' in text for text in seen) else 0
    """
    assert run_tests(textwrap.dedent(program), CHECK, SHORT) == "wrong"


def test_builtins_in_the_tests_are_their_own_unless_the_program_is_asked_for_them() -> None:
    near = "assert abs(f(2) - 4) < 1e-6"
    assert run_tests("def abs(x): return 0\ndef f(x): return 9", ProgramTests(near, ("f",))) == "wrong"
    assert run_tests("def sum(a, b): return a + b", ProgramTests("assert sum(10, 15) == 25", ("sum",))) == "correct"
    assert (
        run_tests(
            "import math\nmath.isclose = lambda *a: True\ndef f(): return 1",
            ProgramTests("assert math.isclose(f(), 2)", ("f",), setup="import math"),
        )
        == "wrong"
    )


def test_a_dead_program_is_no_expected_exception() -> None:
    tests = ProgramTests("try:\n    f()\nexcept Exception:\n    pass\nelse:\n    assert False", ("f",))
    assert run_tests("def f(): raise ValueError", tests) == "correct"
    assert run_tests("import os\ndef f(): os._exit(0)", tests) == "wrong"


@pytest.mark.parametrize(
    ("program", "ending"),
    [
        pytest.param("while True: pass", "cpu", marks=pytest.mark.slow),
        ("def f(x):\n    while True: pass", "cpu"),
        ("def f(x): return [0] * 10**9", "memory"),
        ("import time\ndef f(x): time.sleep(100)", "wall"),
        ("def f(x): return 'x' * 10**7", "wrong"),
        pytest.param("def f(x): return 10**10**7", "cpu", marks=pytest.mark.slow),
    ],
)
def test_limits_of_a_called_program(program: str, ending: str) -> None:
    limits = Limits(cpu_seconds=1, wall_seconds=1.0 if ending == "wall" else 20.0)
    assert run_tests(program, CHECK, limits) == ending
    assert left_behind() == []


def test_values_cross_as_they_are() -> None:
    values = "[None, True, 2**200, -1, 1.5, float('inf'), 2j, '\\ud800é', b'x', bytearray(b'y'), (1, [2]), {1, 2}, frozenset('a'), {(1,): {}}]"
    tests = ProgramTests(
        f"x = {values}\nassert echo(x) == x\nassert [type(v) for v in echo(x)] == [type(v) for v in x]", ("echo",)
    )
    assert run_tests("def echo(x): return x", tests) == "correct"


def test_objects_and_changed_arguments() -> None:
    program = """
        class Node:
            def __init__(self, value): self.value = value
            def double(self): return Node(self.value * 2)
            def __len__(self): return 7
        def total(nodes): return sum(node.value for node in nodes)
        def sort(xs): xs.sort()
        def count():
            yield from range(3)
    """
    tests = """
        n = Node(3)
        assert n.double().value == 6 and len(n) == 7
        assert total([Node(1), n]) == 4
        xs = [3, 1, 2]
        sort(xs)
        assert xs == [1, 2, 3]
        assert list(count()) == [0, 1, 2] and 2 in count()
    """
    assert run_tests(textwrap.dedent(program), ProgramTests(textwrap.dedent(tests))) == "correct"


def test_a_judge_that_a_value_has_felled_is_no_fault_of_ours() -> None:
    tests = ProgramTests("import os\nos.kill(os.getpid(), 11)")
    assert run_tests("def f(x): return 1", tests) == "wrong"


def test_a_test_that_hands_over_its_own_object_is_not_the_programs_fault() -> None:
    assert run_tests("def f(x): return 1", ProgramTests("assert f(object()) == 1", ("f",))) == "failed"
