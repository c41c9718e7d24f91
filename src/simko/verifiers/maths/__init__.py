"""Mathematical equality of answers: both sides are read into a typed value, and compared by type.

    verify      the verifier: the gold, the answer's span, what is decided at once and what goes to the grading pool
    reading/    text to value: characters, numerals and latex (macros) give tokens; expression (cursor, functions, symbols)
                gives trees; read says in which order the types are tried: lists, brackets, relations, quantity (units,
                words), prose, and phrases for what stands around an answer
    values      the types
    comparing/  compare holds the table of rules; names, shapes, quantities, texts and bound hold the rules
    nodes, evaluation, points, numeric    expressions: exact numbers, values at points
    spelling    the form under which a verdict reports an answer
    judge       what the pool runs: the same comparison without a limit of effort, and math-verify last

What is equal is decided in comparing/compare.py, what a text means in reading/read.py.
"""
