"""A problem's prompt as tokens, for back-ends that hold a tokenizer."""

from typing import Any

from simko.records import Problem


def encode(tokenizer: Any, problem: Problem, chat: bool) -> list[int]:
    """The token ids of the prompt, as plain text or as a user message in the tokenizer's chat template.

    ValueError for a tokenizer without a chat template, and for a prompt without tokens.
    """
    if chat and tokenizer.chat_template is None:
        raise ValueError("the model's tokenizer has no chat template: give --no-chat (chat=False)")
    if chat:
        message = [{"role": "user", "content": problem.prompt}]
        encoded = tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=True)
    else:
        encoded = tokenizer(problem.prompt)
    ids: list[int] = encoded["input_ids"]
    if not ids:
        raise ValueError(f"problem {problem.id!r}: the prompt has no tokens")
    return ids
