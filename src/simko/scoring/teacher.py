"""Teacher forcing: the statistics of given tokens under a causal language model.

Legend: N scored tokens, d hidden size, V vocabulary, K candidates.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from simko.diagnostics import evaluating
from simko.token_stats import Head, LogitTransform, TokenStats, head_token_stats, token_stats

_CHECKED = 64
_CHANGES_LOGITS = ("final_logit_softcapping", "logit_scale", "logits_scaling")


class TeacherForced:
    """A causal language model of Transformers, asked for the statistics of responses that are given.

    The statistics come from the hidden states and the head, a chunk of positions at a time, so that the logits of all tokens
    are never held at once. The first batch is checked: where a model's logits are not its head's products, as with a soft cap
    or an adapter on the head, its own logits are used.

    Args:
        model: the model, on its device.
        top_k: the number of candidates K.
        temperature: divides the logits.
    """

    def __init__(self, model: Any, *, top_k: int, temperature: float = 1.0) -> None:
        self.model, self.top_k, self.temperature = model, top_k, temperature
        self.by_head: bool | None = None
        """Whether the head is read; None before the first batch."""

    @torch.no_grad()
    def stats(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> list[TokenStats]:
        """The statistics of each response's tokens, on the CPU. Every prompt and response needs a token."""
        rows = [[*prompt, *response] for prompt, response in zip(prompts, responses, strict=True)]
        width, device = max(map(len, rows)), self.model.device
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
        inputs = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
        before = [(i, t) for i, p in enumerate(prompts) for t in range(len(p) - 1, len(rows[i]) - 1)]
        where = tuple(torch.tensor(before, device=device).T)
        tokens = torch.tensor([t for response in responses for t in response], device=device)
        with evaluating(self.model):
            if self.by_head is None:
                self.by_head = self._reads_head(ids[:1, :_CHECKED], mask[:1, :_CHECKED])
            if self.by_head:
                hidden = self.model.base_model(**inputs).last_hidden_state[where]
                found = head_token_stats(hidden, self._head(), tokens, top_k=self.top_k)
            else:
                logits = self.model(**inputs).logits[where]
                found = token_stats(logits, tokens, top_k=self.top_k, temperature=self.temperature)
        lengths = [len(response) for response in responses]
        split = zip(*(x.cpu().split(lengths) for x in found), strict=True)
        return [TokenStats(*parts) for parts in split]

    def _head(self) -> Head:
        head = self.model.get_output_embeddings()
        return Head(head.weight, getattr(head, "bias", None), LogitTransform(self.temperature))

    def _reads_head(self, ids: Tensor, mask: Tensor) -> bool:
        """Whether the model's logits are the products of its last hidden states and its head."""
        config, head = self.model.config.get_text_config(), self.model.get_output_embeddings()
        if any(getattr(config, name, None) not in (None, 1, 1.0) for name in _CHANGES_LOGITS):
            return False
        if type(head) is not torch.nn.Linear or getattr(self.model, "base_model", self.model) is self.model:
            return False
        output = self.model.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
        hidden = getattr(output, "last_hidden_state", None)
        if hidden is None or hidden.shape[-1] != head.weight.shape[-1]:
            return False
        theirs = self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        ours = F.linear(hidden.to(head.weight.dtype), head.weight, head.bias)
        if ours.shape != theirs.shape:
            return False
        rounding = 1e-4 if theirs.dtype in (torch.float32, torch.float64) else 2e-2
        return bool((ours.float() - theirs.float()).abs().max() <= rounding * theirs.float().abs().max())
