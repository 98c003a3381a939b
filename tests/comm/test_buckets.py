import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distflow.comm import buckets, reduction

ARRAYS = st.lists(
    st.tuples(st.sampled_from(sorted(reduction.DTYPES)), st.lists(st.integers(0, 4), max_size=3)),
    max_size=8,
)


def make(recipe):
    return [
        (np.arange(int(np.prod(shape))) % 2 + i).astype(reduction.DTYPES[name]).reshape(shape)
        for i, (name, shape) in enumerate(recipe)
    ]


@given(ARRAYS)
def test_unpack_undoes_pack(recipe):
    arrays = make(recipe)
    layout = buckets.Layout(buckets.specs_of(arrays))
    flats = layout.pack(arrays)
    assert [flat.size for flat in flats] == layout.sizes
    back = layout.unpack(flats)
    assert [(a.shape, a.dtype, a.tobytes()) for a in back] == [
        (a.shape, a.dtype, a.tobytes()) for a in arrays
    ]


@given(ARRAYS)
def test_padded_arrays_come_back_aligned(recipe):
    arrays = make(recipe)
    parts = buckets.padded_parts(arrays)
    body = np.concatenate([np.empty(0, np.uint8), *parts])
    back = buckets.unpad(body, buckets.specs_of(arrays), ValueError)
    assert [a.tobytes() for a in back] == [a.tobytes() for a in arrays]
    assert all(a.flags.aligned for a in back)


@given(ARRAYS)
def test_decode_undoes_encode(recipe):
    specs = buckets.specs_of(make(recipe))
    assert buckets.decode(buckets.encode(specs)) == specs


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        [1],
        [["float32"]],
        [["object", [1]]],
        [["float32", [-1]]],
        [["float32", [True]]],
        [["float32", [1 << 50]]],
        [["float32", [1.0]]],
        [[["float32"], [1]]],
    ],
)
def test_malformed_specs_are_refused(value):
    with pytest.raises(ValueError):  # noqa: PT011  the caller wraps it
        buckets.decode(value)


def test_even_cuts_cover_everything_in_order():
    layout = buckets.Layout(buckets.specs_of([np.zeros(10), np.zeros(3, "i1")]))
    assert layout.even_cuts(4) == [[0, 2, 5, 7, 10], [0, 0, 1, 2, 3]]


def test_group_cuts_end_with_the_groups():
    specs = buckets.specs_of([np.zeros(2), np.zeros(3, "i1"), np.zeros(4), np.zeros(5)])
    assert buckets.Layout(specs).group_cuts([2, 0, 2]) == [[0, 2, 2, 11], [0, 3, 3, 3]]


def test_a_lone_contiguous_array_is_not_copied():
    x = np.zeros((3, 4))
    assert np.shares_memory(buckets.Layout(buckets.specs_of([x])).pack([x])[0], x)


def test_digests_tell_shapes_and_dtypes_apart():
    specs = [buckets.specs_of([np.zeros(s, d)]) for s in (3, (3, 1)) for d in ("f4", "i4")]
    assert len({buckets.digest(s) for s in specs}) == 4
