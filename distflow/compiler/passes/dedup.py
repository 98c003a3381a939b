"""One computation instead of several equal ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes
from distflow.compiler.passes.rebuild import Rebuild
from distflow.graph.ir import Graph, Node, leaves_variables

_COMPARED_BYTES = 4096  # larger constants are equal only if they are the same object


def share_equal(graph: Graph) -> Graph:
    """Computes pure nodes with equal operands and attributes once.

    Reads of a Variable are equal as long as nothing is written in between.
    """
    new = Rebuild(graph)
    seen: dict[Any, Node] = {}
    epoch = 0
    for node in graph.nodes:
        node = new.adopt(node)
        if node.effect in ("write", "order"):
            epoch += not leaves_variables(node)
            new.keep(node)
            continue
        key = (
            node.primitive, node.inputs, _key(node.attributes) if node.attributes else None,
            epoch if node.effect else 0, tuple([v.shape for v in node.outputs]),
        )  # fmt: skip
        twin = seen.setdefault(key, node)
        if twin is node:
            new.keep(node)
            continue
        for own, other in zip(node.outputs, twin.outputs):
            new.replace(own, other)
    return new.finish()


def _key(value: Any) -> Any:
    """A hashable key that tells 0 from False, 1 from 1.0 and 0.0 from -0.0."""
    kind = type(value)
    if kind is tuple or kind is list:
        # Numbers of other types need these beside them: 1 == 1.0 == True.
        plain = {type(v) for v in value} <= {int}
        return (kind, *value) if plain else (kind, None, *map(_key, value))
    if kind is dict:
        return tuple([(k, _key(v)) for k, v in value.items()])
    if kind is int or kind is str or kind is bytes or value is None:
        return (kind, value)
    if isinstance(value, np.ndarray):
        if value.dtype == object or value.nbytes > _COMPARED_BYTES:
            return ("array", id(value))
        return ("array", value.dtype.str, value.dtype.name, value.shape, value.tobytes())
    if isinstance(value, bool | float | str | bytes | int):
        return (kind, repr(value))
    if isinstance(value, dtypes.DType):
        return value
    return ("object", id(value))
