"""Fourier transforms of `keras.ops`, on pairs (real, imaginary).

They are products with small matrices of roots of one, so they run natively and have gradients. A
size n = a b is cut into transforms of size a and of size b; a size with a large prime factor
becomes a convolution, whose size is a power of two.

Source: Cooley & Tukey 1965, An algorithm for the machine calculation of complex Fourier series;
Bluestein 1970, A linear filtering approach to the computation of discrete Fourier transform.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from distflow.base import errors, shapes
from distflow.keras import windows
from distflow.keras.engine.keras_ops import operation
from distflow.keras.ops.dtype_rules import as_float, floats, tensor
from distflow.ops import dims, indexing, shaping
from distflow.ops import matmul as products

__all__ = ["fft", "fft2", "ifft2", "irfft", "istft", "rfft", "stft"]

# Transforms up to this size are one product with a matrix.
_DIRECT = 64


@operation("math.FFT")
def fft(x: Any) -> Any:
    """Returns the transform of pairs [..., n] along the last axis, a pair of the same shape."""
    real, imaginary = _pair("fft", x, 1)
    return _along_last(real, imaginary, -1)


@operation("math.FFT2")
def fft2(x: Any) -> Any:
    """Returns the transform of pairs [..., n, m] along the last two axes."""
    real, imaginary = _pair("fft2", x, 2)
    return _two_axes(real, imaginary, -1)


@operation("math.IFFT2")
def ifft2(x: Any) -> Any:
    """Returns the pair whose `fft2` is given."""
    real, imaginary = _pair("ifft2", x, 2)
    count = int(real.shape[-1]) * int(real.shape[-2])
    real, imaginary = _two_axes(real, imaginary, 1)
    return real / count, imaginary / count


@operation("math.RFFT", "fft_length")
def rfft(x: Any, fft_length: Any = None) -> Any:
    """Returns the first half (with the middle) of the transform of real numbers [..., n].

    Args:
      fft_length: the numbers are cut, or filled up with zeros, to this many.
    """
    return _half(as_float(x), fft_length)


@operation("math.IRFFT", "fft_length")
def irfft(x: Any, fft_length: Any = None) -> Any:
    """Returns the real numbers [..., n] whose transform has the given first half.

    Args:
      x: a pair [..., n // 2 + 1].
      fft_length: n; 2 (size - 1) by default.
    """
    real, imaginary = _pair("irfft", x, 1)
    return _whole(real, imaginary, fft_length)


@operation("math.STFT", "sequence_length", "sequence_stride", "fft_length", "window", "center")
def stft(x: Any, sequence_length: int, sequence_stride: int, fft_length: int,
         window: Any = "hann", center: bool = True) -> Any:  # fmt: skip
    """Returns the transforms [..., frames, fft_length // 2 + 1] of overlapping parts, as a pair.

    Args:
      x: float32 or float64 [..., time].
      window: "hann", "hamming", `sequence_length` numbers, or None for ones [fft_length].
      center: whether frame t has its middle at t * sequence_stride; the ends are mirrored then.

    Raises:
      ValueError: unless 1 <= sequence_stride and sequence_length <= fft_length.
    """
    x = tensor(x)
    if x.dtype.name not in ("float32", "float64"):
        raise TypeError(
            "Invalid input type. Expected `float32` or `float64`. "
            f"Received: input type={x.dtype.name}"
        )
    weights = _frame("stft", window, sequence_length, sequence_stride, fft_length)
    if center:
        x = shaping.pad(x, [[0, 0]] * (x.ndim - 1) + [[fft_length // 2] * 2], mode="REFLECT")
    size = _size("stft", x)
    starts = np.arange(0, size - fft_length + 1, sequence_stride, dtype=np.int32)
    frames = indexing.gather(x, starts[:, None] + np.arange(fft_length, dtype=np.int32), axis=-1)
    return _half(frames * weights.astype(x.dtype.numpy), fft_length)


@operation("math.ISTFT", "sequence_length", "sequence_stride", "fft_length", "length", "window",
           "center")  # fmt: skip
def istft(x: Any, sequence_length: int, sequence_stride: int, fft_length: int, length: Any = None,
          window: Any = "hann", center: bool = True) -> Any:  # fmt: skip
    """Returns the numbers [..., time] whose `stft` with the same settings is given.

    Args:
      x: a pair [..., frames, fft_length // 2 + 1].
      length: how many numbers; by default all that the frames cover.
    """
    real, imaginary = _pair("istft", x, 2)
    weights = _frame("istft", window, sequence_length, sequence_stride, fft_length)
    if window is not None:
        # Each number is a sum over the frames that cover it: divided by their squared weights.
        count = -(-fft_length // sequence_stride)
        squares = np.zeros(count * sequence_stride)
        squares[:fft_length] = weights**2
        total = np.tile(squares.reshape(count, sequence_stride).sum(0), count)[:fft_length]
        weights = weights / total
    frames = _whole(real, imaginary, fft_length) * weights.astype(real.dtype.numpy)
    found = _overlapped(frames, sequence_stride)
    covered = fft_length + sequence_stride * (dims.size(frames, frames.ndim - 2) - 1)
    start = fft_length // 2 if center else 0
    if length is not None:
        end = start + length
    else:
        end = covered - start
    return found[..., start:end]


def _overlapped(frames: Any, stride: int) -> Any:
    """Adds frames [..., frames, size] that start `stride` apart: [..., blocks * stride]."""
    size = int(frames.shape[-1])
    blocks = -(-size // stride)
    lead = [[0, 0]] * (frames.ndim - 2)
    frames = shaping.pad(frames, [*lead, [0, 0], [0, blocks * stride - size]])
    total: Any = None
    for i in range(blocks):
        part = frames[..., i * stride : (i + 1) * stride]
        part = shaping.pad(part, [*lead, [i, blocks - 1 - i], [0, 0]])
        total = part if total is None else total + part
    rank = total.ndim
    return dims.reshape(total, [*dims.of(total)[: rank - 2], dims.size(total, rank - 2) * stride])


def _frame(where: str, window: Any, length: int, stride: Any, fft_length: int) -> Any:
    """Returns the weights of a frame [fft_length]: those of a window stand amid zeros."""
    if not isinstance(stride, int) or stride <= 0:
        raise ValueError(
            f"`sequence_stride` must be a positive integer. Received: sequence_stride={stride}"
        )
    if fft_length < length:
        raise ValueError(
            "`fft_length` must equal or larger than `sequence_length`. Received: "
            f"sequence_length={length}, fft_length={fft_length}"
        )
    if isinstance(window, str) and window not in ("hann", "hamming"):
        raise ValueError(
            'If a string is passed to `window`, it must be one of `"hann"`, `"hamming"`. '
            f"Received: window={window}"
        )
    return windows.weights_of_frame(where, window, length, fft_length)


# -- transforms ------------------------------------------------------------------------------------


def _pair(where: str, x: Any, rank: int) -> list[Any]:
    if not isinstance(x, list | tuple) or len(x) != 2:
        raise ValueError(
            f"Input `x` should be a tuple of two tensors - real and imaginary. Received: x={x}"
        )
    real, imaginary = floats(*x)
    if tuple(real.shape) != tuple(imaginary.shape):
        raise errors.invalid(
            where, "real and imaginary parts of the same shape",
            f"{shapes.text(real.shape)} and {shapes.text(imaginary.shape)}",
        )  # fmt: skip
    if real.ndim < rank:
        raise errors.invalid(where, f"at least {rank} axes", shapes.text(real.shape))
    return [real, imaginary]


def _size(where: str, x: Any) -> int:
    if not x.ndim or x.shape[-1] is None:
        raise errors.invalid(where, "a last axis of known size", shapes.text(x.shape))
    return int(x.shape[-1])


def _two_axes(real: Any, imaginary: Any, sign: int) -> Any:
    swap = [*range(real.ndim - 2), real.ndim - 1, real.ndim - 2]
    for _ in range(2):
        real, imaginary = _along_last(real, imaginary, sign)
        real, imaginary = shaping.transpose(real, swap), shaping.transpose(imaginary, swap)
    return real, imaginary


def _resized(x: Any, size: int) -> Any:
    now = int(x.shape[-1])
    if now > size:
        return x[..., :size]
    return shaping.pad(x, [[0, 0]] * (x.ndim - 1) + [[0, size - now]]) if now < size else x


def _half(x: Any, fft_length: Any) -> Any:
    size = _size("rfft", x) if fft_length is None else int(fft_length)
    real, imaginary = _along_last(_resized(x, size), None, -1)
    return real[..., : size // 2 + 1], imaginary[..., : size // 2 + 1]


def _whole(real: Any, imaginary: Any, fft_length: Any) -> Any:
    size = 2 * (_size("irfft", real) - 1) if fft_length is None else int(fft_length)
    bins = size // 2 + 1
    # The other half are the conjugates: each bin counts twice, but for the mean and the middle.
    weights = np.full(bins, 2.0 / size)
    weights[0] = 1.0 / size
    if size % 2 == 0:
        weights[-1] = 1.0 / size
    weights = weights.astype(real.dtype.numpy)
    real, imaginary = (_resized(_resized(p, bins) * weights, size) for p in (real, imaginary))
    return _along_last(real, imaginary, 1)[0]


def _along_last(real: Any, imaginary: Any, sign: int) -> Any:
    """Returns sum_j x_j exp(sign 2 pi i j k / n) along the last axis; no imaginary part: None."""
    size = _size("fft", real)
    lead = dims.of(real)[:-1]
    flat = [None if p is None else dims.reshape(p, [-1, size]) for p in (real, imaginary)]
    found = _transform(flat[0], flat[1], size, sign)
    return tuple(dims.reshape(p, [*lead, size]) for p in found)


def _transform(real: Any, imaginary: Any, size: int, sign: int) -> Any:
    """The transform of rows [rows, size]."""
    if size <= _DIRECT:
        return _product(real, imaginary, *_roots(size, sign))
    outer = max(d for d in range(1, _DIRECT + 1) if size % d == 0)
    if outer == 1:
        return _by_convolution(real, imaginary, size, sign)
    inner = size // outer
    # Element j1 * inner + j2 gives k1 + outer * k2: over j1, turned, and then over j2.
    columns = [None if p is None else _turned(p, outer, inner) for p in (real, imaginary)]
    found = _product(columns[0], columns[1], *_roots(outer, sign))
    angle = sign * 2 * np.pi / size * np.outer(np.arange(inner), np.arange(outer))
    turned = _times(found[0], found[1], np.cos(angle), np.sin(angle))
    rows = [dims.reshape(shaping.transpose(p, [0, 2, 1]), [-1, inner]) for p in turned]
    found = _transform(rows[0], rows[1], inner, sign)
    return tuple(dims.reshape(_turned(p, outer, inner), [-1, size]) for p in found)


def _turned(x: Any, rows: int, columns: int) -> Any:
    """Returns blocks [rows, columns] as [..., columns, rows]."""
    return shaping.transpose(dims.reshape(x, [-1, rows, columns]), [0, 2, 1])


@functools.lru_cache(maxsize=256)
def _roots(size: int, sign: int) -> tuple[Any, Any]:
    """Cosines and sines [j, k] of sign 2 pi j k / size; j k is taken modulo size first."""
    at = np.arange(size)
    angle = sign * 2 * np.pi / size * (np.outer(at, at) % size)
    return np.cos(angle), np.sin(angle)


def _product(real: Any, imaginary: Any, cosines: Any, sines: Any) -> Any:
    cosines, sines = (tensor(m.astype(real.dtype.numpy)) for m in (cosines, sines))
    if imaginary is None:
        return products.tensordot(real, cosines, 1), products.tensordot(real, sines, 1)
    return (
        products.tensordot(real, cosines, 1) - products.tensordot(imaginary, sines, 1),
        products.tensordot(real, sines, 1) + products.tensordot(imaginary, cosines, 1),
    )


def _times(real: Any, imaginary: Any, c: Any, s: Any) -> Any:
    """(real + i imaginary) (c + i s) for constants c and s."""
    c, s = (m.astype(real.dtype.numpy) for m in (c, s))
    if imaginary is None:
        return real * c, real * s
    return real * c - imaginary * s, real * s + imaginary * c


def _by_convolution(real: Any, imaginary: Any, size: int, sign: int) -> Any:
    """2 j k = j^2 + k^2 - (k - j)^2: turned by j^2, convolved, and turned by k^2."""
    at = np.arange(size, dtype=np.int64)
    chirp = np.exp(sign * 1j * np.pi / size * (at * at % (2 * size)))
    length = 1 << (2 * size - 2).bit_length()
    kernel = np.zeros(length, complex)
    kernel[:size] = chirp.conj()
    kernel[length - size + 1 :] = chirp[:0:-1].conj()
    kernel = np.fft.fft(kernel) / length
    x = _times(real, imaginary, chirp.real, chirp.imag)
    x = _transform(_resized(x[0], length), _resized(x[1], length), length, -1)
    x = _times(x[0], x[1], kernel.real, kernel.imag)
    x = _transform(x[0], x[1], length, 1)
    return _times(_resized(x[0], size), _resized(x[1], size), chirp.real, chirp.imag)
