"""Paths in a graph: go from a start to a goal along the edges, in a given number of steps and through no node twice.

The prompt reads "AB BC AC CD BD : A D 3": the undirected edges, then the start, the goal and the number of edges of the path.
A response gives the nodes after the start: "C B D" stands for the path A-C-B-D.
"""

import re
from itertools import pairwise

from simko.records import Problem, Verdict
from simko.verifiers.direct import Direct, Judge

_PROMPT = re.compile(r"((?:([A-Z])(?!\2)[A-Z] )+): ([A-Z]) (?!\3)([A-Z]) ([1-9][0-9]?)")
_TOKEN = re.compile(r"[^ \t\r\n]+")
_NODE = re.compile(r"[A-Z]")


@Direct
def verify_graph_paths(problem: Problem) -> Judge:
    """Check a path for problem.prompt exactly; any correct path passes.

    Tokens are nodes, single letters A-Z, separated by ASCII spaces, tabs and line ends. "unparsed": no token, or one that is
    no node. "wrong": a step that is no edge, a node visited twice (the start is visited), another number of steps than asked
    for, another last node than the goal. `extracted` is the response with single spaces.

    Raises ValueError if the prompt is not "XY XY ... : S G n" with edges between two different nodes, a goal that is not the
    start, and n from 1 to 99.
    """
    prompt = _PROMPT.fullmatch(problem.prompt)
    if not prompt:
        raise ValueError(
            f"problem {problem.id!r}: a path problem's prompt reads like 'AB BC AC CD BD : A D 3', not {problem.prompt!r}"
        )
    edges = {frozenset(edge) for edge in prompt[1].split()}
    start, goal, steps = prompt[3], prompt[4], int(prompt[5])

    def judge(response: str) -> Verdict:
        nodes = _TOKEN.findall(response)
        if not nodes or not all(map(_NODE.fullmatch, nodes)):
            return Verdict("unparsed")
        path = [start, *nodes]
        right = (
            len(nodes) == steps
            and path[-1] == goal
            and len(set(path)) == len(path)
            and all(frozenset(step) in edges for step in pairwise(path))
        )
        return Verdict("correct" if right else "wrong", " ".join(nodes))

    return judge
