"""Products of bfloat16 in their defined order (`distflow.compiler.cpu.pairs`), by NumPy.

Each float32 step is done in float64 and rounded: a product of two bfloat16 is exact there, and a
sum that float64 cannot hold is far from the middle between two float32.
"""

import ml_dtypes
import numpy as np

LEAST = 2.0**-126
# What lies below this rounds to less than the least normal number, 24 bits wide.
_FLUSHED = LEAST - 2.0**-151


def product(a, b):
    """a [m, k] times b [k, n], both bfloat16, as bfloat16."""
    return rounded(sums(a, b))


def sums(a, b):
    """The float32 sums of a [m, k] times b [k, n]."""
    with np.errstate(all="ignore"):
        a, b = (_normal(x.astype(np.float64)) for x in (a, b))
    (m, k), n = a.shape, b.shape[1]
    groups = -(-k // 32)
    a = np.pad(a, ((0, 0), (0, 32 * groups - k)))
    b = np.pad(b, ((0, 32 * groups - k), (0, 0)))
    total = np.zeros((m, n), np.float32)
    with np.errstate(all="ignore"):
        for g in range(0, 32 * groups, 32):
            halves = []
            for first in (g, g + 1):
                chain = np.zeros((m, n), np.float32)
                for i in range(first, g + 32, 2):
                    chain = _float32(chain + a[:, i, None] * b[None, i])
                halves.append(chain.astype(np.float64))
            total = _float32(total + _float32(halves[0] + halves[1]).astype(np.float64))
    return total


def rounded(x):
    """float32 as bfloat16, every NaN as the plain one."""
    with np.errstate(all="ignore"):
        result = x.astype(ml_dtypes.bfloat16)
    result[np.isnan(x)] = np.uint16(0x7FC0).view(ml_dtypes.bfloat16)
    return result


def _normal(x):
    """Denormals as zeros of their sign."""
    return np.where(np.abs(x) < LEAST, np.copysign(0, x), x)


def _float32(x):
    return np.where(np.abs(x) < _FLUSHED, np.copysign(0, x), x).astype(np.float32)
