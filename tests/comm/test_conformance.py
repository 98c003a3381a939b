import pytest

from tests.comm import battery
from tests.comm.groups import RUNNERS, run_shm, values


@pytest.mark.parametrize("algorithm", battery.ALGORITHMS)
@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("transport", sorted(RUNNERS))
def test_all_reduce_gives_the_bytes_of_the_definition(transport, world_size, algorithm):
    wrong = RUNNERS[transport](world_size, lambda t: battery.failures(t, algorithm))
    assert values(wrong) == [[]] * world_size


@pytest.mark.parametrize("slot_bytes", [1 << 10, 64 << 10])
@pytest.mark.parametrize("world_size", [2, 3, 4, 5, 8])
def test_reduction_in_shared_memory_gives_the_bytes_of_the_definition(world_size, slot_bytes):
    wrong = run_shm(world_size, lambda t: battery.failures(t, "shared"), slot_bytes)
    assert values(wrong) == [[]] * world_size
