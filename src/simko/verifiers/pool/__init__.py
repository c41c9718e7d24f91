"""The grading pool, and the verifiers whose last step runs in it."""
