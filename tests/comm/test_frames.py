import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distflow.base import errors
from distflow.comm.transport import frames

JOB = frames.job_number("job")


def stream(*bodies, kind=frames.DATA):
    messages = []
    for number, body in enumerate(bodies):
        messages += frames.chunks(kind, JOB, 3, number, 7 + number, b"meta", body)
    return messages


def feed(messages):
    assembler = frames.Assembler(JOB, 3)
    return [item for item in map(assembler.feed, messages) if item is not None]


@pytest.mark.parametrize("size", [0, 1, 1000, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_a_frame_comes_back_whole(size):
    x = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    cut = size // 3
    (frame,) = feed(stream([x[:cut], x[cut:cut], x[cut:]]))
    assert (frame.tag, frame.meta) == (7, b"meta")
    assert np.array_equal(frame.body, x)


def test_no_message_is_longer_than_the_limit():
    messages = stream([np.zeros(5 << 20, np.uint8)])
    assert max(map(len, messages)) <= frames.MAX_MESSAGE_BYTES
    assert len(messages) == 5


@settings(max_examples=500)
@given(st.binary(max_size=200))
def test_random_bytes_are_a_typed_error(message):
    with pytest.raises(errors.DataLossError):
        frames.Assembler(JOB, 3).feed(message)


@settings(max_examples=500)
@given(st.data(), st.integers(1, 255), st.binary(max_size=40))
def test_a_damaged_byte_anywhere_is_a_typed_error(data, flip, body):
    message = bytearray(stream([np.frombuffer(body, np.uint8)])[0])
    message[data.draw(st.integers(0, len(message) - 1))] ^= flip
    with pytest.raises(errors.DataLossError):
        frames.Assembler(JOB, 3).feed(bytes(message))


@settings(max_examples=500)
@given(st.sampled_from(list(frames.Header._fields)), st.integers(0, 63), st.booleans())
def test_a_changed_field_with_the_right_checksum_is_a_typed_error_or_another_tag(
    field, bit, has_body
):
    body = [np.arange(10, dtype=np.uint8)] if has_body else []
    header = frames.decode_header(stream(body)[0])
    value = getattr(header, field) ^ (1 << bit)
    limit = {"kind": 16, "source": 32, "meta_bytes": 32, "payload_bytes": 32}.get(field, 64)
    message = frames.encode(header._replace(**{field: value % (1 << limit)}), b"meta", body)
    try:
        item = frames.Assembler(JOB, 3).feed(message)
    except errors.DataLossError:
        return
    # What is left to the layer above: the tag, and the kind where the frame is still consistent.
    assert value >> limit or item is None or isinstance(item, frames.Signal) or item.tag != 7


def test_a_bulk_frame_without_a_body_is_refused():
    with pytest.raises(errors.DataLossError, match="without a body"):
        frames.Assembler(JOB, 3).feed(frames.announcement(JOB, 3, 0, 7, b"meta", 0))


FAULTS = {
    "lost": lambda m: [m[0], m[2], *m[3:]],
    "doubled": lambda m: [m[0], m[0], *m[1:]],
    "reordered": lambda m: [m[1], m[0], *m[2:]],
    "frame skipped": lambda m: m[3:],
    "cut short": lambda m: [m[0][:-1], *m[1:]],
    "longer": lambda m: [m[0] + b"x", *m[1:]],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_stream_faults_are_detected(fault):
    body = [np.zeros(5 << 19, np.uint8)]  # three chunks
    with pytest.raises(errors.DataLossError):
        feed(FAULTS[fault](stream(body, body)))


def test_a_chunk_inside_of_a_frame_must_be_full():
    halves = [np.zeros(50, np.uint8)] * 2
    messages = [
        frames.encode(frames.Header(frames.DATA, JOB, 3, 0, 0, 0, 100, at, 50), b"", [half])
        for at, half in zip((0, 50), halves, strict=True)
    ]
    with pytest.raises(errors.DataLossError, match="not full"):
        feed(messages)


def test_frames_of_another_job_or_rank_are_refused():
    for assembler in (frames.Assembler(JOB + 1, 3), frames.Assembler(JOB, 2)):
        with pytest.raises(errors.DataLossError, match="this stream belongs to"):
            assembler.feed(stream([])[0])


def test_sizes_are_checked_before_memory_is_taken():
    header = frames.Header(frames.DATA, JOB, 3, 0, 0, 0, frames.MAX_BODY_BYTES + 1, 0, 0)
    with pytest.raises(errors.DataLossError, match="limits"):
        frames.Assembler(JOB, 3).feed(frames.encode(header))


def test_an_abort_may_interrupt_a_frame():
    long = stream([np.zeros(5 << 19, np.uint8)])
    abort = list(frames.chunks(frames.ABORT, JOB, 3, 0, 0, b"why", ()))
    assert feed([long[0], *abort]) == [frames.Signal(frames.ABORT, b"why")]
