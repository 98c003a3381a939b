import socket
import threading

import grpc
import numpy as np
import pytest

from distflow.base import errors, log
from distflow.comm import Communicator
from distflow.comm.transport import frames
from distflow.comm.transport.grpc import GrpcServer, GrpcTransport, split_address
from tests.comm.groups import run_grpc, run_threads, values
from tests.support import ports


def pair(first, second, **kwargs):
    """Outcomes of connecting two servers to each other."""
    servers = [first, second]
    addresses = [server.address for server in servers]
    kwargs.setdefault("connect_timeout_seconds", 1.5)

    def connect(rank):
        transport = servers[rank].connect(rank, addresses, **kwargs)
        Communicator(transport, timeout_seconds=5).barrier()
        transport.close()

    return run_threads(2, connect)


def test_a_wrong_token_is_refused():
    outcomes = pair(GrpcServer(token="right"), GrpcServer(token="wrong"))
    assert any(isinstance(error, errors.PermissionDeniedError) for error in outcomes)
    for error in outcomes:  # the slower one may find the other gone, but knows whom it refused
        assert isinstance(error, errors.PermissionDeniedError | errors.WorkerLateError)
        assert "wrong job token" in str(error)
        assert "right" not in str(error)


def test_another_generation_of_the_job_is_refused():
    outcomes = pair(GrpcServer(job="a/1"), GrpcServer(job="a/2"))
    assert any(isinstance(error, errors.FailedPreconditionError) for error in outcomes)
    for error in outcomes:  # the slower one may find the other gone, but knows whom it refused
        assert isinstance(error, errors.FailedPreconditionError | errors.WorkerLateError)
        assert "another job or generation" in str(error)


def test_different_world_sizes_are_refused():
    servers = [GrpcServer(), GrpcServer()]
    addresses = [server.address for server in servers]

    def connect(rank):
        servers[rank].connect(rank, addresses + ["127.0.0.1:1"] * rank, connect_timeout_seconds=2)

    assert any("distflow-world" in str(e) for e in run_threads(2, connect))


def test_a_peer_that_never_comes_is_named_with_its_address():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        server = GrpcServer()
        with pytest.raises(errors.WorkerLateError, match=f"rank 1 at {address}") as caught:
            server.connect(0, [server.address, address], connect_timeout_seconds=0.5)
        assert caught.value.rank == 1


def test_other_addresses_need_a_token():
    with pytest.raises(errors.InvalidArgumentError, match="needs a job token"):
        GrpcServer("0.0.0.0")
    GrpcServer("0.0.0.0", token="t").close()


def test_tokens_that_metadata_cannot_hold_are_refused():
    with pytest.raises(errors.InvalidArgumentError, match="ASCII"):
        GrpcServer(token="é")


def test_a_port_of_localhost_is_in_use_if_another_program_has_it():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(errors.UnavailableError, match="port is in use"):
            GrpcServer("localhost", other.getsockname()[1])


def test_a_long_wait_for_a_peer_says_who_is_missing(monkeypatch, caplog):
    monkeypatch.setattr("distflow.comm.transport.grpc._NOTICE_SECONDS", 0.1)
    monkeypatch.setattr(log.get_logger(), "propagate", True)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        server = GrpcServer()
        with pytest.raises(errors.WorkerLateError, match="DISTFLOW_JOIN_TIMEOUT"):
            server.connect(0, [server.address, address], connect_timeout_seconds=1.0)
    assert f"rank 0 waits for rank 1 at {address}, for " in caplog.text


def test_a_port_in_use_is_one_clear_error():
    server = GrpcServer()
    with pytest.raises(errors.UnavailableError, match="port is in use"):
        GrpcServer(port=server.port)
    server.close()


@pytest.mark.parametrize("address", ["host", "host:", ":1", "host:x", "host:70000"])
def test_malformed_addresses_are_refused(address):
    with pytest.raises(errors.InvalidArgumentError, match="host:port"):
        split_address(address)


def test_ipv6_addresses_are_split():
    assert split_address("[::1]:80") == ("::1", 80)


def test_transports_made_from_addresses_alone_connect():
    addresses = ports.held_addresses(2)

    def fn(rank):
        transport = GrpcTransport(rank, addresses, connect_timeout_seconds=10)
        total = Communicator(transport, timeout_seconds=10).all_reduce({rank: [np.ones(2)]})
        transport.close()
        return total.arrays[0].tolist()

    assert values(run_threads(2, fn)) == [[2.0, 2.0]] * 2


def test_all_to_all_of_big_buffers_has_no_deadlock():
    def fn(transport):
        c = Communicator(transport, timeout_seconds=30)
        mine = [np.full(6 << 20, c.rank, np.uint8) for _ in range(c.num_replicas)]
        return [int(b[-1]) for b in c.all_to_all({c.rank: mine})[c.rank]]

    assert values(run_grpc(3, fn)) == [[0, 1, 2]] * 3


def test_an_early_goodbye_is_told_apart_from_a_loss():
    def fn(transport):
        c = Communicator(transport, timeout_seconds=20)
        c.barrier()
        if c.rank == 1:
            return None
        with pytest.raises(
            errors.WorkerLostError, match=r"rank 1 \(127.0.0.1:\d+\), which has finished"
        ) as caught:
            c.barrier()
        return caught.value.rank

    assert values(run_grpc(2, fn)) == [1, None]


def impostor(server, rank, messages, release=None, token="t", world=2):
    """Opens a raw stream that claims to be `rank`; returns the server's status."""

    def stay():
        yield from messages
        if release is not None:
            release.wait(20)

    channel = grpc.insecure_channel(server.address)
    call = channel.stream_stream("/distflow.Comm/Stream")(
        stay(),
        metadata=(
            ("distflow-token", token),
            ("distflow-job", str(frames.job_number(server.door.job))),
            ("distflow-version", str(frames.VERSION)),
            ("distflow-rank", rank),
            ("distflow-to", "0"),
            ("distflow-world", str(world)),
        ),
        wait_for_ready=True,
        timeout=10,
    )
    try:
        list(call)
    except grpc.RpcError as error:
        return error.code()
    finally:
        channel.close()
    return call.code()


def serve_rank_0(messages):
    """Rank 0 of 2 with an honest listener as rank 1, whose stream sends `messages`."""
    server, other = GrpcServer(token="t"), GrpcServer(token="t")
    release = threading.Event()
    other.door.open_for(_Listener(release))
    status = []
    thread = threading.Thread(
        target=lambda: status.append(impostor(server, "1", messages, release))
    )
    thread.start()
    try:
        transport = server.connect(0, [server.address, other.address], connect_timeout_seconds=10)
        with pytest.raises(errors.OpError) as caught:
            Communicator(transport, timeout_seconds=10).barrier()
        release.set()
        transport.close()
    finally:
        release.set()
        other.close()
        thread.join(20)
    assert not thread.is_alive()
    return caught.value, status[0]


class _Listener:
    """Takes rank 0's stream and keeps it open."""

    world_size, rank, peers = 2, 1, [0]

    def __init__(self, release):
        self._release = release

    def admit(self, peer):
        return True

    def receive(self, peer, requests, context):
        self._release.wait(20)


@pytest.mark.parametrize("message", [b"", b"GET / HTTP/1.0\r\n\r\n", b"\xff" * 100, b"dfcm" * 20])
def test_a_malformed_frame_is_a_typed_error_on_both_sides(message):
    error, status = serve_rank_0([message])
    assert isinstance(error, errors.WorkerLostError)
    assert error.rank == 1
    assert "malformed frame" in str(error)
    assert status is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("meta", [b"", b"{}", b"[" * 5000, b'{"s":0}', b"\xff"])
def test_a_malformed_header_of_a_collective_is_a_typed_error(meta):
    error, _ = serve_rank_0(list(frames.chunks(1, frames.job_number(""), 1, 0, 0, meta, ())))
    assert isinstance(error, errors.DataLossError)
    assert "rank 1" in str(error)


@pytest.mark.parametrize("rank", ["0", "7", "-1", "x", "9" * 50])
def test_streams_that_claim_an_impossible_rank_are_refused(rank):
    server, other = GrpcServer(token="t"), GrpcServer(token="t")
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(impostor(server, rank, [])))
    thread.start()
    with pytest.raises(errors.WorkerLateError):
        server.connect(0, [server.address, other.address], connect_timeout_seconds=1)
    thread.join(20)
    assert outcomes[0] in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNAVAILABLE)
    other.close()


def test_a_port_scan_with_http_1_does_no_harm():
    server, other = GrpcServer(), GrpcServer()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as scan:
        scan.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert pair(server, other, connect_timeout_seconds=10) == [None, None]
