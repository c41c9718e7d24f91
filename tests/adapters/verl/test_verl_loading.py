"""verl loads the plug-in in the processes of every node, whichever way it is told to."""

import pytest

pytest.importorskip("verl.protocol", reason="verl is not installed: make test-verl")

import ray
from on_cpu import environment, raylets
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


@ray.remote(num_cpus=1)
def loaded():
    """The plug-ins that `import verl` has brought into a worker's process."""
    import sys

    import verl  # noqa: F401

    return {"simko.adapters.verl", "verl_on_cpu"} & set(sys.modules)


@pytest.mark.parametrize(("plugins", "nodes"), [("modules", 1), ("entry-points", 2)])
def test_every_node_loads_the_plugins(tmp_path, plugins, nodes):
    with raylets(nodes, environment(tmp_path, plugins)) as address:
        ray.init(address)
        try:
            places = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in ray.nodes()]
            found = ray.get([loaded.options(scheduling_strategy=place).remote() for place in places], timeout=200)
        finally:
            ray.shutdown()
    assert found == [{"simko.adapters.verl", "verl_on_cpu"}] * nodes
