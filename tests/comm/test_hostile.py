"""Hostile bytes: mutated frames and strange connections end in errors, never in data or a hang."""

import random
import socket
import time

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distflow.base import errors
from distflow.comm.transport import frames
from distflow.comm.transport.base import Frame
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


@given(st.binary(max_size=400))
@settings(max_examples=500, deadline=None)
def test_any_bytes_are_refused_or_a_part_of_a_frame(data):
    for item in feed([data]):
        assert item in ("refused", None) or isinstance(item, Frame | frames.Signal)


@given(st.data())
@settings(max_examples=1000, deadline=None)
def test_a_header_with_any_fields_is_refused_or_bounded(data):
    fields = [
        data.draw(st.integers(0, 2**bits - 1)) for bits in (16, 64, 32, 64, 64, 32, 64, 64, 32)
    ]
    header = frames.Header(*fields)
    message = frames.encode_header(header) + data.draw(st.binary(max_size=64))
    try:
        decoded = frames.decode_header(message)
    except errors.DataLossError:
        return
    assert decoded.payload_bytes <= frames.CHUNK_BYTES
    assert decoded.body_bytes <= frames.MAX_BODY_BYTES
    assert decoded.offset + decoded.payload_bytes <= decoded.body_bytes


def test_mutated_frames_give_errors_or_frames_of_the_announced_size():
    rng = random.Random(5)
    (good,) = good_messages()
    refused = 0
    for _ in range(20_000):
        message = bytearray(good)
        for _ in range(rng.choice([1, 1, 2, 8])):
            message[rng.randrange(frames.HEADER_BYTES)] = rng.randrange(256)
        if rng.random() < 0.2:
            message = message[: rng.randrange(len(message))]
        (item,) = feed([bytes(message)])
        refused += item == "refused"
        if isinstance(item, Frame):
            assert item.body.nbytes == BODY.nbytes
    assert refused > 15_000  # a changed tag cannot be told from another one


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
    assert len(server.refused) <= 10


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
