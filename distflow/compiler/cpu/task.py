"""What native work is made of: layouts of arrays, calls of ranged functions, kernels of calls.

A kernel is made once for concrete layouts. It says which ranged functions run in which order on
which buffers; it allocates nothing and knows no threads. A compiled step joins the calls of all
its kernels and loops into one program; a `Runner` does those of one kernel, for eager operations.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from distflow.compiler.cpu import threads

# Where scratch and the data behind it begin: a cache line, and a whole vector of any CPU.
ALIGNMENT = 64


@dataclass(frozen=True)
class Layout:
    """How an array lies in memory.

    Attributes:
      dtype: its name ("float32").
      shape: of the array.
      strides: distances of neighbours along each axis, in elements; 0 where an axis is repeated.
    """

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Call:
    """One ranged function over all its units: `function(pointers, begin, end)`.

    Attributes:
      function: from `jit.Module.function`: native, cannot fail, writes nothing outside of its
        units' part of what it writes. Units may run in any order and at once.
      arguments: (operand, offset in bytes) for each pointer that the function takes. Operands are
        numbered: inputs of the kernel, then its result, then its scratch buffers.
      writes: operands that it writes (result and scratch only).
      units: number of units of work.
      work: rough cost in nanoseconds of all units on one core.
    """

    function: Any
    arguments: tuple[tuple[int, int], ...]
    writes: tuple[int, ...]
    units: int
    work: int


@dataclass(frozen=True)
class Scratch:
    """A buffer that a kernel needs besides its operands.

    Attributes:
      num_bytes: its size.
      zeroed: whether it must hold zeros before the first call ever. The kernel then never writes
        what has to stay zero, and keeps the buffer to itself from call to call.
    """

    num_bytes: int
    zeroed: bool = False


@dataclass(frozen=True)
class Kernel:
    """A primitive made ready: its calls, in an order in which each sees what those before wrote.

    Attributes:
      calls, scratch: what runs, and the buffers that it needs besides its operands.
      note: how it computes, where that is not plain from the dtype; `explain` shows it.
    """

    calls: tuple[Call, ...]
    scratch: tuple[Scratch, ...] = ()
    note: str = field(default="", kw_only=True)


def contiguous(dtype: str, shape: Sequence[int]) -> Layout:
    """Returns the layout of a C-contiguous array."""
    strides, step = [0] * len(shape), 1
    for i in reversed(range(len(shape))):
        strides[i] = step
        step *= shape[i]
    return Layout(dtype, tuple(shape), tuple(strides))


def layout_of(array: np.ndarray) -> Layout | None:
    """Returns the layout of an array; None if it is unaligned or its strides are no whole items."""
    size = array.itemsize
    if not array.flags.aligned or any(s % size for s in array.strides):
        return None
    return Layout(array.dtype.name, array.shape, tuple(s // size for s in array.strides))


class Runner:
    """A kernel by itself, with scratch kept from call to call; calls may overlap in time."""

    def __init__(self, kernel: Kernel):
        self._scratch = kernel.scratch
        self._calls = [
            (call.function, call.arguments, ctypes.c_void_p * len(call.arguments), call.units,
             call.work)
            for call in kernel.calls
        ]  # fmt: skip
        # Calls at the same time use different scratch; taking from a list is atomic.
        self._free: list[list[np.ndarray]] = []

    def __call__(self, arrays: Sequence[np.ndarray]) -> None:
        """Runs it on arrays of the layouts that it was made for: inputs, then the result."""
        scratch = (
            self._free.pop()
            if self._free
            else [aligned_bytes(s.num_bytes, s.zeroed) for s in self._scratch]
        )
        addresses = [a.__array_interface__["data"][0] for a in (*arrays, *scratch)]
        for function, arguments, pointers, units, work in self._calls:
            given = pointers(*[addresses[i] + offset for i, offset in arguments])
            threads.parallel_for(function, ctypes.addressof(given), units, work)
        self._free.append(scratch)


def run(kernel: Kernel, arrays: Sequence[np.ndarray]) -> None:
    """Runs a kernel once, on inputs and the result."""
    Runner(kernel)(arrays)


def aligned_bytes(num_bytes: int, zeroed: bool = False) -> np.ndarray:
    """Returns bytes that begin at a cache line."""
    raw = (np.zeros if zeroed else np.empty)(num_bytes + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + num_bytes]
