"""The parts of a page that show single problems and their samples."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import zip_longest

from simko.evaluate import SampleStore
from simko.report.comparison import Section
from simko.report.document import Asked, Block, Heading, ProblemRow, Problems, Prose, Response, Samples
from simko.report.passk import place
from simko.report.runs import Evaluation
from simko.report.text import cut, visible
from simko.report.words import counted

_PAGE = 2_000_000  # bytes of responses on a page
_LEAST = 6_000  # bytes of a problem's responses
_RESPONSE, _PROMPT, _ANSWER, _NAME = 4_000, 2_000, 200, 80  # characters
_ROWS = 1_500  # of problems on a page
_VERDICTS = {
    "correct": "correct",
    "wrong": "incorrect",
    "unparsed": "no answer found",
    "timeout": "exhausted the grader’s limits",
    "error": "could not be graded",
    "failed": "no response came",
    "ungraded": "not graded",
}
Kept = tuple[str, str, str, int | None]
"""A distinct response: its outcome, answer, text and tokens."""


def problems(sections: Sequence[Section]) -> list[Block]:
    """Each problem's counts, and its samples, of every section."""
    blocks: list[Block] = []
    for number, section in enumerate(sections):
        order = _by_change(section)
        anchors = {problem: f"s{number}-p{i}" for i, problem in enumerate(order)}
        asked = _asked(section, anchors, _PAGE // len(sections))
        shown = order[: _ROWS // len(sections)]
        linked = {a.anchor for a in asked}
        rows = [_row(section, problem, anchors[problem] if anchors[problem] in linked else "") for problem in shown]
        blocks += [Heading(f"Problems: {place(section)}"), Problems([s.name for s in section.sides], rows)]
        if len(shown) < len(order):
            blocks.append(Prose(f"The first {len(shown):,} of {len(order):,} problems.", "caption"))
        if asked:
            blocks += [
                Heading(f"Samples: {place(section)}"),
                Samples(asked),
                Prose(_left_out(section, asked), "caption"),
            ]
    return blocks


def _counts(section: Section, problem: str) -> list[tuple[int, int]]:
    """(n, c) of each side, summed over its training seeds."""
    every = [[e.counts[problem] for e in side.evaluations] for side in section.sides]
    return [(sum(n for n, _ in side), sum(c for _, c in side)) for side in every]


def _by_change(section: Section) -> list[str]:
    """The problems, those first whose share of correct samples changes most from the first side to the last."""

    def change(problem: str) -> float:
        (n, c), *_, (m, d) = [*_counts(section, problem), _counts(section, problem)[-1]]
        return -abs(d / max(m, 1) - c / max(n, 1))

    return sorted(section.sides[0].evaluations[0].counts, key=change)


def _row(section: Section, problem: str, anchor: str) -> ProblemRow:
    equal = section.samples == section.most_samples
    changes = [
        f"newly {word} by {pair.ours} against {pair.other}"
        for pair in (section.pairs if equal else ())
        for word, found in (("solved", pair.comparison.newly_solved), ("lost", pair.comparison.newly_lost))
        if problem in found
    ]
    return ProblemRow(anchor, cut(problem, _NAME), _counts(section, problem), changes)


def _asked(section: Section, anchors: dict[str, str], budget: int) -> list[Asked]:
    """The problems with their responses, as many as the budget holds."""
    found: list[Asked] = []
    with ExitStack() as stack:
        stores = [
            (side.name if len(side.evaluations) == 1 else f"{side.name}, {e.run.name}", side.name, e, _open(stack, e))
            for side in section.sides
            for e in side.evaluations
            if not e.setting.holds_counts
        ]
        for i, (problem, anchor) in enumerate(anchors.items() if stores else ()):
            if budget < _LEAST:
                break
            share = max(_LEAST, budget // (len(anchors) - i))
            kept = {(name, side): _distinct(store, e, problem) for name, side, e, store in stores}
            responses, spent = _take(kept, share)
            asked = next((e.problems[problem] for _, _, e, _ in stores if problem in e.problems), None)
            prompt, gold = (cut(asked.prompt, _PROMPT), cut(asked.answer or "", _ANSWER)) if asked else ("", "")
            budget -= spent + _bytes(prompt)
            counts = zip(section.sides, _counts(section, problem), strict=True)
            words = " · ".join(f"{side.name} {c}/{n}" for side, (n, c) in counts)
            found.append(Asked(anchor, cut(problem, _NAME), prompt, gold, words, responses))
    return found


def _open(stack: ExitStack, e: Evaluation) -> SampleStore:
    return stack.enter_context(SampleStore(e.store, read_only=True))


def _distinct(store: SampleStore, e: Evaluation, problem: str) -> Counter[Kept]:
    """The distinct responses to a problem and how often each came."""
    return Counter(
        (
            verdict.outcome if verdict else "ungraded",
            (verdict and verdict.extracted) or "",
            sample.failure or sample.response,
            sample.tokens,
        )
        for sample, verdict in store.rows(e.setting, problem)
    )


def _take(kept: dict[tuple[str, str], Counter[Kept]], share: int) -> tuple[list[Response], int]:
    """Responses of every side and outcome by turns, until the share of bytes is spent, sorted by outcome; and the bytes."""
    queues: dict[tuple[str, str, str], list[tuple[Kept, int]]] = {}
    for (name, side), counts in kept.items():
        for response, count in counts.most_common():
            queues.setdefault((name, side, response[0]), []).append((response, count))
    taken: list[Response] = []
    spent = 0
    for turn in zip_longest(*queues.values()):
        for (name, side, outcome), found in zip(queues, turn, strict=True):
            if found is None or (taken and spent > share):
                continue
            (_, extracted, text, tokens), count = found
            shown = cut(extracted, _ANSWER), tokens, count, cut(text, _RESPONSE)
            taken.append(Response(name, side, _VERDICTS[outcome], *shown))
            spent += _bytes(taken[-1].text) + _bytes(taken[-1].extracted)
    return sorted(taken, key=lambda taken: list(_VERDICTS.values()).index(taken.verdict)), spent


def _bytes(text: str) -> int:
    """What a text takes on the page, with its tags."""
    from markupsafe import escape

    return 250 + len(escape(visible(text)).encode())


def _left_out(section: Section, asked: Sequence[Asked]) -> str:
    shown = sum(response.count for a in asked for response in a.responses)
    every = sum(e.tally.samples for side in section.sides for e in side.evaluations if not e.setting.holds_counts)
    texts = sum(len(a.responses) for a in asked)
    said = (
        f"Shown here: {shown:,} of the {counted(every, 'sample')} that count above, as {counted(texts, 'response')}, since equal ones of a "
        f"model stand once, and {len(asked):,} of {counted(section.problems, 'problem')}."
    )
    if shown == every:
        return said
    return f"{said} simko export writes all of them: {', '.join(sorted(set(_stores(section))))}."


def _stores(section: Section) -> Iterator[str]:
    return (str(e.run) for side in section.sides for e in side.evaluations)
