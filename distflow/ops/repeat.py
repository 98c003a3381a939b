"""Copies and rotations: tile, repeat, roll."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes, errors, shapes
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import Tensor
from distflow.ops import dims
from distflow.ops import math as m
from distflow.ops.prims import host, indexing, movement
from distflow.ops.shaping import identity, sizes
from distflow.ops.slicing import getitem


def tile(input: Any, multiples: Any, name: Any = None) -> Tensor:
    """Returns x repeated as a whole `multiples[i]` times along dimension i."""
    x = convert_to_tensor(input)
    counts = sizes(multiples)
    if len(counts) != x.ndim:
        raise errors.invalid("tile", f"one multiple for each of {x.ndim} dimensions", str(counts))
    # A dimension d becomes [times, d], broadcast, and merged again: its gradient is a plain sum.
    spread: list[Any] = []
    full: list[Any] = []
    merged: list[Any] = []
    for entry, times in zip(dims.of(x), counts):
        repeated = not (isinstance(times, int) and times == 1)
        spread += [1, entry] if repeated else [entry]
        full += [times, entry] if repeated else [entry]
        merged.append(_times(entry, times) if repeated else entry)
    if len(spread) == x.ndim:
        return identity(x)
    return dims.reshape(dims.broadcast(dims.reshape(x, spread), full), merged)


def _times(entry: Any, times: Any) -> Any:
    if isinstance(entry, int) and isinstance(times, int):
        return entry * times
    return m.multiply(dims.scalar(entry), times)


def repeat(input: Any, repeats: Any, axis: Any = None, name: Any = None) -> Tensor:
    """Returns x with each entry along an axis repeated; without an axis, of the flattened x.

    Args:
      repeats: an int, or one int for each entry.
    """
    x = convert_to_tensor(input)
    if axis is None:
        x, axis = movement.reshape(x, shape=(-1,)), 0
    at = shapes.axis("repeat", int(axis), x.ndim)
    times = dims.known(repeats)
    if times is not None and times.size == 1:
        return _repeat_equally(x, int(times.reshape(())), at)
    if times is None and convert_to_tensor(repeats).ndim == 0:
        return _repeat_equally(x, convert_to_tensor(repeats), at)
    counts = convert_to_tensor(repeats)
    shapes.merge("repeat: repeats", (x.shape[at],), counts.shape)
    (rows,) = host.host_call(
        counts,
        fn=lambda n: np.repeat(np.arange(len(n), dtype=np.int32), n),
        dtypes=(dtypes.int32,),
        shapes=((None if times is None else int(times.sum()),),),
    )
    return indexing.gather(x, rows, axis=at)


def _repeat_equally(x: Any, times: Any, at: int) -> Any:
    entries = dims.of(x)
    spread = dims.reshape(x, [*entries[: at + 1], 1, *entries[at + 1 :]])
    full = dims.broadcast(spread, [*entries[: at + 1], times, *entries[at + 1 :]])
    return dims.reshape(full, [*entries[:at], _times(entries[at], times), *entries[at + 1 :]])


def roll(input: Any, shift: Any, axis: Any, name: Any = None) -> Tensor:
    """Returns x rotated by `shift` positions along each axis; what falls out comes in again."""
    x = convert_to_tensor(input)
    shifts, axes = sizes(_as_vector(shift)), sizes(_as_vector(axis))
    if len(shifts) != len(axes):
        raise errors.invalid("roll", "one shift for each axis", f"{len(shifts)} and {len(axes)}")
    for steps, a in zip(shifts, axes):
        at = shapes.axis("roll", a, x.ndim)
        known = x.shape[at]
        if known == 0:
            continue
        cut = m.floormod(-steps, dims.size(x, at)) if known is None or not isinstance(
            steps, int) else -steps % known  # fmt: skip
        lead = (slice(None),) * at
        x = movement.concat(
            getitem(x, (*lead, slice(cut, None))), getitem(x, (*lead, slice(0, cut))), axis=at
        )
    return x


def _as_vector(value: Any) -> Any:
    return [value] if isinstance(value, int) or getattr(value, "ndim", 1) == 0 else value
