"""keras.Function: what is computed between symbolic inputs and outputs, without a model."""

from __future__ import annotations

from typing import Any

from distflow.base import nest
from distflow.keras.engine.graph_order import GraphOrder, keras_tensors
from distflow.keras.engine.keras_tensor import KerasTensor, output_specs
from distflow.keras.engine.operation import Operation


class Function(Operation):
    """Runs the operations between inputs and outputs; it is not trained or saved by itself.

    Args:
      inputs, outputs: KerasTensors, or structures of them; calls take and return the same.
      name: default function, function_1, ...

    Raises:
      ValueError: for other values, or outputs that do not follow from the inputs.
    """

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None):
        super().__init__(name=name)
        self._inputs, self._outputs = keras_tensors(inputs, "inputs"), outputs
        self._order = GraphOrder(self._inputs, keras_tensors(outputs, "outputs"))
        self._inputs_struct = inputs

    @property
    def inputs(self) -> list[KerasTensor]:
        """The symbolic inputs as a list."""
        return list(self._inputs)

    @property
    def outputs(self) -> list[KerasTensor]:
        """The symbolic outputs as a list."""
        return nest.flatten(self._outputs)

    @property
    def operations(self) -> list[Any]:
        """The operations, in the order in which they run."""
        return list(self._order.operations)

    def __call__(self, inputs: Any) -> Any:
        """Returns the outputs for values (or KerasTensors) in the structure of the inputs.

        Raises:
          ValueError: for another number of inputs.
        """
        if any(isinstance(x, KerasTensor) for x in nest.flatten(inputs)):
            return self._note_call((inputs,), {}, output_specs(self._run, inputs))
        return self._run(inputs)

    def _run(self, inputs: Any) -> Any:
        values = nest.flatten(inputs)
        if len(values) != len(self._inputs):
            raise ValueError(
                f"Function {self.name} expects {len(self._inputs)} input(s). Received "
                f"{len(values)}."
            )
        known = {id(x): value for x, value in zip(self._inputs, values)}
        for node in self._order.nodes:
            if all(id(x) in known for x in node.outputs):
                continue
            args, kwargs = node.fill(known)
            results = nest.flatten(node.operation(*args, **kwargs))
            known.update({id(x): result for x, result in zip(node.outputs, results)})
        return nest.map_structure(lambda x: known[id(x)], self._outputs)
