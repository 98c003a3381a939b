"""Hostile bytes: mutated frames and strange connections end in errors, never in data or a hang."""

import os
import random
import socket
import time

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distflow.base import errors
from distflow.comm.transport import bulk, frames
from distflow.comm.transport.base import Frame
from distflow.comm.transport.checksum import checksum
from distflow.comm.transport.grpc import GrpcServer
from distflow.distribute import elastic_codec

JOB = frames.job_number("hostile")
BODY = np.arange(600, dtype=np.uint8)


def good_messages():
    return list(frames.chunks(frames.DATA, JOB, 1, 0, 7, b"meta", [BODY]))


def feed(messages):
    """Returns what an assembler makes of messages; an error of ours is a result too."""
    assembler = frames.Assembler(JOB, 1)
    found = []
    try:
        for message in messages:
            found.append(assembler.feed(message))
    except errors.DataLossError:
        found.append("refused")
    return found


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@given(st.binary(max_size=400))
@settings(max_examples=500, deadline=None)
def test_any_bytes_are_refused(data):
    assert feed([data]) == ["refused"]


@given(st.data())
@settings(max_examples=1000, deadline=None)
def test_a_header_with_any_fields_is_refused_or_bounded(data):
    fields = [
        data.draw(st.integers(0, 2**bits - 1)) for bits in (16, 64, 32, 64, 64, 32, 64, 64, 32)
    ]
    payload = np.frombuffer(data.draw(st.binary(max_size=64)), np.uint8)
    message = frames.encode(frames.Header(*fields), b"", [payload])
    try:
        decoded = frames.decode_header(message)
    except errors.DataLossError:
        return
    assert decoded.payload_bytes <= frames.CHUNK_BYTES
    assert decoded.body_bytes <= frames.MAX_BODY_BYTES
    assert decoded.offset + decoded.payload_bytes <= decoded.body_bytes


def mutated(rng, message):
    """Returns a message with some bytes set to others, and sometimes cut or longer."""
    found = bytearray(message)
    for _ in range(rng.choice([1, 1, 2, 8])):
        found[rng.randrange(len(found))] ^= rng.randrange(1, 256)
    way = rng.random()
    if way < 0.1:
        found = found[: rng.randrange(len(found))]
    elif way < 0.2:
        found += rng.randbytes(rng.randrange(1, 100))
    return bytes(found)


LIMITS = dict.fromkeys(frames.Header._fields, 64) | {
    "kind": 16, "source": 32, "meta_bytes": 32, "payload_bytes": 32,
}  # fmt: skip


def forged(rng, message):
    """Returns a message with changed fields and the checksum that fits them: by a stranger who
    knows the protocol."""
    header = frames.decode_header(message)
    for field in rng.sample(frames.Header._fields, rng.choice([1, 1, 2, 4])):
        value = rng.choice([0, 1, 7, getattr(header, field) + 1, rng.getrandbits(LIMITS[field])])
        header = header._replace(**{field: value % (1 << LIMITS[field])})
    return frames.encode(header, b"meta", [BODY])


def attack_assembler(count, seed):
    """Feeds mutated and forged messages; returns how many mutated ones were refused."""
    rng, (good,) = random.Random(seed), good_messages()
    before, refused = resident_bytes(), 0
    for _ in range(count):
        message = mutated(rng, good)
        refused += message == good or feed([message]) == ["refused"]
        (item,) = feed([forged(rng, good)])
        if isinstance(item, Frame):
            assert item.body.nbytes == BODY.nbytes
        else:
            assert item in ("refused", None) or isinstance(item, frames.Signal | frames.Announced)
    assert resident_bytes() - before < 64 << 20
    return refused


def test_every_mutated_frame_is_refused_and_forged_ones_give_no_more_than_they_announce():
    assert attack_assembler(5_000, seed=5) == 5_000


@pytest.mark.soak
def test_every_one_of_100_000_mutated_frames_is_refused():
    assert attack_assembler(100_000, seed=6) == 100_000


def attack_bulk(count, seed):
    """Sends mutated bodies with their checksums; returns how many were refused."""
    rng, refused = random.Random(seed), 0
    body = np.random.default_rng(seed).integers(0, 256, 10_000, np.uint8)
    wire = b"sum?" + body.tobytes() + checksum(body).to_bytes(4, "little")
    before = resident_bytes()
    for _ in range(count):
        stranger, receiver = socket.socketpair()
        with stranger, receiver:
            message = mutated(rng, wire)
            stranger.sendall(message)
            stranger.shutdown(socket.SHUT_WR)
            try:
                got = np.empty_like(body)
                bulk.receive(receiver, got, lambda count: None, lambda: True)
                # What follows a whole body is the next one's: it must be the body that was sent.
                refused += message[: len(wire)] == wire
            except (errors.DataLossError, OSError):
                refused += 1
    assert resident_bytes() - before < 64 << 20
    return refused


def test_every_mutated_bulk_body_is_refused():
    assert attack_bulk(500, seed=7) == 500


@pytest.mark.soak
def test_every_one_of_20_000_mutated_bulk_bodies_is_refused():
    assert attack_bulk(20_000, seed=8) == 20_000


@pytest.mark.parametrize("order", [[1, 0], [0, 0], [1]])
def test_chunks_that_are_doubled_lost_or_out_of_order_are_refused(order, monkeypatch):
    monkeypatch.setattr(frames, "CHUNK_BYTES", 400)
    messages = good_messages()
    assert len(messages) == 2
    assert "refused" in feed([messages[i] for i in order])


@given(st.binary(max_size=300))
@settings(max_examples=500, deadline=None)
def test_any_bytes_for_an_elastic_message_are_refused(data):
    with pytest.raises(errors.DataLossError):
        elastic_codec.unpack(np.frombuffer(data, np.uint8))


def test_mutated_elastic_messages_are_refused_or_well_formed():
    rng = random.Random(6)
    good = elastic_codec.pack({"k": "step"}, [np.ones(5, np.float32), np.zeros((), np.int64)])
    for _ in range(3_000):
        message = good.copy()
        for _ in range(rng.choice([1, 2, 8])):
            message[rng.randrange(message.size)] = rng.randrange(256)
        try:
            _, arrays = elastic_codec.unpack(message)
        except errors.DataLossError:
            continue
        assert sum(array.nbytes for array in arrays) <= good.size


# -- connections ---------------------------------------------------------------------------


@pytest.fixture
def server():
    server = GrpcServer(token="t" * 32, job="hostile")
    yield server
    server.close()


def test_connections_without_the_token_are_refused_and_counted_in_bounded_memory(server):
    for number in range(100):
        with grpc.insecure_channel(server.address) as channel:
            call = channel.stream_stream("/distflow.Comm/Stream")(
                iter([b"x" * 100]), metadata=(("distflow-token", f"guess {number}"),), timeout=5
            )
            with pytest.raises(grpc.RpcError) as caught:
                next(call)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert len(server.door.refused) <= 10


@pytest.mark.parametrize(
    "opening", [b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 64, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b""]
)
def test_strange_connections_do_not_keep_others_out(server, opening):
    host, port = server.address.split(":")
    strangers = [socket.create_connection((host, int(port)), timeout=5) for _ in range(50)]
    try:
        for stranger in strangers:
            stranger.sendall(opening)
        start = time.monotonic()
        with grpc.insecure_channel(server.address) as channel:
            call = channel.stream_stream("/distflow.Comm/Stream")(iter([]), timeout=10)
            with pytest.raises(grpc.RpcError) as caught:
                next(call)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert time.monotonic() - start < 8
    finally:
        for stranger in strangers:
            stranger.close()
