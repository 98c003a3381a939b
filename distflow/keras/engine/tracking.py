"""Finds the variables, layers, metrics and random states that an object holds in attributes.

Attributes are searched when asked, in the order in which they were first set, also within lists,
tuples, dicts and sets: so changing a list later needs no bookkeeping. Nothing below a layer found
is searched here; the layer answers for what it holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distflow.base import shapes
from distflow.core.late import RestoredWhenBuilt
from distflow.core.variable import Variable

_CONTAINERS = (list, tuple, set, frozenset, Mapping)


def tracked(holder: Any) -> list[Any]:
    """Returns each distinct variable and tracked object in the attributes of `holder`."""
    found: list[Any] = []
    seen = {id(holder)}
    attributes = vars(holder)
    for name in _names(holder, attributes):
        if name in attributes:
            _search(attributes[name], seen, found)
    return found


def _names(holder: Any, attributes: dict[str, Any]) -> list[str]:
    """Returns the attributes worth a search; most are plain values, known by their type.

    Each training step asks: what forgets the names when an attribute is set (`Forgetting`) keeps
    them.
    """
    names = attributes.get("_names_to_search")
    if names is None:
        skipped = type(holder)._untracked_attributes
        names = [n for n, v in list(attributes.items()) if kind(v) and n not in skipped]
        if isinstance(holder, Forgetting):
            attributes["_names_to_search"] = names
    return names


class Forgetting(RestoredWhenBuilt):
    """Mixin of holders: setting or deleting an attribute forgets which ones to search."""

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__.pop("_names_to_search", None)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        self.__dict__.pop("_names_to_search", None)
        super().__delattr__(name)


def _search(value: Any, seen: set[int], found: list[Any]) -> None:
    what = kind(value)
    if not what or id(value) in seen:
        return
    seen.add(id(value))
    if what != "container":
        found.append(value)
        return
    for child in value.values() if isinstance(value, Mapping) else value:
        if _kinds.get(type(child)) != "":
            _search(child, seen, found)


def kind(value: Any) -> str:
    """Returns "variable", "layer", "metric", "seed_generator", "optimizer", "container" or ""."""
    cls = type(value)
    found = _kinds.get(cls)
    if found is None:
        found = _kinds[cls] = _kind_of(cls)
    return found


_kinds: dict[type, str] = {}


def _kind_of(cls: type) -> str:
    if issubclass(cls, Variable):
        return "variable"
    declared = getattr(cls, "_keras_kind", "")
    if not declared and issubclass(cls, _CONTAINERS) and not issubclass(cls, shapes.TensorShape):
        return "container"
    return declared


def unique(items: Any) -> list[Any]:
    """Returns the items without repetitions (by identity), in order."""
    seen: set[int] = set()
    return [x for x in items if not (id(x) in seen or seen.add(id(x)))]  # type: ignore[func-returns-value]
