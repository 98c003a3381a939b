import pytest

from distflow.comm import Communicator
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


@pytest.mark.parametrize("in_its_place", [False, True])
@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_large_buffers_shared_out_between_workers_give_the_bytes_of_the_definition(
    world_size, in_its_place
):
    case = battery.Case(world_size, frozenset(), (("float32", (100_003,)),), seed=8)

    def fn(transport):
        c = Communicator(transport, timeout_seconds=30, algorithm="shared")
        results = []
        for _ in range(3):
            leaf = case.leaf(c.rank)
            out = leaf if in_its_place else None
            results.append([x.tobytes() for x in c.all_reduce({c.rank: leaf}, out=out).arrays])
        return results

    found = values(run_shm(world_size, fn, slot_bytes=16 << 10))
    assert found == [[case.expected()] * 3] * world_size
