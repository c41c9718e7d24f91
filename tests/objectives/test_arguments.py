"""Arguments that are not tensors of the right kind are named. A separate process shows it without the tests' type checker."""

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


NUMBERS = """
import math, torch
from simko.objectives import simko_loss

x = torch.zeros(2, 3)
batch = {"logp": x, "old_logp": x, "entropy": x, "topk_logp": torch.zeros(2, 3, 2), "is_top1": x > 0, "mask": x == 0,
         "advantages": torch.ones(2)}
huge, two = 10**400, torch.tensor([0.5, 1.0])
cases = [(name, {name: value.to("meta")}, "must be on") for name, value in batch.items() if name != "logp"]
cases += [("topk_logp", {"topk_logp": torch.zeros(2, 3, 0)}, "must be [B, T, K]")]
cases += [(name, {name: value}, "") for name in ("alpha", "top_penalty", "gate_quantile", "clip_low", "clip_high")
          for value in (huge, 1e308, "0.5", two, math.nan, -1, [0.5], 1j)]
cases += [("denominator", {"denominator": value}, "must be one number, finite and not negative")
          for value in (-1, -0.5, math.nan, math.inf, huge, "8", [8.0], True, 1j, two)]
for name, changed, said in cases:
    try:
        simko_loss(**batch | changed)
    except ValueError as error:
        if not str(error).startswith(name) or said not in str(error):
            print(name, changed, "->", error)
    except Exception as error:
        print(name, changed, "->", repr(error))
    else:
        print(name, changed, "-> taken")
for taken in ({"clip_low": math.inf, "clip_high": math.inf}, {"denominator": 0}, {"denominator": torch.tensor(6)}):
    simko_loss(**batch | taken)
print(len(cases), "tried")
"""


def test_numbers_that_no_loss_has_and_tensors_of_another_device():
    """A negative denominator would reverse the objective."""
    done = subprocess.run([sys.executable, "-c", NUMBERS], capture_output=True, text=True)
    assert done.stdout == "57 tried\n", done.stdout + done.stderr[-2000:]
