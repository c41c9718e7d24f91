"""Words in which servers and packages tell of one response."""

from collections.abc import Mapping

from simko.records import FinishReason

FINISH_REASONS: Mapping[str, FinishReason] = {
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence", "completed"), "stop"),
    **dict.fromkeys(("tool_calls", "function_call", "tool_use"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "max_length", "model_length"), "length"),
}
"""{a word in lower case for why a response ended: ours}."""
THINKING = ("reasoning_content", "reasoning", "thinking")
"""Fields of a message, and types of its parts, that hold thinking."""
