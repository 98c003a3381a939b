"""The arena of a step: what lives at one time lies apart, and not much is wasted."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from distflow.compiler.cpu.memory import Buffer, lay_out, rounded
from distflow.compiler.cpu.task import ALIGNMENT

LIVES = st.lists(
    st.builds(
        lambda size, start, length: Buffer(size, start, start + length),
        st.one_of(st.integers(0, 300), st.sampled_from([4096, 100_000])),
        st.integers(0, 12), st.integers(0, 6),
    ),
    max_size=30,
)  # fmt: skip


def overlap(a, b):
    return a.start <= b.end and b.start <= a.end


@settings(max_examples=300, deadline=None, derandomize=True)
@given(LIVES)
def test_buffers_that_live_at_one_time_lie_apart(buffers):
    offsets, _ = lay_out(buffers)
    for i, a in enumerate(buffers):
        for j, b in enumerate(buffers[:i]):
            if overlap(a, b):
                apart = (
                    offsets[i] + max(a.num_bytes, 1) <= offsets[j]
                    or offsets[j] + max(b.num_bytes, 1) <= offsets[i]
                )
                assert apart, (a, offsets[i], b, offsets[j])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(LIVES)
def test_buffers_are_aligned_and_inside_of_the_arena(buffers):
    offsets, size = lay_out(buffers)
    assert len(offsets) == len(buffers)
    for buffer, offset in zip(buffers, offsets):
        assert offset % ALIGNMENT == 0
        assert 0 <= offset <= offset + rounded(buffer.num_bytes) <= size


@settings(max_examples=300, deadline=None, derandomize=True)
@given(LIVES)
def test_the_arena_is_no_larger_than_all_buffers_and_no_smaller_than_what_lives(buffers):
    _, size = lay_out(buffers)
    times = range(20)
    living = [sum(rounded(b.num_bytes) for b in buffers if b.start <= t <= b.end) for t in times]
    assert max(living) <= size <= sum(rounded(b.num_bytes) for b in buffers)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 500))
@example(40, 1, 64)
def test_a_chain_of_equal_buffers_takes_as_many_as_live_at_once(count, length, size):
    buffers = [Buffer(size, i, i + length) for i in range(count)]
    _, total = lay_out(buffers)
    assert total == rounded(size) * min(count, length + 1)


def test_a_buffer_is_not_used_again_at_the_time_of_its_last_use():
    offsets, size = lay_out([Buffer(64, 0, 1), Buffer(64, 1, 2), Buffer(64, 2, 3)])
    assert offsets == [0, 64, 0]
    assert size == 128


def test_gaps_side_by_side_become_one():
    offsets, size = lay_out([Buffer(64, 0, 0), Buffer(64, 0, 0), Buffer(128, 1, 1)])
    assert offsets[2] == 0
    assert size == 128


def test_nothing_needs_no_memory():
    assert lay_out([]) == ([], 0)
