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

from simko.verifiers.maths.comparing.bound import given, with_counter_of
from simko.verifiers.maths.comparing.judges import Judge, Verdict3, any_of
from simko.verifiers.maths.comparing.names import (
    chain,
    equations,
    functions,
    named_values,
    names_its_value,
    without_name,
)
from simko.verifiers.maths.comparing.quantities import quantities
from simko.verifiers.maths.comparing.shapes import (
    cases,
    listing_tuple,
    listings,
    matrices,
    point,
    regions,
    relations,
    tuple_listing,
    tuples,
    vector,
)  # fmt: skip
from simko.verifiers.maths.comparing.texts import (
    as_ratio,
    clocks,
    option_letter,
    options,
    quantity_text,
    ratio,
    text_quantity,
    texts,
)
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
    (Quantity, Quantity): quantities,
    (Quantity, Text): quantity_text,
    (Quantity, Clock): ratio,
    (Quantity, Chain): chain,
    (Quantity, Function): lambda gold, answer, judge: judge.same(gold, answer.body),
    (Text, Text): texts,
    (Text, Quantity): text_quantity,
    (Option, Option): options,
    (Option, Quantity): option_letter,
    (Clock, Clock): clocks,
    (Clock, Quantity): as_ratio,
    (Named, Named): named_values,
    (Named, Chain): lambda gold, answer, judge: any_of(
        [equations(gold, answer, judge), names_its_value(gold) and chain(gold.value, answer, judge)]
    ),
    (Named, Function): lambda gold, answer, judge: False,
    (Chain, Named): equations,
    (Chain, Chain): equations,
    (Chain, Quantity): lambda gold, answer, judge: judge.same(gold.values[0], answer),
    (Function, Function): functions,
    (Function, Quantity): lambda gold, answer, judge: judge.same(gold.body, answer),
    (Function, Named): lambda gold, answer, judge: answer.name == "y" and judge.same(gold.body, answer.value),
    (Relation, Relation): relations,
    (Listing, Listing): listings,
    (Listing, Tuple): listing_tuple,
    (Tuple, Listing): tuple_listing,
    (Tuple, Tuple): tuples,
    (Tuple, Matrix): point,
    (Matrix, Matrix): matrices,
    (Matrix, Tuple): vector,
    (Cases, Cases): cases,
}

_BEYOND = re.compile(r"\\(?:i*int|oint|lim|limsup|liminf|sum|prod|sup|inf)(?![A-Za-z])")
"""What simko does not read, and math-verify may."""


def compare(gold: Value, answer: Value, judge: Judge) -> Verdict3:
    """Whether the answer equals the gold: by the table; else without what the gold does not ask for, a name, a label."""
    if gold == answer and not (isinstance(gold, Unread) and not gold.text):
        return True
    if isinstance(gold, Unread) or isinstance(answer, Unread):
        return None if _BEYOND.search("".join(side.text for side in (gold, answer) if isinstance(side, Unread))) else False
    if isinstance(gold, Given) or isinstance(answer, Given):
        return given(gold, answer, judge)
    answer = with_counter_of(gold, answer)
    if (rule := TABLE.get((type(gold), type(answer)))) is not None:
        return rule(gold, answer, judge)
    if isinstance(answer, Named) and (value := without_name(gold, answer)) is not None:
        return judge.same(gold, value)
    if isinstance(answer, Option) and answer.content is not None:
        return judge.same(gold, answer.content)
    if isinstance(answer, Listing) and len(answer.items) == 1:
        return judge.same(gold, answer.items[0])
    if isinstance(gold, Named) and names_its_value(gold):
        return judge.same(gold.value, answer)
    if isinstance(gold, Option) and gold.content is not None:
        return judge.same(gold.content, answer)
    if isinstance(gold, Listing) and len(gold.items) == 1:
        return judge.same(gold.items[0], answer)
    return regions(gold, answer, judge)


def judge_with(thorough: bool, within: Fraction | None = None) -> Judge:
    """The judge of all rules."""
    return Judge(compare, thorough, within)
