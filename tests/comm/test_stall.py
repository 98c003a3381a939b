"""A peer that lets others wait is named in time, with what its program does; events are kept."""

import json
import logging
import threading

import numpy as np
import pytest

from distflow.base import errors, flags, log
from distflow.comm import Communicator, InProcessHub, flight
from distflow.comm.transport import stall
from distflow.comm.transport.grpc import GrpcServer


@pytest.fixture
def messages(monkeypatch):
    """The warnings of the log, as they come."""
    found = []
    come = threading.Event()

    class Handler(logging.Handler):
        def emit(self, record):
            found.append(record.getMessage())
            if "whose program is at" in found[-1]:
                come.set()

    handler = Handler(logging.WARNING)
    log.get_logger().addHandler(handler)
    yield found, come
    log.get_logger().removeHandler(handler)


def connect_two():
    servers = [GrpcServer(job="stall") for _ in range(2)]
    addresses = [server.address for server in servers]
    found = [None, None]

    def connect(rank):
        found[rank] = servers[rank].connect(rank, addresses, connect_timeout_seconds=30)

    threads = [threading.Thread(target=connect, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    return found


def test_a_late_peer_is_asked_where_it_is(monkeypatch, messages):
    monkeypatch.setattr(stall, "WARN_SECONDS", 0.2)
    found, come = messages
    waiting, late = connect_two()
    try:
        caught = []

        def wait():
            try:
                waiting.recv(1, timeout_seconds=3.0, what="all_reduce 'grads'")
            except errors.WorkerLateError as error:
                caught.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        assert come.wait(30)  # the main thread, which is the late rank's, stands here
        thread.join(30)
        (error,) = caught
        assert error.rank == 1
        assert "all_reduce 'grads': rank 0 waits for rank 1" in found[0]
        assert "test_a_late_peer_is_asked_where_it_is" in found[1]
        assert "The program of rank 1 is at:" in str(error)
    finally:
        late.close()
        waiting.close()


def test_a_wait_is_a_stall_only_if_it_is_long_for_this_job():
    patience = stall.Patience()
    assert patience.seconds == stall.WARN_SECONDS
    for _ in range(100):
        patience.note(3.0)
    assert 29.0 < patience.seconds <= 30.0


def test_the_flight_recorder_writes_the_last_events_and_the_error(tmp_path):
    hub = InProcessHub(2)
    with flags.override(DISTFLOW_FLIGHT_DIR=str(tmp_path)):
        with Communicator(hub.endpoint(0), timeout_seconds=0.2) as communicator:
            with pytest.raises(errors.WorkerLateError):
                communicator.all_reduce({0: [np.zeros(3, np.float32)]}, name="gradients")
        (path,) = tmp_path.iterdir()
    *_, last = [json.loads(line) for line in path.read_text().splitlines()]
    assert last["rank"] == 0
    assert last["blames"] == 1
    assert "gradients" in last["what"]
    assert last["error"].startswith("WorkerLateError")
    assert last["seconds"] >= 0.2


def test_the_flight_recorder_keeps_the_last_events_only():
    for number in range(flight.EVENTS + 10):
        with flight.Event(0, f"event {number}"):
            pass
    names = [event["what"] for event in flight.events()]
    assert len(names) == flight.EVENTS
    assert names[-1] == f"event {flight.EVENTS + 9}"
