"""dot_general of two matrices with a batch axis: a case that looks like a plain matrix product."""

import numpy as np

from distflow.core.tensor import EagerTensor
from distflow.ops.prims.contraction import dot_general


def test_rows_with_columns_one_by_one():
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    b = np.arange(6, dtype=np.float32).reshape(3, 2)
    result = dot_general(
        EagerTensor(a), EagerTensor(b), contract=((1,), (0,)), batch=((0,), (1,))
    )  # fmt: skip
    np.testing.assert_array_equal(result, np.einsum("bk,kb->b", a, b))
