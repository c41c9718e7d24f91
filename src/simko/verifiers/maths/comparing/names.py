r"""Names and what they stand for: x=5, equations, functions, chains of equalities."""

from simko.verifiers.maths.comparing.bound import names_in, renamed
from simko.verifiers.maths.comparing.judges import Judge, Verdict3, all_of, any_of
from simko.verifiers.maths.nodes import Node, exact, negative
from simko.verifiers.maths.numeric import real_value
from simko.verifiers.maths.values import Chain, Function, Listing, Named, Quantity, Text, Value

COORDINATES = frozenset(["x", "y", "z"])


def names_its_value(gold: Named) -> bool:
    """Whether the value alone is the answer: x=5, d=\\sqrt{1+8n}; not where the equation is, of a curve: y=2x+1."""
    if gold.left is None or gold.left.head != "name":
        capitals = gold.left is not None and gold.left.head == "mul" and gold.name.isupper()  # the length AB
        return not names_in(gold.value) and (gold.left is None or gold.left.head == "call" or capitals)
    names = names_in(gold.value)
    return not (gold.name in COORDINATES and names & COORDINATES)


def stands_for_value(gold: Named, answer: Value) -> bool:
    """Whether an answer may be the gold's value alone: it has no other name."""
    return names_its_value(gold) and headings(answer) <= {gold.name}


def headings(value: Value) -> set[str]:
    """The names that the value, or each item of a list, is given."""
    items = value.items if isinstance(value, Listing) else (value,)
    return {item.name for item in items if isinstance(item, Named | Function)}


def without_name(gold: Value, answer: Named) -> Value | None:
    r"""The value of x=5, m+n=293, \text{Area}=12 for a gold without a name: what was asked, and that alone, stands left.

    Not where the left side has names of the gold's, or is a multiple of one name, an equation still to be solved: 2x=10.
    """
    left = answer.left
    if left is None:
        return answer.value
    word = answer.name.isalpha() and answer.name.isupper() and len(answer.name) > 1  # MRS is one name
    if isinstance(gold, Named | Function) or (left.names & names_in(gold) and not word):
        return None
    if left.head in ("mul", "div") and len(left.names) == 1 and all(part.head in ("num", "name") for part in left.args):
        return None
    return answer.value


def named_values(gold: Named, answer: Named, judge: Judge) -> Verdict3:
    """The same name and value; a word for the name, such as Area, may differ; else the same equation."""
    if gold.name == answer.name or (
        gold.left is not None and answer.left is not None and gold.left.key == answer.left.key
    ):
        return judge.same(gold.value, answer.value)
    if _is_word(gold) or _is_word(answer) or (gold.left is None) != (answer.left is None):
        return judge.same(gold.value, answer.value)
    return equations(gold, answer, judge)


def _is_word(named: Named) -> bool:
    r"""Whether a value is named by a word: \text{Area}=12."""
    return named.left is not None and named.left.head == "name" and named.name.isalpha() and len(named.name) > 1


def _sides(value: Value) -> tuple[Node, Node] | None:
    if isinstance(value, Named) and value.left is not None and isinstance(value.value, Quantity | Text):
        right = value.value.node
        return (
            None if right is None or (isinstance(value.value, Quantity) and value.value.unit) else (value.left, right)
        )
    if isinstance(value, Chain) and len(value.values) == 2 and value.signs == ("=",):
        nodes = [part.node for part in value.values if isinstance(part, Quantity) and not part.unit]
        return (nodes[0], nodes[1]) if len(nodes) == 2 else None
    return None


def equations(gold: Value, answer: Value, judge: Judge) -> Verdict3:
    """Whether the differences of the sides are multiples of each other, or the sides are equal one by one."""
    words = [
        {side.name, side.value.text} if isinstance(side, Named) and isinstance(side.value, Text) else None
        for side in (gold, answer)
    ]
    if words[0] is not None:  # MR=SRMC is of words, not of products
        return words[0] == words[1]
    one, other = _sides(gold), _sides(answer)
    if one is None or other is None:
        return False
    differences = [Node("add", args=(left, negative(right))) for left, right in (one, other)]
    if not differences[0].names:
        return False
    if all_of(judge.equal(*pair) for pair in zip(one, other, strict=True)) is True:
        return True
    return judge.proportional(differences[0], differences[1])


def functions(gold: Function, answer: Function, judge: Judge) -> Verdict3:
    """The same function, whatever its parameters are called."""
    if (gold.name and answer.name and gold.name != answer.name) or len(gold.parameters) != len(answer.parameters):
        return False
    names = {parameter: parameter + "?" for parameter in gold.parameters}  # a free x in f(t) is no parameter
    names |= dict(zip(answer.parameters, gold.parameters, strict=True))
    return judge.same(gold.body, renamed(answer.body, names))


def chain(gold: Value, answer: Chain, judge: Judge) -> Verdict3:
    r"""Every side of = equals the gold; of the sides of \approx one does, and the others are it, rounded."""
    values, signs = answer.values, answer.signs
    if values[0] == values[1]:  # 0=0 says nothing
        return False
    groups: list[list[Value]] = [[values[0]]]
    for value, sign in zip(values[1:], signs, strict=True):
        if sign == "=":
            groups[-1].append(value)
        else:
            groups.append([value])
    verdicts = [all_of(judge.same(gold, value) for value in group) for group in groups]
    if len(groups) == 1:
        return verdicts[0]
    far = [
        verdict is not True and not all(_near(gold, value) for value in group)
        for group, verdict in zip(groups, verdicts, strict=True)
    ]
    if any(far):
        return None if None in verdicts and False not in verdicts else False
    return any_of(verdicts)


def _near(gold: Value, value: Value) -> bool:
    """Whether one of the two is the other rounded to its last decimal place."""
    if not isinstance(gold, Quantity) or not isinstance(value, Quantity):
        return False
    numbers = [real_value(side.node) for side in (gold, value)]
    scales = [0.01 if side.percent else 1.0 for side in (gold, value)]
    if numbers[0] is None or numbers[1] is None or not (gold.decimal or value.decimal):
        return False
    places = [_last_place(side.node) * scale for side, scale in zip((gold, value), scales, strict=True) if side.decimal]
    return abs(numbers[0] * scales[0] - numbers[1] * scales[1]) <= max(places, default=0.0)


def _last_place(node: Node) -> float:
    """A unit of the last decimal place of a number; 0 of others."""
    value = exact(node)
    places = [places for places in range(12) if value is not None and (value * 10**places).denominator == 1]
    return 0.1 ** places[0] if places else 0.0


def named_chain(gold: Named, answer: Chain, judge: Judge) -> Verdict3:
    """4=x^2+y^2 for x^2+y^2=4; 3/6=1/2 for x=1/2."""
    return any_of([equations(gold, answer, judge), names_its_value(gold) and chain(gold.value, answer, judge)])


def first_of_chain(gold: Chain, answer: Quantity, judge: Judge) -> Verdict3:
    """A gold of equal numbers stands for the first."""
    return judge.same(gold.values[0], answer)


def graph(gold: Function, answer: Named, judge: Judge) -> Verdict3:
    """y=2x for f(x)=2x."""
    return judge.same(gold.body, answer.value) if answer.name == "y" else False
