"""Distributions as pure functions of a seed: the same seed gives the same numbers anywhere.

A seed is whatever `keys.key_from_seed` takes. The numbers differ from TensorFlow's for the same
seed: only the distributions are the same.
"""

from __future__ import annotations

import math as python_math
from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import Tensor
from distflow.ops import dims
from distflow.ops import math as m
from distflow.ops.prims import elementwise as p
from distflow.ops.prims import indexing
from distflow.ops.reduce import argmax
from distflow.ops.shaping import expand_dims
from distflow.ops.sorting import argsort
from distflow.random import keys

# Bits of a uniform number in [0, 1): as many as the dtype's significand holds.
_SIGNIFICAND = {dtypes.float16: 11, dtypes.bfloat16: 8, dtypes.float32: 24, dtypes.float64: 53}
_PARSED = tuple[tuple[Any, ...], Any]


def unit(key: Any, shape: _PARSED, dtype: dtypes.DType) -> Any:
    """Returns uniform numbers in [0, 1): multiples of 2^-24 (float32) or 2^-53 (float64)."""
    count = _SIGNIFICAND[dtype]
    if count <= 24:
        (word,) = keys.bits(key, shape)
        value = m.cast(p.shr(word, 32 - count), dtypes.float32)
        return m.cast(p.mul(value, 2.0**-count), dtype)
    high, low = keys.bits(key, shape, 2)
    high, low = m.cast(p.shr(high, 5), dtype), m.cast(p.shr(low, 6), dtype)
    return p.mul(p.add(p.mul(high, 2.0**26), low), 2.0**-53)


def _floating(where: str, dtype: Any) -> dtypes.DType:
    wanted = dtypes.as_dtype(dtype)
    if not wanted.is_floating:
        raise errors.DtypeMismatchError(f"{where}: expected a floating dtype; received "
                                        f"{wanted.name}.")  # fmt: skip
    return wanted


def stateless_uniform(
    shape: Any, seed: Any, minval: Any = 0, maxval: Any = None, dtype: Any = dtypes.float32,
    name: Any = None, alg: Any = "auto_select",
) -> Tensor:  # fmt: skip
    """Returns uniform numbers in [minval, maxval).

    Floats: maxval defaults to 1. Integers: maxval is needed, or both None for all values of the
    dtype; 64 random bits are reduced modulo the range, so the bias is below range / 2^64.
    """
    wanted = dtypes.as_dtype(dtype)
    parsed = dims.parse("random.uniform", shape)
    if wanted.is_floating:
        u = unit(seed, parsed, wanted)
        if maxval is None and isinstance(minval, int | float) and minval == 0:
            return u
        low = m.cast(convert_to_tensor(minval, dtype_hint=wanted), wanted)
        high = m.cast(convert_to_tensor(1 if maxval is None else maxval, dtype_hint=wanted), wanted)
        return p.add(p.mul(u, p.sub(high, low)), low)
    if not wanted.is_integer:
        raise errors.DtypeMismatchError(
            f"random.uniform: expected a floating or int dtype; received {wanted.name}."
        )
    if (minval is None) != (maxval is None):
        raise errors.invalid(
            "random.uniform", f"maxval must be given for {wanted.name}", "None",
            "Both None give all values of the dtype.",
        )  # fmt: skip
    high, low = keys.bits(seed, parsed, 2)
    word = p.or_(p.shl(m.cast(high, dtypes.uint64), 32), m.cast(low, dtypes.uint64))
    return m.cast(word, wanted) if minval is None else _within(word, minval, maxval, wanted)


def _within(word: Any, minval: Any, maxval: Any, wanted: dtypes.DType) -> Any:
    low, high = (convert_to_tensor(v, dtype_hint=wanted) for v in (minval, maxval))
    known = dims.known(low), dims.known(high)
    if known[0] is not None and known[1] is not None and np.any(known[0] >= known[1]):
        raise errors.invalid("random.uniform", "minval must be < maxval", f"{minval}, {maxval}")
    low, high = (m.cast(v, wanted) for v in (low, high))
    span = p.sub(m.cast(high, dtypes.uint64), m.cast(low, dtypes.uint64))
    # Differences and sums wrap around modulo 2^64, which is right for signed dtypes as well.
    return m.cast(p.add(p.mod(word, span), m.cast(low, dtypes.uint64)), wanted)


def stateless_normal(
    shape: Any, seed: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = dtypes.float32,
    name: Any = None, alg: Any = "auto_select",
) -> Tensor:  # fmt: skip
    """Returns normal numbers: sqrt(-2 ln u) cos(2 pi v) for uniform u in (0, 1] and v in [0, 1).

    Source: Box & Muller 1958. 16-bit floats are computed in float32. The largest |value| is 6.8
    in float32 and 8.6 in float64.
    """
    wanted = _floating("random.normal", dtype)
    z = m.cast(_normal(seed, dims.parse("random.normal", shape), _wide(wanted)), wanted)
    return _scaled(z, mean, stddev, wanted)


def _wide(dtype: dtypes.DType) -> dtypes.DType:
    return dtypes.float64 if dtype is dtypes.float64 else dtypes.float32


def _normal(key: Any, shape: _PARSED, dtype: dtypes.DType) -> Any:
    if dtype is dtypes.float64:
        first, second = (unit(k, shape, dtype) for k in _two(key))
        u, v = p.add(first, 2.0**-54), second
    else:
        first, second = keys.bits(key, shape, 2)
        u = p.add(p.mul(m.cast(first, dtype), 2.0**-32), 2.0**-33)
        v = p.mul(m.cast(p.shr(second, 8), dtype), 2.0**-24)
    radius = p.sqrt(p.mul(p.log(u), -2.0))
    return p.mul(radius, p.cos(p.mul(v, 2 * python_math.pi)))


def _two(key: Any) -> tuple[Any, Any]:
    return keys.fold_in(key, 1), keys.fold_in(key, 2)


def _scaled(z: Any, mean: Any, stddev: Any, dtype: dtypes.DType) -> Any:
    if not (isinstance(stddev, float) and stddev == 1.0):
        z = p.mul(z, m.cast(convert_to_tensor(stddev, dtype_hint=dtype), dtype))
    if not (isinstance(mean, float) and mean == 0.0):
        z = p.add(z, m.cast(convert_to_tensor(mean, dtype_hint=dtype), dtype))
    return z


def stateless_truncated_normal(
    shape: Any, seed: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = dtypes.float32,
    name: Any = None, alg: Any = "auto_select",
) -> Tensor:  # fmt: skip
    """Returns normal numbers of which those beyond two standard deviations are drawn again.

    By inversion: sqrt(2) erfinv(erf(sqrt(2)) (2 u - 1)).
    """
    wanted = _floating("random.truncated_normal", dtype)
    wide = _wide(wanted)
    u = unit(seed, dims.parse("random.truncated_normal", shape), wide)
    edge = python_math.erf(python_math.sqrt(2.0))
    y = p.mul(p.sub(p.mul(u, 2.0), 1.0), edge)
    root = p.erfinv(y) if wide is dtypes.float64 else _erfinv_centre(y)
    z = m.clip_by_value(p.mul(root, python_math.sqrt(2.0)), -2.0, 2.0)
    return _scaled(m.cast(z, wanted), mean, stddev, wanted)


# Giles 2012, "Approximating the erfinv function": single precision, for |y| < 0.9966.
_CENTRE = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
    -0.00125372503, -0.00417768164, 0.246640727, 1.50140941,
)  # fmt: skip


def _erfinv_centre(y: Any) -> Any:
    w = p.sub(p.neg(p.log(p.mul(p.sub(1.0, y), p.add(y, 1.0)))), 2.5)
    total = p.add(p.mul(w, _CENTRE[0]), _CENTRE[1])
    for coefficient in _CENTRE[2:]:
        total = p.add(p.mul(total, w), coefficient)
    return p.mul(total, y)


def stateless_categorical(
    logits: Any, num_samples: Any, seed: Any, dtype: Any = dtypes.int64, name: Any = None
) -> Tensor:
    """Returns class ids [batch, num_samples] drawn with probabilities softmax(logits).

    Args:
      logits: [batch, classes], unnormalised log probabilities.

    By the Gumbel trick: argmax(logits - log(-log(u))); it takes batch * samples * classes memory.
    """
    x = convert_to_tensor(logits)
    if x.ndim != 2:
        raise errors.invalid("random.categorical", "logits must have rank 2", f"rank {x.ndim}")
    x = m.cast(x, _wide(x.dtype))
    samples = num_samples if isinstance(num_samples, int) else convert_to_tensor(num_samples)
    batch, classes = dims.of(x)
    u = unit(seed, dims.join([batch, samples, classes]), x.dtype)
    gumbel = p.neg(p.log(p.neg(p.log(p.add(u, 2.0**-25 if x.dtype.size == 4 else 2.0**-54)))))
    return argmax(p.add(expand_dims(x, 1), gumbel), axis=2, output_type=dtype)


def stateless_shuffle(value: Any, seed: Any, alg: Any = "auto_select", name: Any = None) -> Tensor:
    """Returns the rows of `value` in random order."""
    x = convert_to_tensor(value)
    if not x.ndim:
        raise errors.invalid("random.shuffle", "the value must have at least one dimension",
                             "a scalar")  # fmt: skip
    (word,) = keys.bits(seed, dims.join([dims.of(x)[0]]))
    return indexing.gather(x, argsort(word), axis=0)


def split(seed: Any, num: int = 2, alg: Any = "auto_select") -> Tensor:
    """Returns `num` independent seeds, shape [num, 2], of the dtype of `seed` (default int32)."""
    return _seed_like(keys.split_key(seed, num), seed)


def fold_in(seed: Any, data: Any, alg: Any = "auto_select") -> Tensor:
    """Returns a seed made of a seed and a number, such as a step or replica."""
    return _seed_like(keys.fold_in(seed, data), seed)


def _seed_like(words: Any, seed: Any) -> Any:
    dtype = dtypes.as_dtype(seed.dtype) if hasattr(seed, "dtype") else dtypes.int32
    return words if dtype is dtypes.uint32 else m.cast(words, dtype)
