"""The command line. Each command is a module whose `add_arguments` declares its options and whose `run` runs it."""
