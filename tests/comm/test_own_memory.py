"""Arrays that the communicator allocates are summed where they lie, to the same bytes."""

import os

import numpy as np
import pytest

from distflow.base import errors
from distflow.comm import Communicator
from tests.comm import battery
from tests.comm.groups import RUNNERS, run_inprocess, run_shm, values

FORM = (("float32", (2051,)), ("float64", (33, 3)), ("int32", ()), ("float32", (0,)))
CASES = [
    battery.Case(8, frozenset(), FORM),
    battery.Case(5, frozenset(), FORM, scattered=True, seed=2),
    battery.Case(8, frozenset(), FORM, op="max", seed=3),
    battery.Case(3, frozenset(), (("bfloat16", (700,)), ("float16", (5,))), seed=4),
]


def fill(arrays, case):
    for replica in arrays:
        for target, source in zip(arrays[replica], case.leaf(replica), strict=True):
            target[...] = source


def failures(transport):
    wrong = []
    for case in CASES:
        placement = case.placement(transport.world_size)
        c = Communicator(transport, placement=placement, timeout_seconds=30)
        arrays = c.allocate([np.empty(s, battery.dtype_of(d)) for d, s in case.arrays])
        for step in range(3):
            fill(arrays, case)
            result = c.all_reduce(arrays, op=case.op, name="g")
            got = [x.tobytes() for x in result.arrays]
            if c.local_replicas and got != case.expected():
                wrong.append(f"step {step} of {case}")
            lie_elsewhere = [a is not b for a, b in zip(result.arrays, arrays.result)]
            if c.local_replicas and any(lie_elsewhere):
                wrong.append(f"{case}: the result lies elsewhere")
    return wrong


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("transport", sorted(RUNNERS))
def test_allocated_arrays_are_summed_in_place_to_the_bytes_of_the_definition(transport, world_size):
    wrong = RUNNERS[transport](world_size, failures)
    assert values(wrong) == [[]] * world_size


def test_workers_of_one_host_see_each_others_arrays():
    def fn(transport):
        c = Communicator(transport, timeout_seconds=30)
        arrays = c.allocate([np.zeros(4, np.int32)])
        arrays[c.rank][0][:] = c.rank + 1
        c.barrier()
        seen = [int(flats[0][0]) for flats in arrays.flats]
        c.barrier()
        return seen

    assert values(run_shm(3, fn)) == [[1, 2, 3]] * 3


def test_without_shared_memory_the_arrays_are_ordinary_ones():
    def fn(transport):
        return Communicator(transport, timeout_seconds=30).allocate([np.zeros(4)]).flats

    assert values(run_inprocess(2, fn)) == [None, None]


def test_one_rank_without_allocated_arrays_only_makes_it_slow():
    def fn(transport):
        c = Communicator(transport, timeout_seconds=30)
        arrays = c.allocate([np.zeros(3, np.float32)])
        arrays[c.rank][0][:] = c.rank
        results = []
        for _ in range(2):
            leaves = arrays if c.rank else {0: [np.zeros(3, np.float32)]}
            results.append(c.all_reduce(leaves).arrays[0].tolist())
            arrays[c.rank][0][:] = c.rank
        return results

    assert values(run_shm(3, fn)) == [[[3.0] * 3] * 2] * 3


def test_arrays_of_other_shapes_on_one_rank_are_an_error():
    def fn(transport):
        c = Communicator(transport, timeout_seconds=30)
        c.allocate([np.zeros(3 + transport.rank)], name="gradients")

    for outcome in run_shm(2, fn):
        assert isinstance(outcome, errors.CollectiveMismatchError)
        assert "gradients" in str(outcome)


def test_no_file_stays_open():
    def fn(transport):
        c = Communicator(transport, timeout_seconds=30)
        before = len(os.listdir("/proc/self/fd"))
        c.barrier()
        kept = c.allocate([np.zeros(1000)])
        c.barrier()
        return len(os.listdir("/proc/self/fd")) - before, kept

    # The mapping keeps a descriptor of its own for each rank.
    assert all(grown <= 2 for grown, _ in values(run_shm(2, fn)))
