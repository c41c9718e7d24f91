"""The command line: a module a command, each of which parses, calls and prints."""
