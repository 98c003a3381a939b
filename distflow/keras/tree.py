"""Public names of `keras.tree`: structures of lists, tuples and dicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distflow.base import errors, nest

__all__ = [
    "MAP_TO_NONE", "assert_same_paths", "assert_same_structure", "flatten", "flatten_with_path",
    "is_nested", "lists_to_tuples", "map_shape_structure", "map_structure", "map_structure_up_to",
    "pack_sequence_as", "traverse",
]  # fmt: skip


class MAP_TO_NONE:
    """What a function of `traverse` returns to put None in a part's place."""


is_nested = nest.is_nested
flatten = nest.flatten
pack_sequence_as = nest.pack_sequence_as


def flatten_with_path(structure: Any) -> list[tuple[tuple[Any, ...], Any]]:
    """Returns (path, leaf) pairs; a path is a tuple of keys and indices."""
    return list(nest.flatten_with_paths(structure))


def map_structure(func: Callable[..., Any], *structures: Any, none_is_leaf: bool = True) -> Any:
    """Returns func(leaf, ...) in the structure of the first; all must have it.

    Args:
      none_is_leaf: whether None is handed to func; otherwise it stays None.
    """
    if not callable(func):
        raise TypeError(f"`func` must be callable. Received: func={func}")
    if not structures:
        raise ValueError("Must provide at least one structure")
    for other in structures[1:]:
        assert_same_structure(structures[0], other)
    if none_is_leaf:
        return nest.map_structure(func, *structures)
    return nest.map_structure(lambda *xs: None if xs[0] is None else func(*xs), *structures)


def map_structure_up_to(shallow_structure: Any, func: Callable[..., Any], *structures: Any) -> Any:
    """Returns func(part, ...) for the parts at the places of the shallow structure's leaves."""
    if not structures:
        raise ValueError("Must provide at least one structure")
    return _up_to(shallow_structure, func, structures)


def _up_to(shallow: Any, func: Callable[..., Any], parts: tuple[Any, ...]) -> Any:
    if not nest.is_nested(shallow):
        return func(*parts)
    for part in parts:
        if not nest.is_nested(part) or len(part) != len(shallow):
            raise ValueError(
                f"The structures don't have the same nested structure as {shallow}: {part}"
            )
    if isinstance(shallow, dict):
        return {k: _up_to(v, func, tuple(p[k] for p in parts)) for k, v in shallow.items()}
    rows = zip(*parts)
    return nest.rebuild(shallow, [_up_to(s, func, row) for s, row in zip(shallow, rows)])


def traverse(func: Callable[[Any], Any], structure: Any, top_down: bool = True) -> Any:
    """Returns the structure with parts replaced by what func gives for them, unless that is None.

    Args:
      func: takes each part, the whole first (or last, if not top_down); None keeps it.
    """
    if not callable(func):
        raise TypeError(f"`func` must be callable. Received: func={func}")
    if top_down:
        found = func(structure)
        if found is not None:
            return None if found is MAP_TO_NONE else found
    if nest.is_nested(structure):
        inner = [traverse(func, child, top_down) for child in nest.children(structure)]
        structure = nest.rebuild(structure, inner)
    if top_down:
        return structure
    found = func(structure)
    if found is None:
        return structure
    return None if found is MAP_TO_NONE else found


def assert_same_structure(a: Any, b: Any, check_types: Any = None) -> None:
    """Raises ValueError unless two structures are alike (lists and tuples differ).

    Raises:
      TypeError: where the kinds of containers differ.
    """
    if check_types is not None and not check_types:
        a, b = lists_to_tuples(a), lists_to_tuples(b)
    nest.assert_same_structure(a, b)


def assert_same_paths(a: Any, b: Any) -> None:
    """Raises ValueError unless two structures have the same paths, whatever their containers."""
    first = {path for path, _ in flatten_with_path(a)}
    second = {path for path, _ in flatten_with_path(b)}
    if first != second:
        raise ValueError(
            f"`a` and `b` don't have the same paths. a: {sorted(map(str, first - second))}; "
            f"b: {sorted(map(str, second - first))}"
        )


def lists_to_tuples(structure: Any) -> Any:
    """Returns a structure with tuples in place of lists."""
    if isinstance(structure, list | tuple) and not hasattr(structure, "_fields"):
        return tuple(lists_to_tuples(x) for x in structure)
    if isinstance(structure, dict):
        return {key: lists_to_tuples(value) for key, value in structure.items()}
    return structure


def map_shape_structure(func: Callable[[Any], Any], structure: Any) -> Any:
    """Returns func(shape) for each shape: a tuple or list of ints and None.

    Raises:
      InvalidArgumentError: for something that is neither a shape nor a structure.
    """
    if not callable(func):
        raise TypeError(f"`func` must be callable. Received: func={func}")
    if isinstance(structure, list | tuple) and all(
        d is None or isinstance(d, int) for d in structure
    ):
        return func(tuple(structure))
    if isinstance(structure, list | tuple):
        return type(structure)(map_shape_structure(func, s) for s in structure)
    if isinstance(structure, dict):
        return {key: map_shape_structure(func, s) for key, s in structure.items()}
    raise errors.invalid("map_shape_structure", "shapes, or structures of them", repr(structure))
