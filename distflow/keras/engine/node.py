"""Node: one call of an operation on symbolic tensors, an edge bundle of a functional model."""

from __future__ import annotations

from typing import Any, NamedTuple

from distflow.base import nest
from distflow.keras.engine.keras_tensor import KerasTensor


class KerasHistory(NamedTuple):
    """Where a KerasTensor comes from."""

    operation: Any
    node_index: int
    tensor_index: int


class Node:
    """A call of `operation` with arguments that hold KerasTensors, and its outputs.

    Making one registers it with the operation (`_inbound_nodes`), with those that made the
    inputs (`_outbound_nodes`), and writes the outputs' `_keras_history`.
    """

    def __init__(
        self,
        operation: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        outputs: Any = None,
    ):
        self.operation = operation
        self.args, self.kwargs = args, kwargs or {}
        self.input_tensors: list[KerasTensor] = [
            x for x in nest.flatten((self.args, self.kwargs)) if isinstance(x, KerasTensor)
        ]
        self.output_structure = outputs
        self.outputs: list[KerasTensor] = nest.flatten(outputs)
        index = len(operation._inbound_nodes)
        operation._inbound_nodes.append(self)
        for position, tensor in enumerate(self.outputs):
            tensor._keras_history = KerasHistory(operation, index, position)
        for parent in self.parent_nodes:
            parent.operation._outbound_nodes.append(self)

    @property
    def is_input(self) -> bool:
        """Whether this node brings a model's input in."""
        return not self.input_tensors

    @property
    def parent_nodes(self) -> list[Node]:
        """The nodes that made this one's inputs."""
        return [maker(tensor) for tensor in self.input_tensors]

    @property
    def index(self) -> int:
        """The number of this call among the operation's calls."""
        return self.operation._inbound_nodes.index(self)

    def fill(self, values: dict[int, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Returns the arguments with values (by id of the KerasTensor) in the tensors' places."""

        def value(x: Any) -> Any:
            return values[id(x)] if isinstance(x, KerasTensor) else x

        return nest.map_structure(value, (self.args, self.kwargs))

    def __repr__(self) -> str:
        return f"<Node operation={self.operation.name}, id={id(self)}>"


def maker(tensor: KerasTensor) -> Node:
    """Returns the node that made a tensor."""
    history = tensor._keras_history
    return history.operation._inbound_nodes[history.node_index]
