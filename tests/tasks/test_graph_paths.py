"""Path problems: the verifier and the traces against all paths found by brute force, and the split."""

import re
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simko.records import Problem
from simko.tasks import get_task, graph_paths_traces
from simko.tasks.graph_paths import NODES, is_test
from simko.verifiers import verify_graph_paths

TASK = get_task("graph_paths")
TRACES = graph_paths_traces(300, seed=3, shuffled_targets=0.0)
PINNED = {
    "test": ["CF CG EG BD DF BF AB BG CD GH AG BH : F G 5", "EG AB AF EF CD DG CH DH AC CE BH BC : G B 5"],
    "train": ["BF AH GH BE FH BD EG EH AG DF CE BG : D G 5", "BH DH DE EG GH CD AF CE BE EH AC AE : F B 5"],
}


def solutions(prompt: str) -> set[str]:
    """All responses that pass, by trying every order of nodes."""
    edges, asked = prompt.split(" : ")
    start, goal, steps = asked.split()
    found = set()
    for inner in permutations(sorted(set(NODES) - {start, goal}), int(steps) - 1):
        path = "".join((start, *inner, goal))
        if all(f"{a}{b}" in edges or f"{b}{a}" in edges for a, b in pairwise(path)):
            found.add(" ".join(path[1:]))
    return found


def graph(prompt: str) -> frozenset[str]:
    return frozenset(prompt.split(" : ")[0].split())


def test_most_problems_have_several_paths_and_the_verifier_accepts_them_all() -> None:
    several = 0
    for problem in TASK.load("test"):
        paths = solutions(problem.prompt)
        assert paths
        assert all(verify_graph_paths(path, problem).outcome == "correct" for path in paths)
        several += len(paths) > 1
    assert several > 0.8 * 128


@given(trace=st.sampled_from(TRACES), place=st.integers(0, 4), token=st.sampled_from(NODES))
def test_a_trace_passes_and_with_another_token_only_if_that_is_a_path_too(
    trace: tuple[str, str], place: int, token: str
) -> None:
    prompt, response = trace
    problem, paths = Problem("p", prompt), solutions(prompt)
    assert response in paths
    assert verify_graph_paths(response, problem).outcome == "correct"
    tokens = response.split()
    changed = " ".join([*tokens[:place], token, *tokens[place + 1 :]])
    assert verify_graph_paths(changed, problem).outcome == ("correct" if changed in paths else "wrong")
    missing = " ".join(tokens[:place] + tokens[place + 1 :])
    assert verify_graph_paths(missing, problem).outcome == "wrong"
    assert verify_graph_paths(f"{response} {token}", problem).outcome == "wrong"


@given(trace=st.sampled_from(TRACES), data=st.data())
def test_no_path_passes_without_one_of_its_edges_or_for_another_goal(
    trace: tuple[str, str], data: st.DataObject
) -> None:
    prompt, response = trace
    edges, asked = prompt.split(" : ")
    start, goal, steps = asked.split()
    path = [start, *response.split()]
    used = data.draw(st.sampled_from([frozenset(step) for step in pairwise(path)]))
    left = " ".join(edge for edge in edges.split() if frozenset(edge) != used)
    assert verify_graph_paths(response, Problem("p", f"{left} : {asked}")).outcome == "wrong"
    other = data.draw(st.sampled_from(sorted(set(NODES) - {start, goal})))
    assert verify_graph_paths(response, Problem("p", f"{edges} : {start} {other} {steps}")).outcome == "wrong"


def test_a_graph_is_on_one_side_whatever_the_order_of_its_edges() -> None:
    train, test = TASK.load("train", 10_000), TASK.load("test", 3_000)
    assert not {graph(p.prompt) for p in train} & {graph(p.prompt) for p in test}
    assert not {graph(prompt) for prompt, _ in graph_paths_traces(3_000, seed=1)} & {graph(p.prompt) for p in test}
    rng = np.random.default_rng(0)
    graphs = rng.random((20_000, 28)).argsort(1)[:, :12]
    held_out = is_test(graphs)
    assert (is_test(rng.permuted(graphs, axis=1)) == held_out).all()
    assert 0.09 < held_out.mean() < 0.11
    # neither side prefers an edge
    assert (abs(np.bincount(graphs[held_out].ravel()) / held_out.sum() - 12 / 28) < 0.06).all()


def test_first_problems_are_pinned() -> None:
    # other problems under the same name would make old figures incomparable
    assert [p.prompt for p in TASK.load("test", 2)] == PINNED["test"]
    assert [p.prompt for p in TASK.load("train", 2)] == PINNED["train"]


def test_more_problems_than_it_gives_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match=re.escape("at most 1000000 problems, not 10000000: lower the limit")):
        TASK.load("test", 10**7)


def test_shuffled_traces_are_paths_that_mostly_end_elsewhere() -> None:
    rows = graph_paths_traces(2_000, seed=3)
    reached = 0
    for prompt, response in rows:
        edges, asked = prompt.split(" : ")
        start, _, steps = asked.split()
        walked = f"{edges} : {start} {response[-1]} {steps}"
        assert verify_graph_paths(response, Problem("p", walked)).outcome == "correct"
        assert verify_graph_paths(response, Problem("p", prompt)).outcome == (
            "correct" if walked == prompt else "wrong"
        )
        reached += walked == prompt
    assert 0.27 < reached / len(rows) < 0.36  # those not shuffled, and a seventh of the others


def test_traces_are_seeded() -> None:
    assert graph_paths_traces(100, seed=0) == graph_paths_traces(100, seed=0)
    assert graph_paths_traces(100, seed=0) != graph_paths_traces(100, seed=1)
    with pytest.raises(ValueError, match="share from 0 to 1"):
        graph_paths_traces(10, seed=0, shuffled_targets=70)
