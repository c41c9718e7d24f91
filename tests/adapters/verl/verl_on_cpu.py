"""What verl lacks to run on CPUs, through its own registries: a platform, its FSDP engine, a rollout with Transformers.

Loaded as any plug-in of verl's is: VERL_USE_EXTERNAL_MODULES=verl_on_cpu, or an entry point of the group verl.plugins.
The command then says trainer.device=cpu actor_rollout_ref.rollout.name=transformers. Only FSDP2 runs on CPUs, and its
mixed precision must say fp32.
"""

import asyncio
import contextlib
import functools
import types

import ray
import torch
import torch.distributed
from verl.plugin.platform import set_platform
from verl.plugin.platform.platform_base import PlatformBase
from verl.plugin.platform.platform_manager import PlatformRegistry
from verl.workers.rollout.base import _ROLLOUT_REGISTRY, BaseRollout
from verl.workers.rollout.replica import RolloutReplica, RolloutReplicaRegistry


def _nothing(*args, **kwargs):
    """For what only an accelerator has."""


def _device_module():
    """torch.cpu with what verl calls on torch.cuda."""
    module = types.ModuleType("torch_cpu")
    module.__dict__.update({name: getattr(torch.cpu, name) for name in dir(torch.cpu) if not name.startswith("__")})
    absent = ("empty_cache", "ipc_collect", "manual_seed", "manual_seed_all", "reset_peak_memory_stats", "set_device")
    module.__dict__.update(dict.fromkeys(absent, _nothing))
    memory = ("memory_allocated", "memory_reserved", "max_memory_allocated", "max_memory_reserved")
    module.__dict__.update(dict.fromkeys(memory, lambda *_: 0))
    module.mem_get_info = lambda *_: (1 << 33, 1 << 34)
    module.get_rng_state = lambda *_: torch.get_rng_state()
    module.set_rng_state = lambda state, *_: torch.set_rng_state(state)
    module.get_device_name = lambda *_: "cpu"
    module.current_device = lambda: torch.device("cpu")
    return module


@PlatformRegistry.register("cpu")
class CPU(PlatformBase):
    """A platform whose every process has one device. Ray counts it as a GPU, as verl's own resource pools do."""

    device_name = vendor_name = "cpu"
    device_module = _device_module()
    set_device = synchronize = set_allocator_settings = empty_cache = profiler_start = profiler_stop = cudart = _nothing

    def is_available(self):
        return True

    def is_platform_available(self, use_smi_check=False):
        return True

    def current_device(self):
        return torch.device("cpu")

    def device_count(self):
        return 1

    def manual_seed(self, seed):
        torch.manual_seed(seed)

    manual_seed_all = manual_seed

    def get_device_capability(self, device_index=0):
        return None, None

    def communication_backend_name(self):
        return "gloo"

    def visible_devices_envvar(self):
        return "SIMKO_TEST_VISIBLE_DEVICES"

    def nvtx_range(self, msg):
        return contextlib.nullcontext()

    def ray_resource_name(self):
        return "GPU"

    def ray_noset_envvars(self):
        return []

    def is_ipc_supported(self):
        return False


def _server_name(rank):
    return f"transformers_server_{rank}"


class Replica(RolloutReplica):
    """One server."""

    async def launch_servers(self):
        from transformers_server import Server

        options = {"name": _server_name(self.replica_rank), "num_cpus": 0, "max_concurrency": 64}
        path = self.model_config.path
        self._server_handle = ray.remote(Server).options(**options).remote(path, self.config.response_length)
        self.servers, self._server_address = [self._server_handle], _server_name(self.replica_rank)


class ServerAdapter(BaseRollout):
    """The training workers' side of the servers: gathers the weights, and has rank 0 send them to all."""

    async def resume(self, tags):
        """Nothing was released."""

    async def release(self):
        """Nothing to release."""

    async def update_weights(self, weights, wire_format="named_tensors", global_steps=None, **_):
        whole = {
            name: (weight.full_tensor() if hasattr(weight, "full_tensor") else weight).detach().float().clone()
            for name, weight in weights
        }
        if torch.distributed.get_rank() == 0:
            replicas = torch.distributed.get_world_size() // self.config.tensor_model_parallel_size
            servers = [ray.get_actor(_server_name(rank)) for rank in range(replicas)]
            await asyncio.gather(*(server.load.remote(whole, global_steps) for server in servers))


def _register():
    set_platform(CPU())
    RolloutReplicaRegistry.register("transformers", lambda: Replica)
    _ROLLOUT_REGISTRY["transformers", "async"] = f"{__name__}.{ServerAdapter.__name__}"

    # verl asks for "cpu:gloo,DEVICE:BACKEND", where torch takes each device once
    init = torch.distributed.init_process_group

    @functools.wraps(init)
    def init_process_group(backend=None, *args, **kwargs):
        return init("gloo" if backend == "cpu:gloo,cpu:gloo" else backend, *args, **kwargs)

    torch.distributed.init_process_group = init_process_group

    from verl.workers.engine.base import EngineRegistry
    from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

    EngineRegistry.register("language_model", backend=["fsdp", "fsdp2"], device="cpu")(FSDPEngineWithLMHead)


_register()
