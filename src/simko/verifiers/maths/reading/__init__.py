"""Text to a typed value: characters, tokens (latex), expressions, and the reader of each type."""
