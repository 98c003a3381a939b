"""`keras.ops.rearrange`: axes by name, turned, split and joined.

Source: Rogozhnikov 2022, Einops: clear and reliable tensor manipulations, ICLR.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

from distflow.base import errors, shapes
from distflow.keras.engine.keras_ops import TABLE, Kind, is_symbolic
from distflow.keras.ops.arrangement import reshape, transpose
from distflow.keras.ops.dtype_rules import tensor as _tensor

__all__ = ["rearrange"]


def rearrange(tensor: Any, pattern: str, **axes_lengths: int) -> Any:
    """Returns a tensor with its axes rearranged, as "b (h s) c -> b h (s c)" says.

    Args:
      pattern: names of the axes before and after; names in brackets are one axis.
      axes_lengths: sizes of axes inside of brackets; one of each bracket may be left out.

    Raises:
      InvalidArgumentError: if names differ on the two sides, or sizes do not fit.
    """
    x = tensor if is_symbolic(tensor) else _tensor(tensor)
    before, after = _sides(pattern)
    names = [name for group in before for name in group]
    others = [name for group in after for name in group]
    if sorted(names) != sorted(others) or len(set(names)) != len(names):
        raise _wrong(pattern, "each name once on each side")
    if len(before) != len(x.shape):
        raise _wrong(pattern, f"{len(x.shape)} axes, for a shape {shapes.text(x.shape)}")
    unused = sorted(set(axes_lengths) - set(names))
    if unused:
        raise _wrong(pattern, f"an axis for each length; {', '.join(unused)} is none")
    sizes = _sizes(pattern, before, tuple(x.shape), axes_lengths)
    return _run(x, pattern, sizes, [names.index(name) for name in others], after)


def _run(x: Any, pattern: str, sizes: dict[str, Any], order: list[int],
         after: list[list[str]]) -> Any:  # fmt: skip
    """Split, turned and joined; at most one size of each shape is unknown."""
    x = reshape(x, _shape(pattern, list(sizes.values())))
    x = transpose(x, order)
    joined = []
    for group in after:
        total: Any = 1
        for name in group:
            size = sizes[name]
            total = None if total is None or size is None else total * size
        joined.append(total)
    return reshape(x, _shape(pattern, joined))


def _shape(pattern: str, sizes: list[Any]) -> list[int]:
    if sizes.count(None) > 1:
        raise _wrong(pattern, "at most one axis of unknown size")
    return [-1 if size is None else size for size in sizes]


def _sides(pattern: str) -> list[list[list[str]]]:
    sides = pattern.split("->")
    if len(sides) != 2:
        raise _wrong(pattern, "one '->'")
    found = []
    for side in sides:
        groups = re.findall(r"\(([^()]*)\)|(\w+)", side)
        if re.sub(r"\([\w\s]*\)|\w+|\s", "", side):
            raise _wrong(pattern, "names, and brackets around names")
        found.append([[name] if name else inner.split() for inner, name in groups])
    return found


def _sizes(pattern: str, groups: list[list[str]], shape: tuple[Any, ...],
           lengths: dict[str, int]) -> dict[str, Any]:  # fmt: skip
    sizes: dict[str, Any] = {}
    for group, size in zip(groups, shape):
        free = [name for name in group if name not in lengths]
        given = 1
        for name in group:
            given *= lengths.get(name, 1)
        if len(free) > 1:
            raise _wrong(pattern, f"a length for all but one of {', '.join(group)}")
        if size is not None and (size % given if free else size != given):
            raise _wrong(pattern, f"sizes of ({' '.join(group)}) that make {size}")
        for name in group:
            rest = None if size is None else size // given
            sizes[name] = lengths[name] if name in lengths else rest
    return sizes


def _wrong(pattern: str, wanted: str) -> Exception:
    return errors.invalid("rearrange", wanted, repr(pattern))


# Here its steps become nodes; files of Keras hold one node of its own.
TABLE["Rearrange"] = Kind("einops", "Rearrange", rearrange, (), inspect.signature(rearrange))
