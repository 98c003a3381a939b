"""Writing parts of variables: `variable[key].assign(value)` and `variable.scatter_nd_*`."""

from __future__ import annotations

import functools
from typing import Any

from distflow.base import dtypes, errors, shapes
from distflow.core.convert import convert_to_tensor
from distflow.ops import slicing
from distflow.ops.indexing import (
    gather,
    gather_nd,
    tensor_scatter_nd_add,
    tensor_scatter_nd_sub,
    tensor_scatter_nd_update,
)
from distflow.ops.prims import creation, movement

_SCATTER = {
    "assign": tensor_scatter_nd_update,
    "assign_add": tensor_scatter_nd_add,
    "assign_sub": tensor_scatter_nd_sub,
}


def getitem(self: Any, key: Any) -> Any:
    """Returns a part of a variable: a tensor with `assign`, `assign_add` and `assign_sub`."""
    part = slicing.getitem(self.value(), key)
    for name in _SCATTER:
        setattr(part, name, functools.partial(_write, self, key, name))
    return part


def _scatter(name: str) -> Any:
    def method(self: Any, indices: Any, updates: Any, name: Any = None) -> Any:
        updates = convert_to_tensor(updates, dtype_hint=self.dtype)
        return self.assign(operation(self.value(), indices, updates))

    operation = _SCATTER[name]
    method.__doc__ = (
        f"Does `{name}` with `updates` at `indices` [..., depth]; returns the variable."
    )
    return method


METHODS: dict[str, Any] = {
    "__getitem__": getitem,
    "scatter_nd_update": _scatter("assign"),
    "scatter_nd_add": _scatter("assign_add"),
    "scatter_nd_sub": _scatter("assign_sub"),
    "gather_nd": lambda self, indices, name=None: gather_nd(self.value(), indices),
    "sparse_read": lambda self, indices, name=None: gather(self.value(), indices),
}


def _write(variable: Any, key: Any, mode: str, value: Any, *_: Any, **__: Any) -> Any:
    """Writes a part; `value` must broadcast to it. Returns the variable."""
    where = f"variable[...].{mode}"
    if not shapes.is_static(variable.shape):
        raise errors.invalid(where, "a variable of known shape", shapes.text(variable.shape))
    value = convert_to_tensor(value, dtype_hint=variable.dtype)
    size = shapes.size(variable.shape)
    places = movement.reshape(
        creation.iota(dtype=dtypes.int32, length=size), shape=tuple(variable.shape)
    )
    chosen = slicing.getitem(places, key)
    try:
        full = movement.broadcast_to(value, shape=tuple(chosen.shape))
    except errors.InvalidArgumentError:
        raise errors.invalid(
            where, f"a value that broadcasts to the part's shape {shapes.text(chosen.shape)}",
            f"shape {shapes.text(value.shape)}",
        ) from None  # fmt: skip
    count = shapes.size(chosen.shape)
    flat = _SCATTER[mode](
        movement.reshape(variable.value(), shape=(size,)),
        movement.reshape(chosen, shape=(count, 1)),
        movement.reshape(full, shape=(count,)),
    )
    return variable.assign(movement.reshape(flat, shape=tuple(variable.shape)))
