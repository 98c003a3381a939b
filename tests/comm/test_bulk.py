"""Large bodies over connections of their own: whole, in order, and only from those who may."""

import socket
import threading

import numpy as np
import pytest

from distflow.base import errors
from distflow.comm.transport import bulk
from distflow.comm.transport.checksum import checksum
from distflow.comm.transport.grpc import GrpcServer

TOKEN = "t" * 32
JOB = 77


@pytest.fixture
def server():
    server = bulk.BulkServer("127.0.0.1", TOKEN)
    server.admit(JOB, 0, [1, 2])
    yield server
    server.close()


def connect(server, *, token=TOKEN, job=JOB, rank=1, to=0):
    return bulk.connect("127.0.0.1", server.welcome, token=token, job=job, rank=rank, to=to)


def is_open(connection):
    """Whether the other side has kept the connection."""
    connection.settimeout(0.3)
    try:
        return connection.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


def test_parts_arrive_end_to_end_in_the_receivers_memory(server):
    sender = connect(server)
    receiver = server.socket_of(1)
    rng = np.random.default_rng(0)
    parts = [rng.integers(0, 256, n, np.uint8) for n in (3 << 20, 1, 70_000)] + [np.zeros(0)]
    thread = threading.Thread(target=bulk.send, args=(sender, parts, lambda: True))
    thread.start()
    body, heard = np.empty(sum(p.nbytes for p in parts), np.uint8), []
    bulk.receive(receiver, body, heard.append, lambda: True)
    thread.join(20)
    np.testing.assert_array_equal(body, np.concatenate([p.view(np.uint8) for p in parts]))
    assert sum(heard) == body.size
    bulk.close(sender)


@pytest.mark.parametrize(
    "wrong", [{"token": "x" * 32}, {"job": 78}, {"rank": 3}, {"to": 1}], ids=lambda w: next(iter(w))
)
def test_who_does_not_belong_here_is_refused(server, wrong):
    stranger = connect(server, **wrong)
    assert not is_open(stranger)
    bulk.close(stranger)


def test_a_second_connection_of_a_rank_is_refused(server):
    first = connect(server)
    server.socket_of(1)
    second = connect(server)
    assert not is_open(second)
    assert is_open(first)
    for each in (first, second):
        bulk.close(each)


def test_strange_bytes_do_not_keep_others_out(server):
    strangers = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    for stranger in strangers:
        stranger.sendall(b"GET / HTTP/1.1\r\n")
    good = connect(server)
    assert server.socket_of(1) is not None
    for each in [*strangers, good]:
        each.close()


def test_a_receiver_that_is_not_wanted_any_more_ends(server):
    sender = connect(server)
    receiver = server.socket_of(1)
    with pytest.raises(OSError):  # noqa: PT011 - any
        bulk.receive(receiver, np.empty(10, np.uint8), lambda count: None, lambda: False)
    bulk.close(sender)


@pytest.mark.parametrize("checksum", ["0", "1"])
def test_bodies_arrive_with_and_without_a_checksum(server, checksum, monkeypatch):
    monkeypatch.setenv("DISTFLOW_CHECKSUM", checksum)
    sender, body = connect(server), np.empty(3 << 20, np.uint8)
    sent = np.random.default_rng(1).integers(0, 256, body.size, np.uint8)
    thread = threading.Thread(target=bulk.send, args=(sender, [sent], lambda: True))
    thread.start()
    bulk.receive(server.socket_of(1), body, lambda count: None, lambda: True)
    thread.join(20)
    np.testing.assert_array_equal(body, sent)
    sender.close()


@pytest.mark.parametrize("position", [0, 4, 50_003, 50_004, 50_007])
def test_a_changed_byte_of_a_body_or_of_its_checksum_is_a_typed_error(server, position):
    stranger, receiver = socket.socketpair()
    with stranger, receiver:
        body = np.random.default_rng(0).integers(0, 256, 50_000, np.uint8)
        tail = checksum(body).to_bytes(4, "little")
        wire = np.frombuffer(b"sum?" + body.tobytes() + tail, np.uint8).copy()
        wire[position] ^= 4
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)  # takes it all at once
        stranger.sendall(wire.data)
        with pytest.raises(errors.DataLossError, match="bulk body"):
            bulk.receive(receiver, np.empty_like(body), lambda count: None, lambda: True)


def test_a_peer_that_never_connected_is_an_error(server, monkeypatch):
    monkeypatch.setattr(bulk, "_HANDSHAKE_SECONDS", 0.1)
    with pytest.raises(errors.DataLossError, match="rank 2 has no bulk connection"):
        server.socket_of(2)


def test_frames_of_all_sizes_keep_their_order():
    servers = [GrpcServer(job="bulk") for _ in range(2)]
    addresses = [server.address for server in servers]
    found = [None, None]

    def connect_all(rank):
        found[rank] = servers[rank].connect(rank, addresses, connect_timeout_seconds=30)

    threads = [threading.Thread(target=connect_all, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    one, other = found
    sizes = [10, bulk.BULK_BYTES, 0, bulk.BULK_BYTES - 1, 5 << 20, 1]
    sent = [np.full(size, i, np.uint8) for i, size in enumerate(sizes)]
    assert one._outboxes[1].bulk is not None
    for i, body in enumerate(sent):
        one.send(1, i, b"m%d" % i, [body[: body.size // 2], body[body.size // 2 :]])
    for i, body in enumerate(sent):
        frame = other.recv(0, timeout_seconds=20, what="test")
        assert (frame.tag, frame.meta) == (i, b"m%d" % i)
        np.testing.assert_array_equal(frame.body, body)
    one.flush(timeout_seconds=10, what="test")
    one.close()
    other.close()


def test_the_kernel_keeps_little_of_a_connection_within_a_host(server):
    # Linux doubles what is asked for, and gives less where the system's limit is lower.
    connection = connect(server)
    assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * bulk._LOCAL_SEND_BYTES
    connection.close()
