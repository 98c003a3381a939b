"""A fault at any point of a reduction ends in the exact result or a typed error, never a hang."""

import enum

import numpy as np
import pytest

from distflow.base import errors
from distflow.comm import Communicator, InProcessHub
from distflow.comm.transport.inprocess import InProcessTransport
from tests.comm import battery
from tests.comm.groups import run_threads

WORLD_SIZE = 3
STEPS = 2
NEVER = 1 << 30
CASE = battery.Case(4, frozenset(), (("float32", (40,)), ("int32", (3,))))


class Fault(enum.Enum):
    DROP = "a frame is lost"
    DUPLICATE = "a frame comes twice"
    REORDER = "a frame is overtaken by the next"
    CORRUPT_META = "a header is damaged"
    SHORTEN = "a body is cut short"
    DIE = "the worker vanishes"
    RAISE = "sending fails in the worker"
    GO_SILENT = "nothing is sent any more"


class FaultyTransport(InProcessTransport):
    """Sends as it should, up to send number `position`."""

    def __init__(self, hub, rank, fault, position):
        super().__init__(hub, rank)
        self._fault, self._position = fault, position
        self._count = 0
        self._late = None

    def send(self, to_rank, tag, meta=b"", parts=()):
        at_fault = self._count == self._position
        silent = self._fault in (Fault.GO_SILENT, Fault.DIE) and self._count >= self._position
        if at_fault and self._fault is Fault.DIE:
            self._hub.kill(self.rank)
        self._count += 1
        if silent or (at_fault and self._fault is Fault.DROP):
            return
        if at_fault and self._fault is Fault.RAISE:
            raise OSError("no route")
        if at_fault and self._fault is Fault.CORRUPT_META:
            meta = b"\x00" + meta[1:]
        if at_fault and self._fault is Fault.SHORTEN:
            parts = [part[:-1] for part in parts]
        if at_fault and self._fault is Fault.REORDER:
            self._late = (to_rank, tag, meta, [part.copy() for part in parts])
            return
        super().send(to_rank, tag, meta, parts)
        if at_fault and self._fault is Fault.DUPLICATE:
            super().send(to_rank, tag, meta, parts)
        if self._late and self._late[0] == to_rank:
            late, self._late = self._late, None
            super().send(*late)


@pytest.mark.parametrize("position", range(8))
@pytest.mark.parametrize("fault", Fault)
def test_a_fault_ends_in_the_exact_result_or_a_typed_error(fault, position):
    hub = InProcessHub(WORLD_SIZE)

    def fn(rank):
        transport = FaultyTransport(hub, rank, fault, position if rank == 1 else NEVER)
        c = Communicator(
            transport, placement=CASE.placement(3), algorithm="direct", timeout_seconds=0.2
        )
        leaves = {r: CASE.leaf(r) for r in c.local_replicas}
        return [c.all_reduce(leaves, name="g").arrays for _ in range(STEPS)]

    outcomes = run_threads(WORLD_SIZE, fn)
    for outcome in outcomes:
        if isinstance(outcome, list):
            assert [[x.tobytes() for x in step] for step in outcome] == [CASE.expected()] * STEPS
        else:
            assert isinstance(outcome, errors.OpError | OSError), outcome
    harmless = {Fault.CORRUPT_META, Fault.DUPLICATE}  # in the last phase, which has no header
    assert fault in harmless or any(isinstance(o, Exception) for o in outcomes)


def test_a_partial_result_is_never_visible():
    hub = InProcessHub(2)
    leaves = [np.ones(4, np.float32)]

    def fn(rank):
        # Rank 0's chunk of the result is lost: rank 1 must get nothing at all.
        transport = FaultyTransport(hub, rank, Fault.DROP, 1 if rank == 0 else NEVER)
        c = Communicator(transport, algorithm="direct", timeout_seconds=0.2)
        return c.all_reduce({rank: leaves}).arrays

    outcomes = run_threads(2, fn)
    assert isinstance(outcomes[1], errors.WorkerLateError)
    assert outcomes[1].rank == 0
    assert leaves[0].tolist() == [1.0] * 4
