"""Packs many arrays into one flat buffer per dtype, and describes them to other workers (pure).

Buffers are cut by elements wherever it suits: operations are element-wise, so cuts cannot change
bits. Flats are ordered by falling item size, so that parts laid end to end stay aligned.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from distflow.base import errors
from distflow.comm import reduction

_ALIGNMENT = 16
MAX_ARRAYS = 1 << 20  # of one collective, as announced by a peer


class Spec(NamedTuple):
    """Shape and dtype of an array."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def num_elements(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def num_bytes(self) -> int:
        """The number of bytes when contiguous."""
        return self.num_elements * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype.name}[{', '.join(map(str, self.shape))}]"


def as_arrays(where: str, values: Iterable[Any]) -> list[np.ndarray]:
    """Returns the values as arrays of a dtype that may travel, in native byte order.

    Raises:
      InvalidArgumentError: for a dtype that is not in `reduction.DTYPES` (objects, text, ...).
    """
    arrays = [np.asarray(value) for value in values]
    for i, array in enumerate(arrays):
        dtype = reduction.DTYPES.get(array.dtype.name)
        if dtype is None:
            known = ", ".join(sorted(reduction.DTYPES))
            raise errors.invalid(
                where, f"array {i} must have a dtype of: {known}", str(array.dtype)
            )
        if not array.dtype.isnative:
            arrays[i] = array.astype(dtype)
    return arrays


def specs_of(arrays: Iterable[np.ndarray]) -> tuple[Spec, ...]:
    """Returns the specs of arrays that `as_arrays` has passed."""
    return tuple(Spec(array.shape, reduction.DTYPES[array.dtype.name]) for array in arrays)


def forms_of(arrays: Sequence[Any] | None) -> tuple[Any, ...] | None:
    """Returns the shapes and dtypes of arrays; None for other things, which must become arrays."""
    if arrays is None:
        return None
    forms: list[Any] = []
    for array in arrays:
        if type(array) is not np.ndarray:
            return None
        forms += (array.shape, array.dtype)
    return tuple(forms)


def check_out(where: str, out: Sequence[np.ndarray], specs: Sequence[Spec] | None) -> None:
    """Raises InvalidArgumentError unless `out` can take results of these specs (if known)."""
    if specs is not None and forms_of(out) != tuple(x for spec in specs for x in spec):
        expected = f"out must have {describe(specs)}"
        received = describe(specs_of(as_arrays(where, out)))
        raise errors.invalid(where, expected, received)
    for i, array in enumerate(out):
        if not (array.flags.c_contiguous and array.flags.writeable and array.dtype.isnative):
            expected = f"array {i} of out must be contiguous, writable and in native byte order"
            raise errors.invalid(where, expected)


def identities(specs: Sequence[Spec] | None, op: str) -> list[np.ndarray]:
    """Returns arrays that an operation changes nothing with: 0, 1, or the dtype's extreme."""
    identity = reduction.REDUCTIONS[op].identity
    return [np.full(spec.shape, identity(spec.dtype), spec.dtype) for spec in specs or ()]


def copied(arrays: Sequence[np.ndarray], out: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns `out`, filled with the arrays that do not lie there already."""
    for array, target in zip(arrays, out, strict=True):
        if array is not target:
            np.copyto(target, array)
    return list(out)


def encode(specs: Sequence[Spec]) -> list[list[Any]]:
    """Returns the specs as JSON values: [[dtype name, [dim, ...]], ...]."""
    return [[spec.dtype.name, list(spec.shape)] for spec in specs]


def decode(value: Any) -> tuple[Spec, ...]:
    """Returns the specs that a peer sent.

    Raises:
      ValueError: if the value has not the form that `encode` gives.
    """
    if not isinstance(value, list) or len(value) > MAX_ARRAYS:
        raise ValueError("specs must be a list")
    specs = []
    for item in value:
        if not (isinstance(item, list) and len(item) == 2 and isinstance(item[1], list)):
            raise ValueError("a spec must be [dtype, shape]")
        name, shape = item
        if not isinstance(name, str) or name not in reduction.DTYPES:
            raise ValueError(f"unknown dtype {name!r}")
        if len(shape) > 64 or not all(type(n) is int and 0 <= n < 1 << 48 for n in shape):
            raise ValueError("a shape must be a list of sizes")
        specs.append(Spec(tuple(shape), reduction.DTYPES[name]))
    return tuple(specs)


@functools.lru_cache(maxsize=256)
def digest(specs: tuple[Spec, ...]) -> str:
    """Returns a short text that stands for the specs."""
    text = json.dumps(encode(specs), separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def describe(specs: Sequence[Spec], limit: int = 8) -> str:
    """Returns the specs for an error message, cut after `limit` arrays."""
    shown = ", ".join(str(spec) for spec in specs[:limit])
    more = f", and {len(specs) - limit} more" if len(specs) > limit else ""
    return f"{len(specs)} array{'s' * (len(specs) != 1)}: {shown}{more}" if specs else "no arrays"


class Layout:
    """Where each array lies in the flat buffers, one buffer per dtype."""

    def __init__(self, specs: Sequence[Spec]):
        self.specs = tuple(specs)
        dtypes = {spec.dtype: None for spec in self.specs}  # a set that keeps first-seen order
        self.dtypes = sorted(dtypes, key=lambda dtype: -dtype.itemsize)
        self._members = [
            [i for i, spec in enumerate(self.specs) if spec.dtype == dtype] for dtype in self.dtypes
        ]
        self.sizes = [sum(self.specs[i].num_elements for i in group) for group in self._members]

    def pack(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Returns the flat buffers; a lone contiguous array is lent, not copied."""
        flats = []
        for dtype, size, members in zip(self.dtypes, self.sizes, self._members, strict=True):
            if len(members) == 1 and arrays[members[0]].flags.c_contiguous:
                flats.append(arrays[members[0]].reshape(-1))
                continue
            flat = np.empty(size, dtype)
            start = 0
            for i in members:
                stop = start + arrays[i].size
                flat[start:stop].reshape(arrays[i].shape)[...] = arrays[i]
                start = stop
            flats.append(flat)
        return flats

    def unpack(self, flats: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Returns the arrays as contiguous views of the flat buffers."""
        arrays: list[Any] = [None] * len(self.specs)
        for flat, members in zip(flats, self._members, strict=True):
            start = 0
            for i in members:
                stop = start + self.specs[i].num_elements
                arrays[i] = flat[start:stop].reshape(self.specs[i].shape)
                start = stop
        return arrays

    def even_cuts(self, num_chunks: int) -> list[list[int]]:
        """Returns, per flat buffer, the num_chunks + 1 boundaries of nearly equal chunks."""
        return [[size * c // num_chunks for c in range(num_chunks + 1)] for size in self.sizes]

    def group_cuts(self, group_sizes: Sequence[int]) -> list[list[int]]:
        """Returns, per flat buffer, boundaries after each run of that many consecutive arrays."""
        ends = list(itertools.accumulate(group_sizes, initial=0))
        assert ends[-1] == len(self.specs), "groups must cover all arrays"
        return [
            [sum(self.specs[i].num_elements for i in members if i < end) for end in ends]
            for members in self._members
        ]


@functools.lru_cache(maxsize=64)
def layout_of(specs: tuple[Spec, ...]) -> Layout:
    """Returns the layout of these specs, remembered: steps repeat them."""
    return Layout(specs)


def split_body(
    body: np.ndarray, wanted: Sequence[tuple[np.dtype, int]], damaged: Callable[[str], Exception]
) -> list[np.ndarray]:
    """Returns views of a received body: (dtype, number of elements) laid end to end.

    Raises:
      the error that `damaged(detail)` makes, if the body has another length.
    """
    total = sum(dtype.itemsize * size for dtype, size in wanted)
    if total != body.size:
        raise damaged(f"{total} bytes expected, {body.size} received")
    views, start = [], 0
    for dtype, size in wanted:
        stop = start + dtype.itemsize * size
        views.append(body[start:stop].view(dtype))
        start = stop
    return views


def padded_parts(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns the arrays' bytes with padding, so that each begins aligned in the received body."""
    parts: list[np.ndarray] = []
    for array in arrays:
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        parts.append(flat)
        if flat.size % _ALIGNMENT:
            parts.append(np.zeros(-flat.size % _ALIGNMENT, np.uint8))
    return parts


def padded_size(specs: Sequence[Spec]) -> int:
    """Returns the number of bytes of `padded_parts` for arrays of these specs."""
    return sum(-(-spec.num_bytes // _ALIGNMENT) * _ALIGNMENT for spec in specs)


def unpad(
    body: np.ndarray, specs: Sequence[Spec], damaged: Callable[[str], Exception]
) -> list[np.ndarray]:
    """Returns the arrays that `padded_parts` laid into a body, as views of it."""
    if padded_size(specs) != body.size:
        raise damaged(f"{padded_size(specs)} bytes expected, {body.size} received")
    arrays, start = [], 0
    for spec in specs:
        flat = body[start : start + spec.num_bytes].view(spec.dtype)
        arrays.append(flat.reshape(spec.shape))
        start += padded_size([spec])
    return arrays
