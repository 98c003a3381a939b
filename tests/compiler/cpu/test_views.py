"""Views against NumPy's own: the strides of a reshape, and which reshapes need a copy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

from distflow.compiler.cpu.views import reshaped_strides

pytest.importorskip("llvmlite")

SHAPES = [(24,), (4, 6), (2, 3, 4), (1, 24, 1), (6, 1, 4), (8, 3), (2, 2, 2, 3), (3, 8)]


@given(st.sampled_from(SHAPES), st.sampled_from(SHAPES), st.data())
def test_reshape_of_a_transpose_is_a_view_or_nothing(shape, target, data):
    perm = data.draw(st.permutations(range(len(shape))))
    x = np.arange(24).reshape(shape).transpose(perm)
    found = reshaped_strides(x.shape, [s // x.itemsize for s in x.strides], target)
    if found is None:
        with pytest.raises(AttributeError):
            x.view().shape = target  # NumPy needs a copy, too
    else:
        view = as_strided(x, target, [s * x.itemsize for s in found])
        np.testing.assert_array_equal(view, x.reshape(target))


def test_a_repeated_axis_can_be_split_but_not_joined_with_others():
    assert reshaped_strides((6, 5), (0, 1), (2, 3, 5)) == (0, 0, 1)
    assert reshaped_strides((6, 5), (0, 1), (30,)) is None
