"""tf.nest: nested structures of dicts, lists and tuples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distflow.base import nest as _nest

__all__ = ["assert_same_structure", "flatten", "is_nested", "map_structure", "pack_sequence_as"]


def is_nested(seq: Any) -> bool:
    """Whether a value is a structure rather than a leaf."""
    return _nest.is_nested(seq)


def flatten(structure: Any, expand_composites: bool = False) -> list[Any]:
    """Returns the leaves in order (dicts by sorted key); a leaf is its own only leaf."""
    return _nest.flatten(structure)


def pack_sequence_as(structure: Any, flat_sequence: Any, expand_composites: bool = False) -> Any:
    """Returns the leaves of `flat_sequence` arranged like `structure`."""
    return _nest.pack_sequence_as(structure, flat_sequence)


def map_structure(func: Callable[..., Any], *structure: Any, **kwargs: Any) -> Any:
    """Returns the structure of func(leaf, ...) over one or several equal structures."""
    kwargs.pop("expand_composites", None)
    return _nest.map_structure(func, *structure, **kwargs)


def assert_same_structure(
    nest1: Any, nest2: Any, check_types: bool = True, expand_composites: bool = False
) -> None:
    """Raises InvalidArgumentError unless both structures nest in the same way."""
    _nest.assert_same_structure(nest1, nest2, check_types)
