"""Small experiments of our own that show what the methods do."""
