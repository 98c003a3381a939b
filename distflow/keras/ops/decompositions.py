"""Linear algebra of `keras.ops` by NumPy's LAPACK; what has a gradient says so.

Results come from the host, so a compiled step runs them between its native parts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from distflow.autodiff import custom_gradient
from distflow.base import dtypes, errors
from distflow.keras.engine.keras_ops import operation
from distflow.keras.ops.dtype_rules import as_axes, floats
from distflow.ops import linalg, math, reduce, shaping
from distflow.ops import matmul as products
from distflow.ops.prims import host


def _host(function: Callable[..., Any], inputs: list[Any], *shapes: Any, kinds: Any = None) -> Any:
    """Runs a function of arrays; its errors name what LAPACK could not do."""

    def run(*arrays: Any) -> Any:
        try:
            found = function(*arrays)
        except np.linalg.LinAlgError as error:
            raise errors.InvalidArgumentError(f"keras.ops.linalg: {error}") from error
        return tuple(found) if isinstance(found, tuple | list) else (found,)

    types = kinds or (inputs[0].dtype,) * len(shapes)
    found = host.host_call(*inputs, fn=run, dtypes=tuple(types), shapes=shapes, gradient=None)
    return found[0] if len(shapes) == 1 else tuple(found)


def _square(where: str, x: Any) -> Any:
    if x.ndim < 2 or (x.shape[-1] != x.shape[-2] and None not in x.shape[-2:]):
        raise ValueError(
            f"{where}: expected square matrices [..., n, n]; received shape {tuple(x.shape)}"
        )
    return x


def _t(x: Any) -> Any:
    return linalg.matrix_transpose(x)


@custom_gradient
def _inverse(x: Any) -> Any:
    y = _host(np.linalg.inv, [x], tuple(x.shape))
    return y, lambda g: -products.matmul(products.matmul(_t(y), g), _t(y))


@operation("linalg.Inv")
def inv(x: Any) -> Any:
    """Returns the inverses of square matrices; differentiable."""
    return _inverse(_square("inv", floats(x)[0]))


@custom_gradient
def _solved(a: Any, b: Any) -> Any:
    x = _host(np.linalg.solve, [a, b], tuple(b.shape))

    def gradient(g: Any) -> Any:
        toward_b = _solved(_t(a), g)
        return -products.matmul(toward_b, _t(x)), toward_b

    return x, gradient


@operation("linalg.Solve")
def solve(a: Any, b: Any) -> Any:
    """Returns x with a x = b, for b [..., n] or [..., n, k]; differentiable."""
    a, b = floats(a, b)
    _square("solve", a)
    if b.ndim == a.ndim - 1:
        return shaping.squeeze(_solved(a, shaping.expand_dims(b, -1)), -1)
    return _solved(a, b)


@custom_gradient
def _determinant(x: Any) -> Any:
    y = _host(np.linalg.det, [x], tuple(x.shape[:-2]))

    def gradient(g: Any) -> Any:
        factor = shaping.reshape(g * y, [*[-1 if d is None else d for d in y.shape], 1, 1])
        return factor * _t(_inverse(x))

    return y, gradient


@operation("linalg.Det")
def det(x: Any) -> Any:
    """Returns the determinants of square matrices; differentiable where they are not 0."""
    return _determinant(_square("det", floats(x)[0]))


@operation("numpy.Slogdet")
def slogdet(x: Any) -> Any:
    """Returns the sign and the logarithm of the absolute value of determinants."""
    x = _square("slogdet", floats(x)[0])
    shape = tuple(x.shape[:-2])
    sign, size = _host(lambda a: tuple(np.linalg.slogdet(a)), [x], shape, shape)
    return sign, size


@operation("math.Logdet")
def logdet(x: Any) -> Any:
    """Returns log det x of positive definite matrices; differentiable."""
    factor = _lower(_square("logdet", floats(x)[0]))
    return 2 * reduce.reduce_sum(math.log(linalg.diag_part(factor)), -1)


@custom_gradient
def _lower(x: Any) -> Any:
    y = _host(np.linalg.cholesky, [x], tuple(x.shape))

    def gradient(g: Any) -> Any:
        # Source: Murray 2016, arXiv:1602.07527, eq. 10.
        inner = linalg.band_part(products.matmul(_t(y), g), -1, 0)
        inner = linalg.set_diag(inner, linalg.diag_part(inner) / 2)
        inverse = _inverse(y)
        found = products.matmul(products.matmul(_t(inverse), inner), inverse)
        return (found + _t(found)) / 2

    return y, gradient


@operation("linalg.Cholesky", "upper")
def cholesky(x: Any, upper: bool = False) -> Any:
    """Returns the triangular factor of positive definite matrices; differentiable."""
    found = _lower(_square("cholesky", floats(x)[0]))
    return _t(found) if upper else found


@operation("linalg.CholeskyInverse", "upper")
def cholesky_inverse(x: Any, upper: bool = False) -> Any:
    """Returns the inverse of the matrix whose triangular factor is x."""
    factor = _square("cholesky_inverse", floats(x)[0])
    inverse = _inverse(_t(factor) if upper else factor)
    return products.matmul(_t(inverse), inverse)


@operation("linalg.SolveTriangular", "lower")
def solve_triangular(a: Any, b: Any, lower: bool = False) -> Any:
    """Returns x with a x = b, where only the lower (upper) triangle of a counts."""
    a, b = floats(a, b)
    a = linalg.band_part(a, -1 if lower else 0, 0 if lower else -1)
    if b.ndim == a.ndim - 1:
        return shaping.squeeze(_solved(a, shaping.expand_dims(b, -1)), -1)
    return _solved(a, b)


@operation("linalg.Qr", "mode")
def qr(x: Any, mode: str = "reduced") -> Any:
    """Returns orthogonal q and triangular r with q r = x."""
    if mode not in ("reduced", "complete"):
        raise ValueError(
            f"`mode` argument value not supported. Expected one of {{'reduced', 'complete'}}. "
            f"Received: mode={mode}"
        )
    (x,) = floats(x)
    *lead, m, n = x.shape
    k = min(m, n) if mode == "reduced" else m
    kind: Any = mode
    return _host(lambda a: tuple(np.linalg.qr(a, kind)), [x], (*lead, m, k), (*lead, k, n))


@operation("linalg.SVD", "full_matrices", "compute_uv")
def svd(x: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """Returns u, s, vh with x = u diag(s) vh, or s alone."""
    (x,) = floats(x)
    *lead, m, n = x.shape
    k = min(m, n)
    if not compute_uv:
        return _host(lambda a: np.linalg.svd(a, compute_uv=False), [x], (*lead, k))
    p, q = (m, n) if full_matrices else (k, k)
    return _host(
        lambda a: tuple(np.linalg.svd(a, full_matrices)), [x], (*lead, m, p), (*lead, k),
        (*lead, q, n),
    )  # fmt: skip


@operation("linalg.Eigh")
def eigh(x: Any) -> Any:
    """Returns the eigenvalues (rising) and eigenvectors of symmetric matrices."""
    x = _square("eigh", floats(x)[0])
    return _host(lambda a: tuple(np.linalg.eigh(a)), [x], tuple(x.shape[:-1]), tuple(x.shape))


@operation("linalg.Eig")
def eig(x: Any) -> Any:
    """Returns the complex eigenvalues and eigenvectors of square matrices."""
    x = _square("eig", floats(x)[0])
    kind = dtypes.as_dtype("complex128" if x.dtype.size == 8 else "complex64")
    return _host(lambda a: tuple(np.linalg.eig(a)), [x], tuple(x.shape[:-1]), tuple(x.shape),
                 kinds=(kind, kind))  # fmt: skip


@operation("linalg.Lstsq", "rcond")
def lstsq(a: Any, b: Any, rcond: Any = None) -> Any:
    """Returns the x of least norm that makes |a x - b| smallest."""
    a, b = floats(a, b)
    shape = (a.shape[1], *b.shape[1:])
    return _host(lambda p, q: np.linalg.lstsq(p, q, rcond=rcond)[0], [a, b], shape)


@operation("linalg.Pinv", "rcond")
def pinv(x: Any, rcond: Any = None) -> Any:
    """Returns the pseudo-inverses of matrices."""
    (x,) = floats(x)
    shape = (*x.shape[:-2], x.shape[-1], x.shape[-2])
    limit = max(x.shape[-2:]) * np.finfo(x.dtype.numpy).eps if rcond is None else rcond
    return _host(lambda a: np.linalg.pinv(a, limit), [x], shape)


@operation("linalg.MatrixRank", "tol")
def matrix_rank(x: Any, tol: Any = None) -> Any:
    """Returns the numbers of singular values above `tol`, int32."""
    (x,) = floats(x)
    return _host(lambda a: np.linalg.matrix_rank(a, tol), [x], tuple(x.shape[:-2]),
                 kinds=(dtypes.int32,))  # fmt: skip


@operation("linalg.Norm", "ord", "axis", "keepdims")
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Returns norms of vectors (one axis) or matrices (two), by default the Euclidean one."""
    (x,) = floats(x)
    axes = as_axes(axis, x.ndim)
    if ord is None and axis is None:
        return math.sqrt(reduce.reduce_sum(math.square(math.abs(x)), None, keepdims))
    if len(axes) == 1:
        return _vector_norm(x, 2 if ord is None else ord, axes[0], keepdims)
    if len(axes) != 2:
        raise ValueError(f"Improper number of dimensions to norm. Received: axis={axis}")
    return _matrix_norm(x, ord, axes, keepdims)


def _vector_norm(x: Any, order: Any, axis: int, keepdims: bool) -> Any:
    size = math.abs(x)
    if order in ("fro", "nuc"):
        raise ValueError(f"Invalid `ord` argument for vectors. Received: ord={order}")
    if order == np.inf:
        return reduce.reduce_max(size, axis, keepdims)
    if order == -np.inf:
        return reduce.reduce_min(size, axis, keepdims)
    if order == 0:
        return reduce.reduce_sum(math.cast(math.not_equal(x, 0), x.dtype), axis, keepdims)
    if order == 2:
        return math.sqrt(reduce.reduce_sum(math.square(size), axis, keepdims))
    return math.pow(reduce.reduce_sum(math.pow(size, float(order)), axis, keepdims), 1 / order)


def _matrix_norm(x: Any, order: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    size = math.abs(x)
    if order in (None, "fro"):
        return math.sqrt(reduce.reduce_sum(math.square(size), list(axes), keepdims))
    if order in (1, -1, np.inf, -np.inf):
        inner, outer = (axes[0], axes[1]) if order in (1, -1) else (axes[1], axes[0])
        sums = reduce.reduce_sum(size, inner, True)
        pick = reduce.reduce_max if order > 0 else reduce.reduce_min
        found = pick(sums, outer, True)
        return found if keepdims else shaping.squeeze(found, list(axes))
    if order in (2, -2, "nuc"):
        rest = [i for i in range(x.ndim) if i not in axes]
        values = svd(shaping.transpose(x, [*rest, *axes]), compute_uv=False)
        pick = {2: reduce.reduce_max, -2: reduce.reduce_min, "nuc": reduce.reduce_sum}[order]
        found = pick(values, -1)
        for axis in sorted(axes) if keepdims else ():
            found = shaping.expand_dims(found, axis)
        return found
    raise ValueError(f"Invalid `ord` argument for matrices. Received: ord={order}")


@operation("linalg.LuFactor")
def lu_factor(x: Any) -> Any:
    """Returns the LU factors in one matrix, and the row exchanged with each row, int32."""
    x = _square("lu_factor", floats(x)[0])
    shape = tuple(x.shape)
    return _host(_lu, [x], shape, shape[:-1], kinds=(x.dtype, dtypes.int32))


def _lu(matrices: Any) -> Any:
    """Gaussian elimination with partial pivoting, one matrix after the other."""
    flat = np.array(matrices).reshape(-1, *matrices.shape[-2:])
    pivots = np.zeros(flat.shape[:-1], np.int32)
    for a, exchanged in zip(flat, pivots):
        for k in range(len(a)):
            p = k + int(np.argmax(np.abs(a[k:, k])))
            exchanged[k] = p
            a[[k, p]] = a[[p, k]]
            if a[k, k]:
                a[k + 1 :, k] /= a[k, k]
                a[k + 1 :, k + 1 :] -= np.outer(a[k + 1 :, k], a[k, k + 1 :])
    return flat.reshape(matrices.shape), pivots.reshape(matrices.shape[:-1])
