"""Other libraries' graders of mathematics, each behind one module that imports the real thing.

A module has TITLE (the name in the tables), version() and grade(response, gold) -> bool. It raises ImportError where its
library or source is missing. Nothing of theirs is copied here. docs/results/graders.md says how to install them.
"""
