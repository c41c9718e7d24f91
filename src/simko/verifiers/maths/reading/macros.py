r"""What macros do, by class where the class can be known: tables that `latex` reads."""

import re

from simko.verifiers.maths.reading.words import vocabulary

TYPESETTING = re.compile(
    r"\\(?:[,;:!> /-]|(?:left|right|middle|[bB]igg?[lrm]?)|q?quad|(?:en|thin|med|thick|negthin)space|h(?:fill|fil)|noindent|newline|par"
    r"|(?:display|text|script|scriptscript)style|(?:no)?limits|tiny|scriptsize|footnotesize|small|normalsize|[lL]arge|LARGE|[hH]uge"
    r"|bf|rm|it|sf|tt|sl|em|cal|(?:bf|md)series|(?:it|up|sl|sc)shape|(?:rm|sf|tt)family|normalfont|centering|protect|relax|null|strut"
    r"|mathstrut|allowbreak|nobreak|hline|nonumber|notag|qedhere|qed|blacksquare|square|Box|checkmark|thinspace|xspace|ensuremath|unboldmath|boldmath)(?:\*?)"
)
"""What says nothing about a value, and takes no argument: spacing, sizes, fonts, ends of proofs."""

SWITCH = re.compile(r"\\(?:rm|bf|it|sf|tt|sl|em|normalfont|[a-z]+shape|[a-z]+series|[a-z]+family)")
"""Fonts for the rest of a group."""

KEEPS_ARGUMENT = re.compile(
    r"\\(?:math(?!bb$|rm$|op$|bin$|rel$)[a-z]+|bm|boldsymbol|pmb|boxed|fbox|framebox|underline|uline|underbrace|overbrace|smash|mathop|num|ang|hl|ce)\*?"
)
"""Fonts and frames: their argument is mathematics."""

TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|sc|sl|up|md|normal)?|mbox|hbox|emph|mathrm|operatorname|unit|si|rlap|llap|mathrel|mathbin)\*?"
)
"""Upright text: its letters are words."""

DROPS = {
    **dict.fromkeys(["hspace", "vspace", "phantom", "hphantom", "vphantom", "tag", "label", "color", "textcolor", "colorbox", "raisebox", "scalebox",
                     "footnote", "ref", "eqref", "cite", "href", "SIset"], 1), "rule": 2, "fcolorbox": 2, "resizebox": 2, "fontsize": 2,
}  # fmt: skip
r"""How many arguments go with a macro that says nothing: \color{red}, \phantom{0}."""

LENGTH = re.compile(r"\\(?:hskip|vskip|kern|mkern|mskip)")
"""Spacing with a length behind it."""

LAYOUTS = re.compile(
    r"(?:aligned|align|alignat|alignedat|gather|gathered|split|equation|displaymath|math|center|multline|eqnarray|flalign)\*?"
)
"""Environments that only place lines."""

GRIDS = re.compile(r"(?:[pbBvV]?(?:small)?matrix|array|cases|[dr]cases)\*?")
"""Environments of rows and cells."""

SAME = {
    r"\le": "<=", r"\leq": "<=", r"\leqslant": "<=", r"\leqq": "<=", r"\ge": ">=", r"\geq": ">=", r"\geqslant": ">=", r"\geqq": ">=",
    r"\lt": "<", r"\gt": ">", r"\ne": "!=", r"\neq": "!=", "==": "=", ":=": "=", r"\coloneqq": "=", r"\cdot": "*", r"\times": "*",
    r"\ast": "*", r"\bullet": "*", r"\div": "/", r"\slash": "/", r"\colon": ":", r"\vert": "|", r"\lvert": "|", r"\rvert": "|", r"\mid": "|", r"\|": r"\Vert",
    r"\lVert": r"\Vert", r"\rVert": r"\Vert", r"\lbrace": r"\{", r"\rbrace": r"\}", r"\lbrack": "[", r"\rbrack": "]", r"\langle": "(", r"\rangle": ")",
    r"\lparen": "(", r"\rparen": ")", r"\%": "%", r"\textpercent": "%", r"\textminus": "-", r"\prime": "'", "**": "^", r"\wedge": r"\and", r"\land": r"\and", r"\vee": r"\or", r"\lor": r"\or",
    r"\&": r"\and", "...": r"\dots", r"\ldots": r"\dots", r"\cdots": r"\dots", r"\dotsc": r"\dots", r"\dotsb": r"\dots", r"\dotsm": r"\dots",
    r"\dotso": r"\dots", r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\cfrac": r"\frac", r"\sfrac": r"\frac", r"\nicefrac": r"\frac", r"\dbinom": r"\binom",
    r"\tbinom": r"\binom", r"\simeq": r"\approx", r"\sim": r"\approx", r"\thickapprox": r"\approx", r"\doteq": r"\approx", r"\varnothing": r"\emptyset",
    r"\degree": r"\degree", r"\circ": r"\circ", r"\textdegree": r"\degree", r"\to": r"\to", r"\rightarrow": r"\to", r"\longrightarrow": r"\to",
    r"\implies": r"\Rightarrow", r"\isin": r"\in", r"\bigcup": r"\cup", r"\bigcap": r"\cap", r"\backslash": r"\setminus", r"\lnot": r"\neg",
    r"\tg": r"\tan", r"\ctg": r"\cot", r"\arctg": r"\arctan", r"\cosec": r"\csc", r"\imath": "i", r"\varepsilon": r"\epsilon", r"\vartheta": r"\theta",
    r"\varphi": r"\phi", r"\bmod": r"\mod", r"\widehat": r"\hat", r"\widetilde": r"\tilde",
    r"\overrightarrow": r"\vec",
}  # fmt: skip
"""Macros and signs of one meaning."""

NOT = {"=": "!=", r"\in": r"\notin"}
SINGLE = frozenset("+-*/^_!|%()[]=<>,;:'&.")
AND = vocabulary("and und et и 和 以及 및 と 와 과")
OR = vocabulary("or oder ou или або 或 或者 또는 または とか")
SIUNITX = re.compile(r"\\(?:SI|qty)")
