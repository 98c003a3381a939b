"""Linear algebra that needs no factorisation: diagonals, bands, traces, products."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import errors, shapes
from distflow.core import convert
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import EagerTensor, Tensor
from distflow.ops import dims
from distflow.ops import math as m
from distflow.ops.matmul import matmul
from distflow.ops.prims import creation, movement
from distflow.ops.prims import elementwise as p
from distflow.ops.reduce import reduce_sum
from distflow.ops.shaping import expand_dims, pad, reshape, squeeze, stack, unstack


def _matrix(where: str, x: Any) -> Any:
    x = convert_to_tensor(x)
    if x.ndim < 2:
        raise errors.invalid(where, "a matrix is needed (rank >= 2)", shapes.text(x.shape))
    return x


def matrix_transpose(a: Any, name: Any = "matrix_transpose", conjugate: bool = False) -> Tensor:
    """Returns a with its last two dimensions exchanged."""
    x = _matrix("matrix_transpose", a)
    y = movement.transpose(x, perm=(*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))
    return m.conj(y) if conjugate else y


def adjoint(matrix: Any, name: Any = None) -> Tensor:
    """Returns the conjugate transpose of the last two dimensions."""
    return matrix_transpose(matrix, conjugate=True)


def matvec(
    a: Any, b: Any, transpose_a: bool = False, adjoint_a: bool = False,
    a_is_sparse: bool = False, b_is_sparse: bool = False, name: Any = None,
) -> Tensor:  # fmt: skip
    """Returns the product of matrices [..., n, k] and vectors [..., k]."""
    a, b = convert.match("matvec", (a, b), None)
    column = expand_dims(b, -1)
    return squeeze(matmul(a, column, transpose_a=transpose_a, adjoint_a=adjoint_a), [-1])


def _offsets(x: Any) -> Any:
    """column - row for the last two dimensions of x, int32 [rows, columns]."""
    rows, columns = dims.size(x, x.ndim - 2), dims.size(x, x.ndim - 1)
    return p.sub(expand_dims(_iota(columns), 0), expand_dims(_iota(rows), 1))


def _iota(length: Any) -> Any:
    return m.range(length) if not isinstance(length, int) else creation.iota(
        dtype=convert_to_tensor(0).dtype, length=length)  # fmt: skip


def _zero(x: Any) -> EagerTensor:
    return EagerTensor(np.zeros((), x.dtype.numpy))


def band_part(input: Any, num_lower: Any, num_upper: Any, name: Any = None) -> Tensor:
    """Returns the matrix with all but a band around the main diagonal set to 0.

    A negative number keeps the whole triangle on that side.
    """
    x = _matrix("band_part", input)
    lower, upper = int(dims.known(num_lower)), int(dims.known(num_upper))
    offset = _offsets(x)
    keep = p.and_(
        p.le(-lower, offset) if lower >= 0 else p.eq(offset, offset),
        p.le(offset, upper) if upper >= 0 else p.eq(offset, offset),
    )
    return p.select(keep, x, _zero(x))


def diag_part(
    input: Any, name: Any = "diag_part", k: int = 0, padding_value: Any = 0,
    align: str = "RIGHT_LEFT",
) -> Tensor:  # fmt: skip
    """Returns the k-th diagonal of the last two dimensions (above the main one for k > 0)."""
    x = _matrix("diag_part", input)
    rows, columns = x.shape[-2:]
    k = _diagonal("diag_part", k)
    if rows is None or columns is None:
        raise errors.invalid("diag_part", "the matrix's size must be known", shapes.text(x.shape))
    first_row, first_column = max(-k, 0), max(k, 0)
    count = min(rows - first_row, columns - first_column)
    if count < 1:
        raise errors.invalid("diag_part", f"k must lie within {[rows, columns]}", str(k))
    flat = dims.reshape(x, [*dims.of(x)[:-2], rows * columns])
    start = first_row * columns + first_column
    lead = (0,) * (flat.ndim - 1)
    return movement.slice_(
        flat,
        starts=(*lead, start),
        stops=(*(None for _ in lead), start + (count - 1) * (columns + 1) + 1),
        strides=(*(1 for _ in lead), columns + 1),
    )


def _diagonal(where: str, k: Any) -> int:
    known = dims.known(k)
    if known is None or known.size != 1:
        raise errors.UnimplementedError(f"{where}: a range of diagonals is not there yet.")
    return int(known.reshape(()))


def diag(
    diagonal: Any, name: Any = "diag", k: int = 0, num_rows: int = -1, num_cols: int = -1,
    padding_value: Any = 0, align: str = "RIGHT_LEFT",
) -> Tensor:  # fmt: skip
    """Returns square matrices with the given k-th diagonals, and padding_value elsewhere."""
    x = convert_to_tensor(diagonal)
    k = _diagonal("diag", k)
    if not x.ndim or (num_rows, num_cols) != (-1, -1):
        raise errors.invalid(
            "diag", "a diagonal of rank >= 1, and no num_rows or num_cols",
            f"rank {x.ndim}, {num_rows}, {num_cols}",
        )  # fmt: skip
    lead = [[0, 0]] * (x.ndim - 1)
    # Row r holds diagonal[r] where k >= 0, diagonal[r + k] below.
    rows = pad(x, [*lead, [max(-k, 0), max(k, 0)]])
    size = dims.size(rows, rows.ndim - 1)
    offset = p.sub(expand_dims(_iota(size), 0), expand_dims(_iota(size), 1))
    filling = m.cast(convert_to_tensor(padding_value, dtype_hint=x.dtype), x.dtype)
    return p.select(p.eq(offset, k), expand_dims(rows, -1), filling)


def set_diag(
    input: Any, diagonal: Any, name: Any = "set_diag", k: int = 0, align: str = "RIGHT_LEFT"
) -> Tensor:
    """Returns the matrix with its main diagonal replaced."""
    x = _matrix("set_diag", input)
    d = convert_to_tensor(diagonal, dtype_hint=x.dtype)
    if _diagonal("set_diag", k) != 0:
        raise errors.UnimplementedError("set_diag: only the main diagonal (k=0) is there yet.")
    rows, columns = x.shape[-2:]
    if rows is not None and columns is not None and rows != columns:
        short = min(rows, columns)
        shapes.merge("set_diag", (short,), d.shape[-1:])
        if short < rows:
            d = pad(d, [*[[0, 0]] * (d.ndim - 1), [0, rows - short]])
    return p.select(p.eq(_offsets(x), 0), expand_dims(d, -1), x)


def trace(x: Any, name: Any = None) -> Tensor:
    """Returns the sum of the main diagonal of the last two dimensions."""
    x = _matrix("trace", x)
    kept = p.select(p.eq(_offsets(x), 0), x, _zero(x))
    return reduce_sum(kept, [-2, -1])


def tensor_diag(diagonal: Any, name: Any = None) -> Tensor:
    """Returns a tensor of twice the rank with the entries of `diagonal` on its diagonal."""
    x = convert_to_tensor(diagonal)
    return reshape(diag(reshape(x, (-1,))), (*x.shape, *x.shape))


def tensor_diag_part(input: Any, name: Any = None) -> Tensor:
    """Returns the entries [i, ..., k, i, ..., k] of a tensor of even rank."""
    x = convert_to_tensor(input)
    half = x.ndim // 2
    if x.ndim % 2 or not x.ndim or x.shape[:half] != x.shape[half:]:
        raise errors.invalid(
            "tensor_diag_part", "both halves of the shape must be equal", shapes.text(x.shape)
        )
    size = shapes.size(x.shape[:half])
    return reshape(diag_part(reshape(x, (size, size))), tuple(x.shape[:half]))


def cross(a: Any, b: Any, name: Any = None) -> Tensor:
    """Returns the cross products of vectors [..., 3]."""
    u, v = unstack(a, 3, -1), unstack(b, 3, -1)
    return stack(
        [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]], -1
    )
