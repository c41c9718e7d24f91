r"""What equals what: one table from the gold's type and the answer's to a rule. What is not in it is not equal.

Rules give True, False, or None where the judge cannot tell. In RL's interest what is doubtful is refused:
- integers are compared exactly; golds in decimals within a relative 1e-4; decimal answers to closed forms within 1e-6;
- 60% is 0.6; a gold with % also takes the bare number (28% takes 28 and 0.28), but 149% is not 149;
- a unit may be left out or added, not changed: 3 m is 300 cm, not 3 cm; a base may be left out;
- names count where both sides give them: x=2, y=3 is not x=3, y=2, and y=5 not x=5;
- every side of a chain of equalities must equal the gold: 3/6=1/2 is 1/2, 1=2=149 is not 149; one after \approx be near it;
- lists and sets have no order; tuples do.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from simko.verifiers.maths.comparing import bound, names, quantities, shapes, texts
from simko.verifiers.maths.comparing.judges import Judge, Verdict3, all_of, any_of
from simko.verifiers.maths.values import (
    Cases,
    Chain,
    Clock,
    Function,
    Given,
    Listing,
    Matrix,
    Named,
    Option,
    Quantity,
    Relation,
    Text,
    Tuple,
    Unread,
    Value,
)  # fmt: skip

Rule = Callable[[Any, Any, Judge], Verdict3]

# the gold's type, the answer's type
TABLE: dict[tuple[type, type], Rule] = {
    (Quantity, Quantity): quantities.quantities,
    (Quantity, Text): texts.quantity_text,
    (Quantity, Clock): texts.ratio,
    (Quantity, Chain): names.chain,
    (Text, Text): texts.texts,
    (Text, Quantity): texts.text_quantity,
    (Option, Option): texts.options,
    (Option, Quantity): texts.option_letter,
    (Clock, Clock): texts.clocks,
    (Clock, Quantity): texts.as_ratio,
    (Named, Named): names.named_values,
    (Named, Chain): lambda gold, answer, judge: any_of(
        [names.equations(gold, answer, judge), names.names_its_value(gold) and names.chain(gold.value, answer, judge)]
    ),
    (Named, Function): lambda gold, answer, judge: False,
    (Chain, Named): names.equations,
    (Chain, Chain): names.equations,
    (Chain, Quantity): lambda gold, answer, judge: judge.same(gold.values[0], answer),
    (Function, Function): names.functions,
    (Function, Named): lambda gold, answer, judge: answer.name == "y" and judge.same(gold.body, answer.value),
    (Relation, Relation): shapes.relations,
    (Listing, Listing): shapes.listings,
    (Listing, Tuple): shapes.listing_tuple,
    (Listing, Text): texts.letters,
    (Text, Listing): lambda gold, answer, judge: texts.letters(answer, gold, judge),
    (Relation, Quantity): lambda gold, answer, judge: (
        gold.signs == (r"\equiv",) and shapes.congruent(gold.sides[1], answer.node)
    ),
    (Tuple, Listing): shapes.tuple_listing,
    (Tuple, Tuple): shapes.tuples,
    (Tuple, Matrix): shapes.point,
    (Tuple, Quantity): shapes.basis_vector,
    (Quantity, Tuple): lambda gold, answer, judge: shapes.basis_vector(answer, gold, judge),
    (Quantity, Listing): lambda gold, answer, judge: (
        bool(answer.items) and all_of(judge.same(gold, item) for item in answer.items)
    ),
    (Matrix, Matrix): shapes.matrices,
    (Matrix, Tuple): shapes.vector,
    (Matrix, Quantity): shapes.basis_matrix,
    (Cases, Cases): shapes.cases,
}

_BEYOND = re.compile(r"\\(?:i*int|oint|sum|prod)(?![A-Za-z])")
"""What simko does not read, and math-verify may."""


def compare(gold: Value, answer: Value, judge: Judge) -> Verdict3:
    """Whether the answer equals the gold: by the table; else without what the gold does not ask for, a name, a label."""
    if gold == answer and not (isinstance(gold, Unread) and not gold.text):
        return True
    if isinstance(gold, Unread) or isinstance(answer, Unread):
        return (
            None if _BEYOND.search("".join(side.text for side in (gold, answer) if isinstance(side, Unread))) else False
        )
    if isinstance(gold, Given) or isinstance(answer, Given):
        return bound.given(gold, answer, judge)
    answer = bound.with_counter_of(gold, answer)
    if (rule := TABLE.get((type(gold), type(answer)))) is not None:
        return rule(gold, answer, judge)
    if isinstance(answer, Named) and (value := names.without_name(gold, answer)) is not None:
        return judge.same(gold, value)
    if isinstance(answer, Option) and answer.content is not None:
        return judge.same(gold, answer.content)
    if isinstance(answer, Listing) and len(answer.items) == 1:
        return judge.same(gold, answer.items[0])
    if isinstance(gold, Named) and names.names_its_value(gold) and names.headings(answer) <= {gold.name}:
        return judge.same(gold.value, answer)
    if isinstance(gold, Function):
        return judge.same(gold.body, answer)
    if isinstance(answer, Function):
        return judge.same(gold, answer.body)
    if isinstance(gold, Option) and gold.content is not None:
        return judge.same(gold.content, answer)
    if isinstance(gold, Listing) and len(gold.items) == 1:
        return judge.same(gold.items[0], answer)
    return shapes.regions(gold, answer, judge)


def judge_with(thorough: bool, within: Fraction | None = None) -> Judge:
    """The judge of all rules."""
    return Judge(compare, thorough, within)
