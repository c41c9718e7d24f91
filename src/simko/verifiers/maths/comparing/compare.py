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
from simko.verifiers.maths.comparing.judges import Judge, Verdict3
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


def refused(gold: Value, answer: Value, judge: Judge) -> Verdict3:
    """Never equal."""
    return False


# the gold's type, the answer's type
TABLE: dict[tuple[type, type], Rule] = {
    (Quantity, Quantity): quantities.quantities,
    (Quantity, Text): texts.product_of_letters,
    (Quantity, Clock): texts.ratio,
    (Quantity, Chain): names.chain,
    (Quantity, Listing): shapes.one_value,
    (Quantity, Tuple): shapes.unit_vectors,
    (Text, Text): texts.texts,
    (Text, Quantity): texts.letters_in_order,
    (Text, Listing): texts.several_options,
    (Option, Option): texts.options,
    (Option, Quantity): texts.option_letter,
    (Clock, Clock): texts.clocks,
    (Clock, Quantity): texts.as_ratio,
    (Named, Named): names.named_values,
    (Named, Chain): names.named_chain,
    (Named, Function): refused,
    (Chain, Named): names.equations,
    (Chain, Chain): names.equations,
    (Chain, Quantity): names.first_of_chain,
    (Function, Function): names.functions,
    (Function, Named): names.graph,
    (Relation, Relation): shapes.relations,
    (Relation, Quantity): shapes.residue,
    (Listing, Listing): shapes.listings,
    (Listing, Tuple): shapes.listing_tuple,
    (Listing, Text): texts.options_as_word,
    (Tuple, Listing): shapes.tuple_listing,
    (Tuple, Tuple): shapes.tuples,
    (Tuple, Matrix): shapes.point,
    (Tuple, Quantity): shapes.basis_vector,
    (Matrix, Matrix): shapes.matrices,
    (Matrix, Tuple): shapes.vector,
    (Matrix, Quantity): shapes.basis_matrix,
    (Cases, Cases): shapes.cases,
}

_BEYOND = re.compile(r"\\(?:i*int|oint|sum|prod)(?![A-Za-z])")
"""What simko does not read, and math-verify may."""


def compare(gold: Value, answer: Value, judge: Judge) -> Verdict3:
    """Whether the answer equals the gold. In this order:

    1. the same value is equal, and what cannot be read is equal to nothing else (math-verify is asked of integrals);
    2. conditions are compared, and counters take the gold's name (`bound`);
    3. the table decides where it has a rule for the two types;
    4. else what only one side has is taken off and what is left compared: the answer's name, option label or list of one,
       then the gold's name, where its value is the answer, function head, option label or list of one;
    5. else both must be the same part of the line: an interval, an inequality, a union.
    """
    if gold == answer and not (isinstance(gold, Unread) and not gold.text):
        return True
    unread = [side.text for side in (gold, answer) if isinstance(side, Unread)]
    if unread:
        return None if _BEYOND.search("".join(unread)) else False
    if isinstance(gold, Given) or isinstance(answer, Given):
        return bound.given(gold, answer, judge)
    answer = bound.with_counter_of(gold, answer)
    if (rule := TABLE.get((type(gold), type(answer)))) is not None:
        return rule(gold, answer, judge)
    inner = _inner(answer, lambda named: names.without_name(gold, named))
    if inner is not None:
        return judge.same(gold, inner)
    inner = _inner(gold, lambda named: named.value if names.stands_for_value(named, answer) else None)
    if inner is not None:
        return judge.same(inner, answer)
    return shapes.regions(gold, answer, judge)


def _inner(value: Value, of_name: Callable[[Named], Value | None]) -> Value | None:
    """What a value is without its name, head, label or list of one; None if it has none of these."""
    match value:
        case Named():
            return of_name(value)
        case Function():
            return value.body
        case Option():
            return value.content
        case Listing(items=(item,)):
            return item
    return None


def judge_with(thorough: bool, within: Fraction | None = None) -> Judge:
    """The judge of all rules."""
    return Judge(compare, thorough, within)
