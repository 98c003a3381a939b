"""Finds the variables, layers, metrics and random states that an object holds in attributes.

Attributes are searched when asked, in the order in which they were first set, also within lists,
tuples, dicts and sets: so changing a list later needs no bookkeeping. Nothing below a layer found
is searched here; the layer answers for what it holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from distflow.base import shapes
from distflow.core.variable import Variable

_CONTAINERS = (list, tuple, set, frozenset, Mapping)


def tracked(holder: Any) -> Iterator[Any]:
    """Yields each distinct variable and tracked object in the attributes of `holder`."""
    seen = {id(holder)}
    skipped = type(holder)._untracked_attributes
    for name, value in list(vars(holder).items()):
        if name not in skipped:
            yield from _search(value, seen)


def _search(value: Any, seen: set[int]) -> Iterator[Any]:
    if isinstance(value, Variable) or kind(value):
        if id(value) not in seen:
            seen.add(id(value))
            yield value
    elif isinstance(value, _CONTAINERS) and not isinstance(value, shapes.TensorShape):
        if value and id(value) not in seen:
            seen.add(id(value))
            for child in value.values() if isinstance(value, Mapping) else value:
                yield from _search(child, seen)


def kind(value: Any) -> str:
    """Returns "layer", "metric", "seed_generator", "optimizer", or "" for anything else."""
    return getattr(type(value), "_keras_kind", "") or _KINDS.get(_base_name(type(value)), "")


# Classes of rooms beside this one, which this room does not import.
_KINDS = {"Metric": "metric", "SeedGenerator": "seed_generator", "Optimizer": "optimizer"}
_base_names: dict[type, str] = {}


def _base_name(cls: type) -> str:
    if cls not in _base_names:
        names = (c.__name__ for c in cls.__mro__ if c.__module__.startswith("distflow.keras"))
        _base_names[cls] = next((n for n in names if n in _KINDS), "")
    return _base_names[cls]


def unique(items: Any) -> list[Any]:
    """Returns the items without repetitions (by identity), in order."""
    seen: set[int] = set()
    return [x for x in items if not (id(x) in seen or seen.add(id(x)))]  # type: ignore[func-returns-value]
