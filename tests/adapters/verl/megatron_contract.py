"""What verl's Megatron engine trains for a row, the vocabulary split over 2 processes, against METHODS.

    torchrun --nproc_per_node 2 megatron_contract.py CASES OUT

The engine's code runs as it is on gloo, with Megatron-Core's tensor-parallel embedding and head. The model between them has
no attention, which Megatron-Core packs on GPUs alone.
"""

from types import SimpleNamespace

import torch
import torch.distributed as dist
import verl_on_cpu  # noqa: F401
from contract import expected_loss, make_update, report, run, train_update
from megatron.core import parallel_state as mpu
from megatron.core.enums import ModelType
from megatron.core.tensor_parallel import ColumnParallelLinear, VocabParallelEmbedding
from megatron.core.transformer import TransformerConfig
from torch import nn
from torch.overrides import TorchFunctionMode
from verl.workers.config import McoreActorConfig, McoreEngineConfig
from verl.workers.engine.megatron.transformer_impl import MegatronEngineWithLMHead

from simko.adapters.verl.worker import RowTrainingWorker

VOCABULARY, WIDTH = 64, 16


class OnCPU(TorchFunctionMode):
    """Makes on the CPU what Megatron-Core makes on "cuda"."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        return func(*args, **kwargs | {"device": "cpu"} if kwargs.get("device") == "cuda" else kwargs)


class Policy(nn.Module):
    """Logits of each token from the token before."""

    pre_process = post_process = True
    model_type = ModelType.encoder_or_decoder

    def __init__(self, config):
        super().__init__()
        self.config, init = config, nn.init.normal_
        self.embedding = VocabParallelEmbedding(VOCABULARY, WIDTH, init_method=init, config=config)
        self.head = ColumnParallelLinear(
            WIDTH, VOCABULARY, config=config, init_method=init, bias=False, gather_output=False
        )

    def set_input_tensor(self, _):
        """For the stages of a pipeline."""

    def forward(self, input_ids, **_):
        return self.head(self.embedding(input_ids))[0]


class Engine(MegatronEngineWithLMHead):
    """verl's engine around a Policy, without an optimizer."""

    def __init__(self, module, packed):
        self.module, self.tf_config, self.enable_routing_replay = [module], None, False
        self._is_offload_param = self._is_offload_optimizer = self._is_offload_grad = False
        self.engine_config = McoreEngineConfig(
            tensor_model_parallel_size=2, use_remove_padding=packed, use_fused_kernels=False
        )
        hf_config = SimpleNamespace(architectures=["Qwen2ForCausalLM"])
        mtp, tokenizer = SimpleNamespace(enable=False, enable_train=False), SimpleNamespace(pad_token_id=0)
        self.model_config = SimpleNamespace(hf_config=hf_config, mtp=mtp, tokenizer=tokenizer)

    def optimizer_zero_grad(self):
        self.module[0].zero_grad()


def make_worker(policy, packed):
    worker = RowTrainingWorker.__new__(RowTrainingWorker)  # its __init__ builds a model with a bridge to Hugging Face
    worker.engine = Engine(policy, packed)
    worker.engine_config, worker.model_config = worker.engine.engine_config, {"use_remove_padding": packed}
    worker.device_name, worker.flops_counter, worker.profiler = "cpu", None, None
    return worker


def gathered(x):
    parts = [torch.empty_like(x) for _ in range(2)]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)


dist.init_process_group("gloo")
mpu.initialize_model_parallel(tensor_model_parallel_size=2)
torch.cuda.current_device = lambda: torch.device("cpu")
torch.manual_seed(0)
TF_CONFIG = TransformerConfig(
    num_layers=1, hidden_size=WIDTH, num_attention_heads=2, tensor_model_parallel_size=2, use_cpu_initialization=True
)
SHARDED = Policy(TF_CONFIG)
WHOLE = [gathered(p.detach()).requires_grad_() for p in SHARDED.parameters()]


def policy(ids):
    embedding, head = WHOLE
    return embedding[ids] @ head.T


UPDATE = make_update(policy)
WORKERS = {packed: make_worker(SHARDED, packed) for packed in (False, True)}


def measure(case):
    def gradients():
        return torch.cat([gathered(p.grad).flatten() for p in SHARDED.parameters()])

    metrics, gradient = train_update(WORKERS[case.packed], case, "megatron", McoreActorConfig, UPDATE, gradients)
    expected = expected_loss(case, policy, UPDATE)
    wanted = torch.autograd.grad(expected[0], WHOLE)
    return report(case, metrics, expected, gradient, torch.cat([g.flatten() for g in wanted]))


with OnCPU():
    run(measure)
