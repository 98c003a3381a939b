"""Flatten, pack and map over nested structures: dicts (sorted keys), lists, tuples, namedtuples.

Classes of other rooms (a PerReplica value, say) take part once they are registered.
"""

from __future__ import annotations

import collections.abc
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from distflow.base import errors, shapes

_registered: dict[type, tuple[Callable[[Any], list[Any]], Callable[[Any, list[Any]], Any]]] = {}
# Type -> whether its values are structures: asking an abstract class each time is slow.
_nested: dict[type, bool] = {}


def register(
    cls: type,
    flatten_children: Callable[[Any], list[Any]],
    rebuild: Callable[[Any, list[Any]], Any],
) -> None:
    """Makes a class a structure: how to list its children, and how to rebuild it from new ones."""
    _registered[cls] = (flatten_children, rebuild)
    _nested.clear()


def is_nested(structure: Any) -> bool:
    """Whether a value is a structure rather than a leaf (a TensorShape is a leaf)."""
    cls = type(structure)
    found = _nested.get(cls)
    if found is None:
        found = cls in _registered or (
            issubclass(cls, list | tuple | collections.abc.Mapping)
            and not issubclass(cls, shapes.TensorShape)
        )
        _nested[cls] = found
    return found


def children(structure: Any) -> list[Any]:
    """Returns the direct children of a structure, in canonical order."""
    if type(structure) is list or type(structure) is tuple:
        return list(structure)
    if type(structure) in _registered:
        return _registered[type(structure)][0](structure)
    if isinstance(structure, collections.abc.Mapping):
        return [structure[key] for key in _sorted_keys(structure)]
    return list(structure)


def rebuild(structure: Any, new_children: list[Any]) -> Any:
    """Returns a structure of the same type with other children."""
    if type(structure) is list or type(structure) is tuple:
        return type(structure)(new_children)
    if type(structure) in _registered:
        return _registered[type(structure)][1](structure, new_children)
    if isinstance(structure, collections.abc.Mapping):
        by_key = dict(zip(_sorted_keys(structure), new_children))
        items = [(key, by_key[key]) for key in structure]
        if type(structure) is dict:
            return dict(items)
        if isinstance(structure, collections.defaultdict):
            return type(structure)(structure.default_factory, items)
        return type(structure)(items)  # type: ignore[call-arg]
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*new_children)
    return type(structure)(new_children)


def flatten(structure: Any) -> list[Any]:
    """Returns the leaves in canonical order; a leaf is its own only leaf."""
    if not is_nested(structure):
        return [structure]
    leaves: list[Any] = []
    for child in children(structure):
        if is_nested(child):
            leaves += flatten(child)
        else:
            leaves.append(child)
    return leaves


def flatten_with_paths(
    structure: Any, path: tuple[Any, ...] = ()
) -> list[tuple[tuple[Any, ...], Any]]:
    """Returns (path, leaf) pairs; a path holds the keys and positions that lead to the leaf."""
    if not is_nested(structure):
        return [(path, structure)]
    keys: Iterable[Any] = (
        _sorted_keys(structure)
        if isinstance(structure, collections.abc.Mapping)
        else range(len(children(structure)))
    )
    return [
        pair
        for key, child in zip(keys, children(structure))
        for pair in flatten_with_paths(child, (*path, key))
    ]


def pack_sequence_as(structure: Any, flat: Iterable[Any]) -> Any:
    """Returns leaves `flat` arranged like `structure`.

    Raises:
      InvalidArgumentError: if the number of leaves differs.
    """
    leaves = list(flat)
    iterator = iter(leaves)
    try:
        packed = _pack(structure, iterator)
    except StopIteration:
        packed, complete = None, False
    else:
        complete = next(iterator, _END) is _END
    if not complete:
        raise errors.invalid(
            "nest.pack_sequence_as",
            f"the structure needs {len(flatten(structure))} leaves",
            str(len(leaves)),
        )
    return packed


def map_structure(func: Callable[..., Any], *structures: Any, **kwargs: Any) -> Any:
    """Returns the structure of `func(leaf, ...)` over one or several equal structures."""
    for other in structures[1:]:
        assert_same_structure(structures[0], other, **kwargs)
    columns = [flatten(s) for s in structures]
    return pack_sequence_as(structures[0], [func(*row) for row in zip(*columns)])


def assert_same_structure(a: Any, b: Any, check_types: bool = True, **_: Any) -> None:
    """Raises InvalidArgumentError unless both structures nest in the same way."""
    if is_nested(a) != is_nested(b):
        raise errors.invalid("nest", f"structures must be the same; first {_kind(a)}", _kind(b))
    if not is_nested(a):
        return
    mappings = isinstance(a, collections.abc.Mapping) and isinstance(b, collections.abc.Mapping)
    if check_types and type(a) is not type(b) and not mappings:
        raise errors.invalid("nest", f"structures must be the same; first {_kind(a)}", _kind(b))
    if mappings and set(a) != set(b):
        raise errors.invalid("nest", f"keys must be {sorted(a, key=str)}", str(sorted(b, key=str)))
    if len(children(a)) != len(children(b)):
        raise errors.invalid("nest", f"length must be {len(children(a))}", str(len(children(b))))
    for x, y in zip(children(a), children(b)):
        assert_same_structure(x, y, check_types)


_END = object()


def _pack(structure: Any, leaves: Iterator[Any]) -> Any:
    if not is_nested(structure):
        return next(leaves)
    return rebuild(structure, [_pack(child, leaves) for child in children(structure)])


def _sorted_keys(mapping: Any) -> list[Any]:
    try:
        return sorted(mapping)
    except TypeError as error:
        raise errors.invalid("nest", "dict keys must be sortable", str(list(mapping))) from error


def _kind(value: Any) -> str:
    return f"{type(value).__name__} {value!r:.80}"
