"""How many bytes are alive at once."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from simko.token_stats import fused_candidate_gap, fused_token_stats


class LiveBytes(TorchDispatchMode):
    """The most bytes alive at once in tensors that operators made."""

    def __init__(self):
        super().__init__()
        self.peak, self.seen = 0, {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_iter(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.seen:
                    self.seen[storage._cdata] = (
                        torch.multiprocessing.reductions.StorageWeakRef(storage),
                        storage.nbytes(),
                    )
        self.seen = {k: (ref, size) for k, (ref, size) in self.seen.items() if not ref.expired()}
        self.peak = max(self.peak, sum(size for _, size in self.seen.values()))
        return out


def peak(N, V, d, chunk, gated=False, impl="chunked", spread=1.0, **more):
    g = torch.Generator().manual_seed(0)
    hidden = (spread * torch.randn(N, d, generator=g)).requires_grad_()
    weight = torch.randn(V, d, generator=g).requires_grad_()
    tokens = torch.randint(V, (N,), generator=g)
    with LiveBytes() as memory:
        if gated:
            where = torch.arange(N) % 5 == 0
            fused_candidate_gap(hidden, weight, tokens, where, top_k=3, chunk=chunk, impl=impl).sum().backward()
        else:
            s = fused_token_stats(hidden, weight, tokens, top_k=3, chunk=chunk, impl=impl, **more)
            (s.logp.sum() + s.entropy.sum() + s.topk_logp.sum()).backward()
    return memory.peak
