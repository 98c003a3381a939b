"""Products of vectors and matrices in `keras.ops`: matmul, dot, einsum, tensordot, kron."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.keras.engine.keras_ops import operation
from distflow.keras.ops.arrangement import moved
from distflow.keras.ops.dtype_rules import floats, promoted, tensor
from distflow.keras.ops.selection import require_vector
from distflow.ops import indexing, linalg, math, reduce, shaping
from distflow.ops import matmul as products


def _matmul(x: Any, y: Any) -> Any:
    if x.ndim == 1 and y.ndim == 1:
        return products.tensordot(x, y, 1)
    if x.ndim == 1:
        return shaping.squeeze(products.matmul(shaping.expand_dims(x, 0), y), -2)
    if y.ndim == 1:
        return shaping.squeeze(products.matmul(x, shaping.expand_dims(y, 1)), -1)
    return products.matmul(x, y)


@operation("numpy.Matmul")
def matmul(x1: Any, x2: Any) -> Any:
    """Returns products of matrices over the leading axes; vectors are rows or columns."""
    return _matmul(*promoted(x1, x2))


@operation("numpy.Dot")
def dot(x1: Any, x2: Any) -> Any:
    """Returns the sum product over the last axis of x1 and the last but one of x2."""
    x, y = promoted(x1, x2)
    if x.ndim == 0 or y.ndim == 0:
        return x * y
    return products.tensordot(x, y, [[x.ndim - 1], [max(y.ndim - 2, 0)]])


@operation("numpy.Vdot")
def vdot(x1: Any, x2: Any) -> Any:
    """Returns the sum of products of all elements, those of x1 conjugated."""
    x, y = promoted(x1, x2)
    x = math.conj(x) if x.dtype.is_complex else x
    return products.tensordot(shaping.reshape(x, [-1]), shaping.reshape(y, [-1]), 1)


@operation("numpy.Inner")
def inner(x1: Any, x2: Any) -> Any:
    """Returns the sum product over the last axes."""
    x, y = promoted(x1, x2)
    if x.ndim == 0 or y.ndim == 0:
        return x * y
    return products.tensordot(x, y, [[x.ndim - 1], [y.ndim - 1]])


@operation("numpy.Outer")
def outer(x1: Any, x2: Any) -> Any:
    """Returns all products of an element of x1 with one of x2."""
    x, y = promoted(x1, x2)
    return shaping.reshape(x, [-1, 1]) * shaping.reshape(y, [1, -1])


@operation("numpy.Tensordot", "axes")
def tensordot(x1: Any, x2: Any, axes: Any = 2) -> Any:
    """Returns the sum product over pairs of axes."""
    x, y = promoted(x1, x2)
    return products.tensordot(x, y, axes)


@operation("numpy.Einsum", "subscripts")
def einsum(subscripts: str, *operands: Any) -> Any:
    """Returns the sum of products that subscripts like "ij,jk->ik" say."""
    return products.einsum(subscripts, *promoted(*operands))


@operation("numpy.Kron")
def kron(x1: Any, x2: Any) -> Any:
    """Returns the blocks x1[i] * x2."""
    x, y = promoted(x1, x2)
    rank = max(x.ndim, y.ndim)
    a, b = ([1] * (rank - v.ndim) + list(v.shape) for v in (x, y))
    left = shaping.reshape(x, [d for size in a for d in (size, 1)])
    right = shaping.reshape(y, [d for size in b for d in (1, size)])
    return shaping.reshape(left * right, [p * q for p, q in zip(a, b)])


@operation("numpy.Cross", "axisa", "axisb", "axisc", "axis")
def cross(x1: Any, x2: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1,
          axis: Any = None) -> Any:  # fmt: skip
    """Returns the vector product of vectors of 2 or 3 elements."""
    if axis is not None:
        axisa = axisb = axisc = axis
    x, y = promoted(x1, x2)
    x, y = moved(x, axisa, -1), moved(y, axisb, -1)
    a, b = ([v[..., i] for i in range(v.shape[-1])] for v in (x, y))
    if not {len(a), len(b)} <= {2, 3}:
        raise ValueError(
            "Both `x1` and `x2` must have 2 or 3 elements along their axis. Received shapes: "
            f"{tuple(x.shape)} and {tuple(y.shape)}"
        )
    last = a[0] * b[1] - a[1] * b[0]
    if len(a) == len(b) == 2:
        return last
    a2, b2 = (v[2] if len(v) == 3 else v[0] * 0 for v in (a, b))
    parts = [a[1] * b2 - a2 * b[1], a2 * b[0] - a[0] * b2, last]
    return moved(shaping.stack(parts, -1), -1, axisc)


@operation("numpy.Vander", "N", "increasing")
def vander(x: Any, N: Any = None, increasing: bool = False) -> Any:
    """Returns the powers of a vector's elements as columns, the highest first."""
    x = tensor(x)
    require_vector("vander", x)
    powers = np.arange(x.shape[0] if N is None else N)
    powers = powers if increasing else powers[::-1]
    if x.dtype.is_integer:
        base = math.cast(x, "int32") if x.dtype.size < 4 else x
        return math.pow(base[:, None], powers.astype(base.dtype.numpy)[None])
    return math.pow(x[:, None], powers.astype(x.dtype.numpy)[None])


@operation("numpy.Correlate", "mode")
def correlate(x1: Any, x2: Any, mode: str = "valid") -> Any:
    """Returns the sums of products of two vectors shifted against each other."""
    x, y = floats(x1, x2)
    require_vector("correlate", x)
    require_vector("correlate", y)
    n, m = x.shape[0], y.shape[0]
    if mode not in ("valid", "same", "full"):
        raise ValueError(f"mode must be 'valid', 'same' or 'full'. Received: mode={mode}")
    full_length = n + m - 1
    padded = shaping.pad(x, [[m - 1, m - 1]])
    rows = np.arange(full_length, dtype=np.int32)[:, None] + np.arange(m, dtype=np.int32)[None]
    full = reduce.reduce_sum(indexing.gather(padded, rows) * y, -1)
    if mode == "full":
        return full
    length = max(n, m) - min(n, m) + 1 if mode == "valid" else max(n, m)
    start = min(n, m) - 1 if mode == "valid" else (full_length - length) // 2
    if mode == "same" and n < m and (full_length - length) % 2:
        start += 1
    return full[start : start + length]


@operation("numpy.Corrcoef")
def corrcoef(x: Any) -> Any:
    """Returns the correlations of the rows."""
    (x,) = floats(x)
    if x.ndim == 1:
        x = shaping.expand_dims(x, 0)
    centred = x - reduce.reduce_mean(x, -1, True)
    covariance = products.matmul(centred, centred, transpose_b=True)
    spread = math.sqrt(linalg.diag_part(covariance))
    found = covariance / (spread[:, None] * spread[None])
    return shaping.squeeze(found) if found.shape[0] == 1 else found
