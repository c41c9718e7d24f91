"""The maths verifier from inside: characters, tokens, typed values, units, values at points."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simko.verifiers.maths import values
from simko.verifiers.maths.comparing.compare import TABLE, judge_with
from simko.verifiers.maths.nodes import exact
from simko.verifiers.maths.numeric import agree, differ
from simko.verifiers.maths.points import points
from simko.verifiers.maths.reading.characters import to_latex
from simko.verifiers.maths.reading.expression import parse
from simko.verifiers.maths.reading.latex import Unreadable, tokenise
from simko.verifiers.maths.reading.numerals import plain_numbers, spell, words_value
from simko.verifiers.maths.reading.read import read
from simko.verifiers.maths.reading.units import conversion, read_unit
from simko.verifiers.maths.spelling import normal_form


@pytest.mark.parametrize(
    ("written", "latex"),
    [
        ("10⁻³", "10^{-3}"), ("x₁₂", "x_{12}"), ("x₁ = 2, x₂", "x_{1} = 2, x_{2}"), ("⅔", r"\frac{2}{3}"), ("√5", r"\sqrt*5"), ("４２。", "42."),
        ("𝟒𝟐", "42"), ("٤٢", "42"), ("\ufeff4\u200b2", "42"), ("‑7", "-7"), ("−7", "-7"), ("7∕2", "7/2"), ("π", r"\pi "), ("Ω", r"\Omega "),
        ("\x0crac{1}{2}", r"\frac{1}{2}"), ("2\times 3", r"2\times 3"), ("х", "х"), ("é", "é"),
    ],
)  # fmt: skip
def test_characters_have_one_spelling(written: str, latex: str) -> None:
    assert to_latex(written) == latex


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("1{,}234", "1234"), (r"1\,234", "1234"), (r"3,\!628,\!800", "3628800"), ("1 000 000", "1000000"), ("1'234'567", "1234567"),
        ("1.234.567", "1234567"), ("1.234", "1.234"), ("3 4", "3 4"), (r"0.\overline{3}", r"{\frac{1}{3}}"), (r"0.1\bar6", r"{\frac{1}{6}}"),
        ("0.(142857)", r"{\frac{1}{7}}"), (r"0.333\ldots", r"{\frac{1}{3}}"), (r"0.3\ldots", r"0.3\ldots"), ("2.5", "2.5"),
    ],
)  # fmt: skip
def test_numbers_are_plain(written: str, plain: str) -> None:
    assert plain_numbers(written) == plain


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("forty two", 42), ("three hundred and one", 301), ("two million five thousand", 2_005_000), ("nineteen", 19), ("two three", None),
        ("and", None), ("hundred", None), ("seventy", 70), ("twenty eleven", None), ("", None),
    ],
)  # fmt: skip
def test_numbers_in_words(words: str, value: int | None) -> None:
    assert words_value(words.split()) == value


@given(st.fractions(max_denominator=10**6))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_number_is_read_as_it_is_spelled(number: Fraction) -> None:
    assert exact(parse(tokenise(spell(number)))) == number
    assert exact(parse(tokenise(rf"\frac{{{number.numerator}}}{{{number.denominator}}}"))) == number


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("5", "Quantity"), (r"2\pi r", "Quantity"), (r"5\,\text{cm}", "Quantity"), (r"\$5", "Quantity"), ("x=5", "Named"), ("m+n=5", "Named"),
        ("f(x)=x+1", "Function"), ("a_n=2n", "Function"), ("1=2", "Chain"), (r"\sqrt2\approx1.4", "Chain"), ("a+b<c", "Relation"),
        (r"n\equiv3\pmod7", "Relation"), ("x<5", "Region"), (r"[0,1)\cup\{2\}", "Region"), (r"x\ne2", "Region"), ("]0,1[", "Tuple"), ("(1,2,3)", "Tuple"),
        ("1,2", "Listing"), (r"\{1,2\}", "Listing"), (r"\pm3", "Listing"), ("x=1,y=2", "Listing"), (r"\emptyset", "Listing"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", "Matrix"), (r"\begin{cases}1&x>0\\0&x\le0\end{cases}", "Cases"), (r"n\pi, n\in\mathbb{Z}", "Given"),
        (r"\text{east}", "Text"), ("(B)", "Option"), (r"\text{(B) }5", "Option"), ("12:30", "Clock"), ("3 4", "Unread"), (r"1\to2", "Unread"),
        (r"\int_0^1 x", "Unread"), (r"\def\a{5}\a", "Unread"),
    ],
)  # fmt: skip
def test_each_type_is_read(text: str, kind: str) -> None:
    assert type(read(text)).__name__ == kind


def test_the_table_names_types_of_values() -> None:
    kinds = set(values.Value.__args__)
    assert all(pair[0] in kinds and pair[1] in kinds for pair in TABLE)


@pytest.mark.parametrize(
    "text",
    [r"\frac43", r"3\frac{1}{2}", r"-2\frac13", r"\sin^2 x+\cos^2x", r"\log_2 3", r"{10 \choose 3}", r"|x-5|", r"\lfloor\sqrt{n-1}\rfloor", r"2\sin 20^\circ",
     r"a_n+a_{n+1}'", r"x^2y^{-1}", r"\sqrt[3]{2}x", r"e^{i\pi}", r"\frac{x+1}{2(y-3)}", r"\max(a,b)", "52_8", r"(x+1)(x-2)", r"-(x+y)", r"n!", r"f(x+1)"],
)  # fmt: skip
def test_a_normal_form_says_the_same(text: str) -> None:
    form = normal_form(text)
    assert normal_form(form) == form
    assert judge_with(thorough=True).same(read(text), read(form)) is True


@pytest.mark.parametrize(
    ("answer", "gold", "factor"),
    [
        (r"\text{m}", r"\text{cm}", 100), (r"\text{hours}", r"\text{min}", 60), (r"\text{cm}^2", r"\mathrm{m^2}", Fraction(1, 10**4)),
        (r"\text{km}/\text{h}", r"\frac{\text{km}}{\text{h}}", 1), (r"\text{m s}^{-2}", r"\mathrm{m}/\mathrm{s}^2", 1), (r"\text{dollars}", r"\text{cents}", 100),
        (r"\text{apples}", r"\text{apple}", 1), (r"\text{apples}", r"\text{pears}", None), (r"\text{kg}", r"\text{m}", None), (r"\,\mu\text{m}", r"\text{nm}", 1000),
        (r"^\circ\text{C}", r"^\circ\text{F}", None),
    ],
)  # fmt: skip
def test_units_convert_where_they_are_of_one_kind(answer: str, gold: str, factor: int | Fraction | None) -> None:
    one, other = (read_unit(tokenise(text.removeprefix("^"))) for text in (answer, gold))
    assert one is not None
    assert other is not None
    assert conversion(one, other) == factor


@pytest.mark.parametrize(
    "text",
    [r"\mathrm{i}", r"\mathrm{e}", r"\text{doubled}", r"\text{million}", r"\text{or more}", "xyz", r"\text{nan}"],
)
def test_what_is_no_unit(text: str) -> None:
    assert read_unit(tokenise("5" + text)[1:]) is None


EQUAL = [
    ("2^{2024}-1", "4^{1012}-1"), (r"\lfloor\sqrt{n-1}\rfloor", r"\lceil\sqrt{n}\rceil-1"), (r"2\ln x", r"\ln x^2"), (r"x\sqrt x", r"\sqrt{x^3}"),
    (r"\sin^2x", r"1-\cos^2x"), (r"2\cos70^\circ", r"2\sin20^\circ"), (r"e^{i\pi}", "-1"), (r"\cos(\pi/2)", "0"), (r"\sqrt2+\sqrt3", r"\sqrt{5+2\sqrt6}"),
    (r"\binom n2", "n(n-1)/2"), (r"\sum_{k=1}^n k", "n(n+1)/2"), ("(-8)^{1/3}", "-2"), (r"\sqrt{10^{20}+1}-10^{10}", r"\frac{1}{\sqrt{10^{20}+1}+10^{10}}"),
]  # fmt: skip
DIFFERENT = [
    ("2^{2024}-1", "2^{2024}-2"), ("|x-5|", "5-x"), ("|x+16|", "x+16"), (r"\sqrt{x^2}", "x"), (r"\lfloor n^2/12\rfloor", "0"), ("e^{-1000}", "0"),
    (r"\tanh 100", "1"), (r"\max(x,y)", "x"), (r"|x|+|y|", "|x+y|"), (r"\lceil n/9\rceil", r"\lfloor n/9\rfloor+1"), (r"\lfloor x\rfloor", "x"),
    (r"\frac1{2^{98}}+\pi", r"\frac1{2^{99}}+\pi"), (r"e^{\pi\sqrt{163}}", "262537412640768744"), (r"\frac Rr", r"\frac rR"), ("1", "1-2^{-100}"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal_expressions_agree_and_never_differ(one: str, other: str) -> None:
    left, right = parse(tokenise(one)), parse(tokenise(other))
    assert agree(left, right) is True
    assert not differ(left, right)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_expressions_that_differ_somewhere_do_not_agree(one: str, other: str) -> None:
    assert agree(parse(tokenise(one)), parse(tokenise(other))) is False


@pytest.mark.parametrize(
    "text", ["9^{9^9}", "9^{9^{9^9}}", "(10^{100000})!", r"\frac10", r"\ln 0", r"\tan 90^\circ", r"\infty"]
)
def test_what_has_no_value_agrees_with_nothing(text: str) -> None:
    assert agree(parse(tokenise(text)), parse(tokenise("1"))) is not True


def test_points_are_the_same_in_every_process_and_differ_by_expression() -> None:
    x, y = parse(tokenise("x+1")), parse(tokenise("x+2"))
    assert points(x, y, frozenset()) == points(x, y, frozenset())
    assert points(x, y, frozenset()) != points(x, x, frozenset())
    assert any(point.negative for point in points(x, y, frozenset()))


@pytest.mark.parametrize(
    "text", ["{" * 40 + "5" + "}" * 40, "(" * 40 + "5" + ")" * 40, "1/" * 40 + "1", "x+" * 2000 + "1"]
)
def test_what_is_too_deep_or_long_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        parse(tokenise(text))
