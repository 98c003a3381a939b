"""The graph of objects that hold variables: children by the names of attributes, as in TF.

Objects are modules, layers, models, optimizers, metrics, random generators, lists, tuples and
dicts of such, and whatever has a method `_checkpoint_children() -> {name: child}`. Objects with
`_checkpoint_state() -> JSON` and `_restore_checkpoint_state(state)` are saved in the manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from distflow.core.late import BUILDING, WAITING
from distflow.core.module import Module
from distflow.core.variable import Variable
from distflow.random import Generator

# What follows the path of a variable in the key of its value (TF's words).
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
# Books of Keras's objects: what is in them is found elsewhere, or belongs to one run only.
_BOOKS = frozenset({
    WAITING, BUILDING, "_inbound_nodes", "_outbound_nodes", "_auto_config", "_build_shapes",
    "_runners", "_compile_config", "_names_to_search", "loss_tracker", "compile_metrics",
    "compile_loss", "_trainable_variables", "_index", "_undecayed", "history", "_strategy",
    "_inputs", "_outputs",
})  # fmt: skip
_CHILDREN: dict[type, Callable[[Any], dict[str, Any]]] = {
    Generator: lambda generator: {"_state_var": generator.state},
}


def children(item: Any) -> dict[str, Any]:
    """Returns the named children of an object that may hold variables: public names first."""
    if isinstance(item, Variable):
        return {}
    if isinstance(item, Mapping):
        named = {_escaped(str(key)): item[key] for key in item if isinstance(key, str | int)}
        return {name: child for name, child in named.items() if is_trackable(child)}
    if isinstance(item, list | tuple):
        return {str(i): child for i, child in enumerate(item) if is_trackable(child)}
    own = getattr(type(item), "_checkpoint_children", None)
    if own is not None:
        return {name: child for name, child in own(item).items() if is_trackable(child)}
    if type(item) in _CHILDREN:
        return _CHILDREN[type(item)](item)
    skipped = _BOOKS | getattr(item, "_TF_MODULE_IGNORED_PROPERTIES", frozenset())
    attributes = dict(getattr(item, "__dict__", {}))
    if getattr(item, "_keras_kind", "") == "optimizer":
        # All state is in `_variables`, or in optimizers inside; lists of slots have other names in
        # each optimizer.
        for name, value in list(attributes.items()):
            if is_container(value) and name != "_variables" and not _holds_optimizers(value):
                del attributes[name]
    if hasattr(item, "_layers_to_save"):
        # A stack or graph of layers, whose own lists differ before and after it is built.
        skipped |= {"_stack", "_order"}
        attributes |= {f"layer-{i}": layer for i, layer in enumerate(item._layers_to_save())}
    names = sorted(attributes, key=lambda n: (n.startswith("_"), n))
    return {
        name: attributes[name]
        for name in names
        if name not in skipped and is_trackable(attributes[name])
    }


def is_trackable(value: Any) -> bool:
    """Whether an object has a place in the graph; containers have, even empty ones."""
    cls = type(value)
    return (
        isinstance(value, Variable | Module | list | tuple | Mapping | Generator)
        or bool(getattr(cls, "_keras_kind", ""))
        or hasattr(cls, "_checkpoint_children")
        or hasattr(cls, "_checkpoint_state")
    )


def is_container(value: Any) -> bool:
    """Whether an object is a list, tuple or dict."""
    return isinstance(value, list | tuple | Mapping)


@dataclass
class Node:
    """One object of the graph: its path from the root and its children's places in the list."""

    item: Any
    path: str
    children: dict[str, int] = field(default_factory=dict)

    @property
    def key(self) -> str | None:
        """The key of a variable's value; None for other objects."""
        return self.path + VALUE if isinstance(self.item, Variable) else None


def walk(root: Any) -> list[Node]:
    """Returns the objects below (and with) the root, breadth first, each once.

    Containers without variables below them are left out.
    """
    nodes = [Node(root, "")]
    places = {id(root): 0}
    for node in nodes:  # grows meanwhile
        for name, child in children(node.item).items():
            if is_container(child) and not _holds_something(child, set()):
                continue
            if id(child) not in places:
                places[id(child)] = len(nodes)
                nodes.append(Node(child, f"{node.path}/{name}" if node.path else name))
            node.children[name] = places[id(child)]
    return nodes


def variables(nodes: list[Node]) -> dict[str, Variable]:
    """Returns the variables of a graph by the keys of their values."""
    return {node.key: node.item for node in nodes if node.key is not None}


def to_json(nodes: list[Node]) -> list[dict[str, Any]]:
    """Returns the graph for a manifest; the root comes first."""
    rows = []
    for node in nodes:
        row: dict[str, Any] = {}
        if node.children:
            row["children"] = node.children
        if node.key is not None:
            row["value"] = node.key
        elif hasattr(type(node.item), "_checkpoint_state"):
            row["state"] = node.item._checkpoint_state()
        rows.append(row)
    return rows


def _holds_something(container: Any, seen: set[int]) -> bool:
    if id(container) in seen:
        return False
    seen.add(id(container))
    return any(
        not is_container(child) or _holds_something(child, seen)
        for child in children(container).values()
    )


def _holds_optimizers(value: Any) -> bool:
    return isinstance(value, list | tuple) and any(
        getattr(child, "_keras_kind", "") == "optimizer" for child in value
    )


def _escaped(name: str) -> str:
    """A name without the slash that separates names (TF's way)."""
    return name.replace(".", "..").replace("/", ".S")
