"""Arrays that end, or begin, at a page that must not be touched: reading beyond them is a crash."""

import ctypes
import math
import mmap

import numpy as np

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_NONE = 0


def guarded(shape, dtype, strides=None, at_end=True):
    """An array of zeros whose last (or first) byte is beside a page without any access.

    strides: in elements, as those of a layout; default: contiguous.
    """
    dtype = np.dtype(dtype)
    if strides is None:
        strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    extent = 1 + sum((n - 1) * s for n, s in zip(shape, strides)) if math.prod(shape) else 0
    page = mmap.PAGESIZE
    size = extent * dtype.itemsize
    pages = -(-size // page)
    memory = mmap.mmap(-1, (pages + 2) * page)
    raw = np.frombuffer(memory, np.uint8)
    for guard in (0, (pages + 1) * page):
        if _libc.mprotect(raw.ctypes.data + guard, page, _NONE):
            raise OSError(ctypes.get_errno(), "mprotect")
    start = page + (pages * page - size if at_end else 0)
    return np.ndarray(shape, dtype, memory, start, tuple(s * dtype.itemsize for s in strides))
