"""Several hosts with several workers each: memory inside, a network between, the same bytes.

The hosts are names that the ranks of a test claim to run on.
"""

import numpy as np
import pytest

from distflow.base import errors
from distflow.comm import Communicator, InProcessHub
from distflow.comm.transport import host
from distflow.comm.transport.subgroup import HostsTransport
from tests.comm import battery
from tests.comm.groups import run_grpc, run_inprocess, run_threads, values

HOSTS = ["aab", "aabb", "abab", "aaabb", "aabbccdd", "aaaaaabc"]


def joined(transport, names):
    shared = host.share_memory(transport, timeout_seconds=20, host=names[transport.rank])
    assert isinstance(shared, HostsTransport)
    return shared


@pytest.mark.parametrize("algorithm", ["hierarchical", "auto"])
@pytest.mark.parametrize("names", HOSTS)
def test_reduction_over_hosts_gives_the_bytes_of_the_definition(names, algorithm):
    def fn(transport):
        shared = joined(transport, names)
        try:
            return battery.failures(shared, algorithm)
        finally:
            shared.close()

    assert values(run_inprocess(len(names), fn)) == [[]] * len(names)


def test_reduction_over_hosts_and_grpc_gives_the_bytes_of_the_definition():
    def fn(transport):
        return battery.failures(joined(transport, "aabb"), "hierarchical")

    assert values(run_grpc(4, fn)) == [[]] * 4


class Counting(InProcessHub):
    """Counts the bytes that pass between ranks of different hosts."""

    def __init__(self, names):
        super().__init__(len(names))
        self.num_bytes = 0
        for inbox in self.inboxes:
            put = inbox.put

            def counted(from_rank, frame, *, wait, put=put, to=inbox.rank):
                if names[from_rank] != names[to]:
                    self.num_bytes += frame.body.size
                return put(from_rank, frame, wait=wait)

            inbox.put = counted


@pytest.mark.parametrize(("algorithm", "times"), [("hierarchical", 2), ("direct", 4)])
def test_each_host_sends_its_sum_once_instead_of_once_a_worker(algorithm, times):
    names, size = "aabb", 1 << 20
    hub = Counting(names)

    def fn(rank):
        c = Communicator(joined(hub.endpoint(rank), names), algorithm=algorithm, timeout_seconds=20)
        c.barrier()
        before = hub.num_bytes
        c.barrier()
        c.all_reduce({rank: [np.ones(size, np.uint8)]})
        c.barrier()
        return before

    before = max(values(run_threads(4, fn)))
    assert hub.num_bytes - before == pytest.approx(times * size, rel=0.01)


def test_a_mismatch_is_found_before_any_data_moves():
    def fn(transport):
        c = Communicator(joined(transport, "aab"), algorithm="hierarchical", timeout_seconds=10)
        return c.all_reduce({c.rank: [np.ones(3 + (c.rank == 1))]}, name="g")

    for outcome in run_inprocess(3, fn):
        assert isinstance(outcome, errors.CollectiveMismatchError)


def test_a_rank_that_gives_up_is_named_by_those_of_its_host_and_of_others():
    def fn(transport):
        c = Communicator(joined(transport, "aabb"), algorithm="hierarchical", timeout_seconds=10)
        c.all_reduce({c.rank: [np.ones(3)]})
        if c.rank == 3:
            c.abort(ValueError("no more"))
            return None
        return c.all_reduce({c.rank: [np.ones(3)]})

    for outcome in run_inprocess(4, fn)[:3]:
        assert isinstance(outcome, errors.AbortedError)
        assert "no more" in str(outcome)


def test_errors_within_a_host_name_ranks_of_the_job():
    def fn(transport):
        shared = joined(transport, "aabb")
        if transport.rank == 2:
            shared.within.recv(1, timeout_seconds=0.1, what="test")

    outcome = run_inprocess(4, fn)[2]
    assert isinstance(outcome, errors.WorkerLateError)
    assert outcome.rank == 3


def test_hierarchical_as_an_algorithm_needs_hosts():
    for outcome in run_inprocess(2, lambda t: Communicator(t, algorithm="hierarchical")):
        assert isinstance(outcome, errors.InvalidArgumentError)
