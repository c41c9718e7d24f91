"""SimKO and its rivals on one protocol."""
