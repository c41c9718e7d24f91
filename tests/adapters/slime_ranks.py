"""One of two processes that train an update in slime, checked against the row's loss; exits 0. Run by torchrun.

The processes share the vocabulary, the responses, or each response.
"""

import slime_call
import torch.distributed as dist

slime_call.prepare()
from megatron.core import mpu  # noqa: E402

dist.init_process_group("gloo")
for layout in ({"tensor_model_parallel_size": 2}, {}, {"context_parallel_size": 2}):
    mpu.initialize_model_parallel(**layout)
    for name in (
        "grpo",
        "simko",
        "simko_softmax",
        "simko_reference",
        "pkpo",
        "ucpo",
        "gspo",
        "dr_grpo",
        "entropy_bonus",
    ):
        for micro_batches in (1, 3):
            slime_call.assert_same(name, micro_batches)
    mpu.destroy_model_parallel()
dist.destroy_process_group()
