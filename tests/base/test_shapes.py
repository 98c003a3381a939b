"""TensorShape and shape arithmetic with unknown dimensions."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distflow.base import shapes
from distflow.base.errors import InvalidArgumentError
from distflow.base.shapes import TensorShape

# -- TensorShape ---------------------------------------------------------------------------


def test_shape_is_a_tuple_with_names_for_its_parts():
    shape = TensorShape([2, None])
    assert shape == (2, None)
    assert shape.rank == shape.ndims == len(shape) == 2
    assert shape.as_list() == shape.dims == [2, None]
    assert shape[0] == 2
    assert shape[1:] == TensorShape([None])
    assert not shape.is_fully_defined()
    assert shape.num_elements() is None
    assert TensorShape([2, 3]).num_elements() == 6
    assert TensorShape([]).num_elements() == 1


def test_minus_one_is_unknown_and_less_is_refused():
    assert TensorShape([-1, 2]) == [None, 2]
    with pytest.raises(InvalidArgumentError, match=r"None, -1 or >= 0; received -2"):
        TensorShape([-2])


def test_unknown_rank():
    unknown = TensorShape(None)
    assert unknown.rank is None
    assert unknown.dims is None
    assert unknown == None  # noqa: E711
    assert unknown != TensorShape([])
    assert unknown.is_compatible_with([2, 3])
    assert unknown.with_rank(2) == [None, None]
    assert unknown[0] is None
    assert unknown[1:].rank is None
    assert str(unknown) == "<unknown>"
    with pytest.raises(ValueError, match=r"rank must be known"):
        unknown.as_list()


def test_text_of_shapes():
    assert str(TensorShape([2])) == "(2,)"
    assert str(TensorShape([2, None])) == "(2, None)"
    assert repr(TensorShape([2, None])) == "TensorShape([2, None])"
    assert repr(TensorShape(None)) == "TensorShape(None)"


def test_shapes_hash_copy_and_pickle():
    for shape in (TensorShape([2, None]), TensorShape(None), TensorShape([])):
        assert {shape: 1}[shape] == 1
        for twin in (copy.deepcopy(shape), pickle.loads(pickle.dumps(shape))):
            assert twin == shape
            assert twin.rank == shape.rank


def test_shape_concatenates_with_lists_on_both_sides():
    one, two = TensorShape([1]), [2]
    assert one + two == [1, 2]
    assert two + one == [2, 1]
    assert isinstance(one + two, TensorShape)
    assert (one + TensorShape(None)).rank is None


def test_merge_with_takes_what_both_know():
    assert TensorShape([None, 3]).merge_with([2, None]) == [2, 3]
    with pytest.raises(ValueError, match=r"compatible with \(2,\); received \(3,\)"):
        TensorShape([2]).merge_with([3])


@pytest.mark.parametrize("dims", [[2.5], [2.0], "ab", [[1]]], ids=repr)
def test_dimensions_that_are_no_integers_are_refused(dims):
    with pytest.raises(TypeError, match=r"expected integers or None as dimensions"):
        TensorShape(dims)


def test_shape_that_covers_two():
    assert TensorShape([2, 3]).most_specific_compatible_shape([2, 4]) == [2, None]
    assert TensorShape([2]).most_specific_compatible_shape([2, 4]).rank is None


def test_rank_is_checked():
    assert TensorShape([2]).with_rank_at_least(1).with_rank_at_most(1) == [2]
    with pytest.raises(ValueError, match=r"at least 2"):
        TensorShape([2]).with_rank_at_least(2)
    with pytest.raises(ValueError, match=r"at most 0"):
        TensorShape([2]).with_rank_at_most(0)
    TensorShape([2]).assert_has_rank(1)
    with pytest.raises(ValueError, match=r"rank must be 2"):
        TensorShape([2]).with_rank(2)


# -- arithmetic ----------------------------------------------------------------------------

_DIMS = st.lists(st.integers(0, 3), max_size=4).map(tuple)


@given(_DIMS, _DIMS)
def test_broadcast_equals_numpy(a, b):
    try:
        expected = np.broadcast_shapes(a, b)
    except ValueError:
        with pytest.raises(InvalidArgumentError, match=r"here: shapes must broadcast"):
            shapes.broadcast("here", a, b)
    else:
        assert shapes.broadcast("here", a, b) == expected


@given(_DIMS, _DIMS, st.data())
def test_broadcast_with_unknown_dims_covers_the_truth(a, b, data):
    try:
        truth = np.broadcast_shapes(a, b)
    except ValueError:
        return
    hidden = [tuple(None if data.draw(st.booleans()) else d for d in dims) for dims in (a, b)]
    assert TensorShape(shapes.broadcast("here", *hidden)).is_compatible_with(truth)


@pytest.mark.parametrize(
    ("a", "b", "result"),
    [((None,), (3,), (3,)), ((None,), (1,), (None,)), ((None,), (None,), (None,)),
     ((None, 2), (), (None, 2)), ((None,), (0,), (0,))],
)  # fmt: skip
def test_broadcast_of_an_unknown_dim(a, b, result):
    assert shapes.broadcast("here", a, b) == result
    assert shapes.broadcast("here", b, a) == result


def test_broadcast_of_three():
    assert shapes.broadcast("here", (2, 1), (3,), (1, 1, 1)) == (1, 2, 3)


def test_size():
    assert shapes.size((2, 3)) == 6
    assert shapes.size(()) == 1
    assert shapes.size((2, None)) is None
    assert shapes.size((0, None)) == 0


def test_axis_counts_from_the_end():
    assert shapes.axis("f", -1, 3) == 2
    with pytest.raises(InvalidArgumentError, match=r"f: axis must be in \[-3, 3\)"):
        shapes.axis("f", 3, 3)


def test_axes_are_sorted_and_distinct():
    assert shapes.axes("f", None, 3) == (0, 1, 2)
    assert shapes.axes("f", 1, 3) == (1,)
    assert shapes.axes("f", np.int64(1), 3) == (1,)
    assert shapes.axes("f", [-1, 0], 3) == (0, 2)
    assert shapes.axes("f", [], 3) == ()
    with pytest.raises(InvalidArgumentError, match=r"distinct"):
        shapes.axes("f", [0, -3], 3)


def test_merge():
    assert shapes.merge("f", (None, 2), (3, None)) == (3, 2)
    with pytest.raises(InvalidArgumentError, match=r"f: shape must be \[\?, 2\]; received \[3\]"):
        shapes.merge("f", (None, 2), (3,))
