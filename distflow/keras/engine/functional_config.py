"""Functional models to configurations and back, in Keras 3's layout."""

from __future__ import annotations

from typing import Any

from distflow.base import nest
from distflow.keras import registry, serialization
from distflow.keras.engine.keras_tensor import KerasTensor
from distflow.keras.engine.node import maker


def layers_config(model: Any) -> dict[str, Any]:
    """Returns name, layers with their inbound nodes, and where inputs and outputs are."""
    own = {id(node) for node in model._order.nodes}
    layers = []
    for operation in model.operations:
        nodes = [n for n in operation._inbound_nodes if id(n) in own and n.input_tensors]
        described = serialization.serialize_keras_object(operation)
        described["name"] = operation.name
        described["inbound_nodes"] = [_node_config(node, own) for node in nodes]
        layers.append(described)
    config: dict[str, Any] = {"name": model.name, "trainable": model.trainable}
    config["layers"] = layers
    config["input_layers"] = nest.map_structure(lambda x: _place(x, own), model._inputs_struct)
    config["output_layers"] = nest.map_structure(lambda x: _place(x, own), model._outputs_struct)
    return config


def _place(tensor: KerasTensor, own: set[int]) -> list[Any]:
    """Returns [operation, index of its call within this model, index of the output]."""
    operation, _, tensor_index = tensor._keras_history
    nodes = [n for n in operation._inbound_nodes if id(n) in own]
    return [operation.name, nodes.index(maker(tensor)), tensor_index]


def _node_config(node: Any, own: set[int]) -> dict[str, Any]:
    def leaf(x: Any) -> Any:
        described = serialization.serialize_keras_object(x)
        if isinstance(x, KerasTensor):
            described["config"]["keras_history"] = _place(x, own)
        return described

    return {
        "args": _as_lists(nest.map_structure(leaf, node.args)),
        "kwargs": _as_lists(nest.map_structure(leaf, node.kwargs)),
    }


def _as_lists(value: Any) -> Any:
    """Tuples as the lists that JSON makes of them, so that a round trip changes nothing."""
    if isinstance(value, dict):
        return {key: _as_lists(v) for key, v in value.items()}
    return [_as_lists(v) for v in value] if isinstance(value, list | tuple) else value


def from_config(cls: type, config: dict[str, Any], custom_objects: Any = None) -> Any:
    """Returns a model of class `cls`, its layers made anew and connected as before.

    Raises:
      ValueError: if a node needs an output that no layer gives.
    """
    with registry.custom_object_scope(custom_objects or {}):
        made = {}
        waiting: list[tuple[str, dict[str, Any]]] = []
        for described in config["layers"]:
            layer = _make(described)
            made[layer.name] = layer
            waiting.extend((layer.name, node) for node in described["inbound_nodes"])
        while waiting:
            postponed: list[tuple[str, dict[str, Any]]] = []
            for name, node in waiting:
                # The calls of one layer keep their order, because others refer to their numbers.
                earlier = any(name == other for other, _ in postponed)
                if earlier or not _connect(made, name, node):
                    postponed.append((name, node))
            if len(postponed) == len(waiting):
                raise ValueError(
                    "The configuration of a functional model cannot be connected: no inputs for "
                    f"{sorted({name for name, _ in waiting})}."
                )
            waiting = postponed
    inputs = _tensors(made, config["input_layers"])
    outputs = _tensors(made, config["output_layers"])
    kwargs = {"name": config.get("name")}
    if config.get("trainable") is False:
        kwargs["trainable"] = False
    return cls(inputs, outputs, **kwargs)


def _make(described: dict[str, Any]) -> Any:
    layer = serialization.deserialize_keras_object(
        {k: v for k, v in described.items() if k not in ("name", "inbound_nodes")}
    )
    layer.name = described["name"]
    return layer


def _connect(made: dict[str, Any], name: str, node: dict[str, Any]) -> bool:
    """Calls a layer on its inputs, unless they are not there yet."""
    try:
        args, kwargs = _values(made, node["args"]), _values(made, node["kwargs"])
    except _NotYetError:
        return False
    made[name](*args, **kwargs)
    return True


class _NotYetError(Exception):
    """An output that a node needs has not been made yet."""


def _values(made: dict[str, Any], described: Any) -> Any:
    if isinstance(described, dict):
        if described.get("class_name") == "__keras_tensor__":
            return _tensor(made, *described["config"]["keras_history"])
        if "class_name" in described:
            return serialization.deserialize_keras_object(described)
        return {key: _values(made, value) for key, value in described.items()}
    if isinstance(described, list):
        return [_values(made, value) for value in described]
    return described


def _tensor(made: dict[str, Any], name: str, node_index: int, tensor_index: int) -> Any:
    if name not in made:
        raise ValueError(f"The configuration refers to a layer '{name}' that it does not hold.")
    nodes = made[name]._inbound_nodes
    if node_index >= len(nodes):
        raise _NotYetError(name)
    return nodes[node_index].outputs[tensor_index]


def _tensors(made: dict[str, Any], places: Any) -> Any:
    """Returns the structure of tensors of input_layers or output_layers."""
    if isinstance(places, dict):
        return {key: _tensors(made, value) for key, value in places.items()}
    if places and isinstance(places[0], str):
        return _tensor(made, *places)
    return [_tensors(made, value) for value in places]
