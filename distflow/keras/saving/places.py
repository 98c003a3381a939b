"""Where the state of each object lies in a weights file, by Keras 3's rules.

The path is that of attributes: `layers/dense_1`, `encoder/attention`, `optimizer`. Inside a list
or dict an object is called after its class, `dense`, `dense_1`, ..., because automatic names
differ from run to run. Public attributes come before private ones, and an object that several
attributes hold lies where it is found first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from distflow.keras.engine import naming, tracking

_SAVED = ("layer", "optimizer")
# Properties of classes from here are no places; those of layers and of the user's classes are.
_BASES = ("builtins", "distflow.keras.engine", "distflow.keras.training", "distflow.keras.optim")
# Attributes of Layer and Model themselves, which are never part of a path.
_NOT_PLACES = frozenset({
    "_own_weights", "_inbound_nodes", "_outbound_nodes", "_auto_config", "_build_shapes",
    "dtype_policy", "input_spec", "activity_regularizer", "_order", "_inputs", "_outputs",
    "_inputs_struct", "_outputs_struct", "_stack", "_input_layer", "metrics", "loss",
    "loss_tracker", "history",
})  # fmt: skip


def places(root: Any) -> Iterator[tuple[str, Any]]:
    """Yields (path, object) for each object with state; the root's path is ""."""
    yield from _below(root, "", set())


def _below(item: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if id(item) in seen:
        return
    seen.add(id(item))
    yield path, item
    for name, value in _attributes(item):
        inner = f"{path}/{name}" if path else name
        if tracking.kind(value) in _SAVED:
            yield from _below(value, inner, seen)
        elif isinstance(value, list | tuple | set | Mapping):
            yield from _inside(value, inner, seen)


def _inside(container: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    used: dict[str, int] = {}
    children = container.values() if isinstance(container, Mapping) else container
    for child in children:
        if tracking.kind(child) in _SAVED:
            name = naming.of_class(type(child))
            used[name] = used.get(name, -1) + 1
            yield from _below(child, f"{path}/{name}" + (f"_{used[name]}" * (used[name] > 0)), seen)


def _attributes(item: Any) -> Iterator[tuple[str, Any]]:
    """Yields attributes by name, private ones last; the layers of a stack or graph first."""
    ordered = hasattr(item, "_stack") or hasattr(item, "_order")
    if ordered:
        yield "layers", item._layers_to_save()
    names = set(vars(item)) | _own_properties(type(item))
    if hasattr(item, "get_layer") and not ordered:
        names.add("layers")
    skipped = _NOT_PLACES | type(item).__dict__.get("_not_saved", frozenset())
    for name in sorted(names, key=lambda n: "~" + n if n.startswith("_") else n):
        if name in skipped or name.startswith(("__", "_compile", "_trainer")):
            continue
        try:
            value = getattr(item, name)
        except Exception:  # noqa: BLE001 - a property of the user may fail for any reason
            continue
        yield name, value


def _own_properties(cls: type) -> set[str]:
    """Properties through which an inner layer may be found before its attribute."""
    return {
        name
        for base in cls.__mro__
        if not base.__module__.startswith(_BASES)
        for name, value in vars(base).items()
        if isinstance(value, property)
    }
