"""The operations between inputs and outputs of a functional model, in the order to run them.

Keras's order is kept, because the layout of weight files depends on it: operations by falling
depth (distance from the outputs), those of one depth as they are first met from the outputs.
"""

from __future__ import annotations

from typing import Any

from distflow.base import nest
from distflow.keras.engine.keras_tensor import KerasTensor
from distflow.keras.engine.node import Node, maker


class GraphOrder:
    """`operations` and `nodes` (grouped by falling depth) that lead from inputs to outputs.

    Raises:
      ValueError: if an output does not depend on the inputs alone, there is a cycle, or two
        operations have one name.
    """

    def __init__(self, inputs: list[KerasTensor], outputs: list[KerasTensor]):
        self._given = {id(x) for x in inputs}
        self._finished: list[Node] = []
        self._met: dict[int, int] = {}
        self._nodes_met: dict[int, int] = {}
        for tensor in outputs:
            self._visit(tensor, [])
        self._place_by_depth(inputs)
        _check_names(self.operations)

    def _visit(self, tensor: KerasTensor, path: list[Any]) -> None:
        """Depth first towards the inputs, without recursion: models may be thousands deep."""
        pending: list[tuple[Node, Any]] = []
        done = {id(node) for node in self._finished}
        active: set[int] = set()

        def enter(node: Node) -> None:
            if id(node) in active:
                raise ValueError(f"Tensor from operation '{node.operation.name}' is in a cycle.")
            self._met.setdefault(id(node.operation), len(self._met))
            self._nodes_met.setdefault(id(node), len(self._nodes_met))
            active.add(id(node))
            parents = iter(() if self._is_start(node) else node.input_tensors)
            pending.append((node, parents))

        self._connected(tensor)
        if id(maker(tensor)) not in done:
            enter(maker(tensor))
        while pending:
            node, parents = pending[-1]
            following = next(parents, None)
            if following is None:
                pending.pop()
                active.discard(id(node))
                done.add(id(node))
                self._finished.append(node)
            else:
                self._connected(following)
                if id(maker(following)) not in done:
                    enter(maker(following))

    def _is_start(self, node: Node) -> bool:
        return any(id(x) in self._given for x in node.outputs)

    def _connected(self, tensor: KerasTensor) -> None:
        history = tensor._keras_history
        if history is None:
            raise ValueError(f"{tensor!r} was not made by an Input or a layer.")
        node = maker(tensor)
        if node.is_input and id(tensor) not in self._given:
            raise ValueError(
                f"Graph disconnected: the outputs depend on {tensor!r} of layer "
                f"'{history.operation.name}', which is not among `inputs`. Output with path "
                "`` is not connected to `inputs`."
            )

    def _place_by_depth(self, inputs: list[KerasTensor]) -> None:
        node_depth: dict[int, int] = {}
        operation_depth: dict[int, int] = {}
        for node in reversed(self._finished):
            depth = max(node_depth.get(id(node), 0), operation_depth.get(id(node.operation), 0))
            operation_depth[id(node.operation)] = node_depth[id(node)] = depth
            if not self._is_start(node):
                for parent in node.parent_nodes:
                    node_depth[id(parent)] = max(depth + 1, node_depth.get(id(parent), 0))
        for tensor in inputs:  # inputs that no output uses
            node = maker(tensor)
            if id(node.operation) not in operation_depth:
                operation_depth[id(node.operation)] = node_depth[id(node)] = 0
                self._met[id(node.operation)] = -1
                self._nodes_met[id(node)] = -1
                self._finished.append(node)
        found = {id(node.operation): node.operation for node in self._finished}
        self.operations: list[Any] = sorted(
            found.values(), key=lambda o: (-operation_depth[id(o)], self._met[id(o)])
        )
        self.nodes: list[Node] = sorted(self._finished, key=lambda n: -node_depth[id(n)])


def _check_names(operations: list[Any]) -> None:
    names = [operation.name for operation in operations]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f'The name "{name}" is used {names.count(name)} times in the model. All operation '
                "names should be unique."
            )


def keras_tensors(structure: Any, what: str) -> list[KerasTensor]:
    """Returns the KerasTensors of a structure; raises ValueError for anything else in it."""
    leaves = nest.flatten(structure)
    for leaf in leaves:
        if not isinstance(leaf, KerasTensor):
            raise ValueError(
                f"All `{what}` values must be KerasTensors. Received: {what}={structure} including "
                f"invalid value {leaf} of type {type(leaf)}"
            )
    return leaves
