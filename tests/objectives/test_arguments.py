"""What is no tensor, or a tensor of another kind, is named: also where no type checker runs, hence in a process of its own."""

import subprocess
import sys

CALLS = """
import numpy as np, torch
from simko.objectives import METHODS, group_advantages, simko_loss
from simko.token_stats import fused_token_stats, token_stats

x, flags, ids, ones = torch.zeros(2, 3), torch.ones(2, 3) > 0, torch.zeros(2, 3).long(), torch.ones(2)
batch = {"logp": x, "old_logp": x, "entropy": x, "is_top1": flags, "mask": flags}
method = METHODS["simko"]
calls = {
    "simko_loss": (simko_loss, batch | {"topk_logp": torch.zeros(2, 3, 2), "advantages": ones}, ()),
    "policy_loss": (method.policy_loss, batch | {"gap": x, "advantages": ones}, ("gap", "is_top1")),
    "loss": (method.loss, batch | {"gap": x, "rewards": ones, "groups": ids[:, 0]}, ("gap", "is_top1")),
    "advantages": (METHODS["unlikeliness"].advantages,
                   {"rewards": ones, "groups": ids[:, 0], "old_logp": x, "mask": flags}, ("old_logp", "mask")),
    "select": (lambda **a: METHODS["kl_cov"].select(**a, generator=None),
               {k: batch[k] for k in ("logp", "old_logp", "entropy", "mask")} | {"advantages": ones}, ()),
    "denominator": (method.denominator, {"advantages": ones, "mask": flags}, ()),
    "group_advantages": (group_advantages, {"rewards": ones, "groups": ids[:, 0]}, ()),
    "token_stats": (lambda **a: token_stats(**a, top_k=2), {"logits": torch.zeros(2, 3, 5), "tokens": ids}, ()),
    "fused": (lambda **a: fused_token_stats(**a, top_k=2),
              {"hidden": torch.zeros(2, 3, 4), "weight": torch.zeros(5, 4), "tokens": ids}, ()),
}
other_kind = {torch.float32: torch.bool, torch.bool: torch.int64, torch.int64: torch.float32}
anything = ("mask", "advantages", "rewards")  # taken as floats, integers or truth values
tried = 0
for call, (function, arguments, needed) in calls.items():
    function(**arguments)
    for name, value in arguments.items():
        kind = torch.complex64 if name in anything else other_kind[value.dtype]
        for bad in (None, value.tolist(), value.numpy(), 1.0, "text", value.to(kind)):
            tried += 1
            try:
                function(**arguments | {name: bad})
            except ValueError as error:
                wanted = name if bad is None and name in needed else f"{name} must be"
                if wanted not in str(error):
                    print(call, name, type(bad).__name__, "->", error)
            except Exception as error:
                print(call, name, type(bad).__name__, "->", repr(error))
            else:
                print(call, name, type(bad).__name__, "-> taken")
print(tried, "tried")
"""


def test_each_tensor_argument_is_named():
    done = subprocess.run([sys.executable, "-c", CALLS], capture_output=True, text=True)
    assert done.stdout == "240 tried\n", done.stdout + done.stderr[-2000:]
