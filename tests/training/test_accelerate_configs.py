"""The files of recipes/accelerate say to accelerate's launcher what they are meant to."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from accelerate.commands import launch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

from simko.training.run import refuse_sharded_checkpoints

FOLDER = Path(__file__).parents[2] / "recipes" / "accelerate"
NODES = [
    "--num_machines=2",
    "--num_processes=16",
    "--machine_rank=1",
    "--main_process_ip=10.0.0.1",
    "--main_process_port=29500",
]
SECTIONS = {"fsdp2": "fsdp_config", "zero3": "deepspeed_config"}


@pytest.fixture
def launched(monkeypatch):
    """What `accelerate launch` with a file hands to the function that starts the processes of a node."""
    found = []
    for launcher in ("multi_gpu_launcher", "deepspeed_launcher", "simple_launcher"):
        monkeypatch.setattr(launch, launcher, lambda args, name=launcher: found.append((name, args)))

    def launched(name, *options):
        command = ["--config_file", str(FOLDER / f"{name}.yaml"), *options, "-m", "simko.cli", "train", "recipe.yaml"]
        launch.launch_command(launch.launch_command_parser().parse_args(command))
        return found.pop()

    return launched


def test_each_file_is_tested():
    assert {path.stem for path in FOLDER.iterdir()} == SECTIONS.keys()


@pytest.mark.parametrize("name", SECTIONS)
def test_the_launcher_knows_every_key(launched, name):
    _, args = launched(name)
    section = getattr(load_config_from_file(str(FOLDER / f"{name}.yaml")), SECTIONS[name])
    assert section
    assert section.keys() <= vars(launch.launch_command_parser().parse_args(["x.py"])).keys()
    assert {key: getattr(args, key) for key in section} == section
    assert (args.mixed_precision, args.num_processes, args.module) == ("bf16", 8, True)
    assert (args.training_script, args.training_script_args) == ("simko.cli", ["train", "recipe.yaml"])


def test_fsdp2_on_two_nodes(launched, monkeypatch):
    launcher, args = launched("fsdp2", *NODES)
    assert launcher == "multi_gpu_launcher"
    for key, value in prepare_multi_gpu_env(args).items():
        monkeypatch.setenv(key, value)
    assert (args.nnodes, args.nproc_per_node, args.node_rank) == ("2", "8", 1)
    assert (args.rdzv_backend, args.rdzv_endpoint) == ("static", "10.0.0.1:29500")
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True
    assert plugin.cpu_ram_efficient_loading
    assert not plugin.activation_checkpointing
    assert plugin.state_dict_type.name == "FULL_STATE_DICT"
    refuse_sharded_checkpoints(SimpleNamespace(fsdp_plugin=plugin))


def test_zero3_on_two_nodes(launched):
    launcher, args = launched("zero3", *NODES)
    assert launcher == "deepspeed_launcher"
    command, environment = prepare_deepspeed_cmd_env(args)
    assert command is None  # torchrun on each node, no ssh
    assert (args.nnodes, args.nproc_per_node, args.node_rank) == ("2", "8", 1)
    assert (args.rdzv_backend, args.rdzv_endpoint) == ("static", "10.0.0.1:29500")
    assert environment["ACCELERATE_USE_DEEPSPEED"] == "true"
    assert environment["ACCELERATE_DEEPSPEED_ZERO_STAGE"] == "3"
    assert environment["ACCELERATE_DEEPSPEED_ZERO3_INIT"].lower() == "true"
    assert environment["ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL"].lower() == "true"


def test_checkpoints_of_shards_are_refused():
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, state_dict_type="SHARDED_STATE_DICT")
    with pytest.raises(ValueError, match="set fsdp_state_dict_type: FULL_STATE_DICT"):
        refuse_sharded_checkpoints(SimpleNamespace(fsdp_plugin=plugin))
    sharded = SimpleNamespace(zero_stage=3, zero3_save_16bit_model=False)
    with pytest.raises(ValueError, match="set zero3_save_16bit_model: true"):
        refuse_sharded_checkpoints(SimpleNamespace(deepspeed_plugin=sharded))
    for whole in (SimpleNamespace(zero_stage=3, zero3_save_16bit_model=True), SimpleNamespace(zero_stage=2)):
        refuse_sharded_checkpoints(SimpleNamespace(deepspeed_plugin=whole))
    refuse_sharded_checkpoints(SimpleNamespace())
