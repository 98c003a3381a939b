"""gather_nd, the rows of which are computed from indices, eagerly and without known dimensions."""

from __future__ import annotations

import numpy as np
import pytest

from distflow.autodiff import GradientTape
from distflow.base.errors import InvalidArgumentError
from distflow.core.convert import convert_to_tensor
from distflow.ops.prims.indexing import gather_nd
from tests.support.hidden import HiddenTensor

_PARAMS = np.arange(24.0).reshape(2, 3, 4)
_CASES = [
    [[0], [1], [0]],
    [[0, 2], [1, 0]],
    [[[0, 2, 3]], [[1, 0, 0]]],
    [1, 2],
    np.zeros((2, 0), np.int32),
    np.zeros((0, 2), np.int32),
]


def _expected(params, indices):
    rows = [params[tuple(indices[at])] for at in np.ndindex(indices.shape[:-1])]
    shape = (*indices.shape[:-1], *params.shape[indices.shape[-1] :])
    return np.asarray(rows).reshape(shape)


@pytest.mark.parametrize("indices", _CASES, ids=str)
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_gather_nd_equals_numpy(indices, dtype):
    indices = np.asarray(indices, dtype)
    result = gather_nd(convert_to_tensor(_PARAMS), convert_to_tensor(indices))
    np.testing.assert_array_equal(result.numpy(), _expected(_PARAMS, indices))


@pytest.mark.parametrize("indices", _CASES, ids=str)
def test_gather_nd_does_without_known_dims(indices):
    indices = np.asarray(indices, np.int32)
    params = HiddenTensor(convert_to_tensor(_PARAMS), (None,) * 3)
    hidden = HiddenTensor(
        convert_to_tensor(indices), (*(None for _ in indices.shape[:-1]), indices.shape[-1])
    )
    result = gather_nd(params, hidden)
    np.testing.assert_array_equal(result.value.numpy(), _expected(_PARAMS, indices))


def test_gradient_goes_to_the_gathered_elements():
    params = convert_to_tensor(_PARAMS)
    with GradientTape() as tape:
        tape.watch(params)
        picked = gather_nd(params, convert_to_tensor([[0, 2], [0, 2], [1, 1]]))
    expected = np.zeros((2, 3, 4))
    expected[0, 2], expected[1, 1] = 2, 1
    np.testing.assert_array_equal(tape.gradient(picked, params).numpy(), expected)


@pytest.mark.parametrize("bad", [[0, 3], [0, -1], [2, 0]])
def test_index_outside_is_refused_even_where_the_flat_row_exists(bad):
    with pytest.raises(InvalidArgumentError, match=r"inside \[2, 3\]; received"):
        gather_nd(convert_to_tensor(_PARAMS), convert_to_tensor([[0, 0], bad]))


@pytest.mark.parametrize("bad", [[0, 3], [0, -1]])
def test_index_outside_is_refused_when_the_dims_are_unknown(bad):
    params = HiddenTensor(convert_to_tensor(_PARAMS), (None,) * 3)
    indices = HiddenTensor(convert_to_tensor([bad]), (None, 2))
    with pytest.raises(InvalidArgumentError, match=r"gather"):
        gather_nd(params, indices)
