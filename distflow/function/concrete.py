"""ConcreteFunction: one trace of a function, ready to be called with tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distflow.base import errors, nest
from distflow.base.specs import TensorSpec
from distflow.compiler import explain
from distflow.core import context
from distflow.core.tensor import Tensor
from distflow.graph.control import call_graph
from distflow.graph.ir import Graph


class ConcreteFunction:
    """A Graph with the structure of its arguments and results.

    Calling it runs the graph: with the tensors among its arguments, in the order or under the
    names of the function's parameters. Tapes see one operation, in a trace its nodes.
    """

    def __init__(
        self, name: str, graph: Graph, captures: Sequence[Any], signature: Any, arguments: Any,
        outputs: Any,
    ):  # fmt: skip
        """Keeps what a trace found.

        Args:
          name: of the function.
          graph: takes the tensors among the arguments, then the captures.
          captures: tensors and Variables outside of the function.
          signature: `Signature` of the function, to bind calls.
          arguments: (positional, keywords), TensorSpecs in place of tensors.
          outputs: structure of TensorSpec and None.
        """
        self.name = name
        self.graph = graph
        self.captured_inputs = list(captures)
        self.structured_input_signature = arguments
        self.structured_outputs = outputs
        self._signature = signature
        self._leaves = nest.flatten(outputs)
        self._single = isinstance(outputs, TensorSpec)
        self._specs = [
            TensorSpec(v.shape, v.dtype, v.name or None)
            for v in graph.inputs[: len(graph.inputs) - len(self.captured_inputs)]
        ]

    @property
    def inputs(self) -> list[TensorSpec]:
        """The types of all inputs of the graph, captured tensors (not Variables) included."""
        return [TensorSpec(v.shape, v.dtype, v.name or None) for v in self.graph.inputs]

    @property
    def outputs(self) -> list[TensorSpec]:
        """The types of the tensors that it returns."""
        return [TensorSpec(v.shape, v.dtype) for v in self.graph.outputs]

    @property
    def variables(self) -> tuple[Any, ...]:
        """The Variables that it reads or assigns."""
        return tuple(c for c in self.captured_inputs if getattr(c, "is_variable", False))

    @property
    def trainable_variables(self) -> tuple[Any, ...]:
        """The trainable ones among `variables`."""
        return tuple(v for v in self.variables if v.trainable)

    @property
    def function_def(self) -> str:
        """The program as text."""
        return str(self.graph)

    def usable(self) -> bool:
        """Whether all it captured is still there: symbols of outer traces may be gone."""
        return all(c.interpreter is None or c.interpreter.in_force() for c in self.captured_inputs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs it.

        Raises:
          TypeError: (DtypeMismatchError) if the arguments are not those it was traced for.
        """
        traced, _ = self.structured_input_signature
        call = self._signature.call(*self._signature.completed(args, kwargs, traced))
        tensors = [self._signature_value(t) for t in call.tensors]
        if len(tensors) != len(self._specs):
            raise errors.DtypeMismatchError(
                f"function {self.name}: expected {len(self._specs)} tensors; "
                f"received {len(tensors)}."
            )
        for tensor, spec in zip(tensors, self._specs):
            if not spec.is_compatible_with(tensor):
                raise errors.DtypeMismatchError(
                    f"function {self.name}: expected {spec}; received "
                    f"{TensorSpec(tensor.shape, tensor.dtype)}."
                )
        return self.run(tensors)

    @staticmethod
    def _signature_value(tensor: Any) -> Tensor:
        return getattr(tensor, "tensor", tensor)

    def run(self, tensors: Sequence[Any]) -> Any:
        """Runs it on tensors known to fit; returns the structured result."""
        inputs = [*tensors, *self.captured_inputs]
        if context.executing_eagerly():
            with context.outside_python():
                found = call_graph(self.graph, inputs)
        else:
            found = call_graph(self.graph, inputs)
        if self._single:
            return found[0]
        results = iter(found)
        return nest.pack_sequence_as(
            self.structured_outputs,
            [None if leaf is None else next(results) for leaf in self._leaves],
        )

    def explain(self, shapes: Sequence[Any]) -> str:
        """Returns what runs each operation for arguments of such shapes, and why.

        Raises:
          InvalidArgumentError: if a dimension is unknown.
        """
        given = [
            np.broadcast_to(np.zeros((), v.dtype.numpy), _known(self.name, shape))
            for v, shape in zip(self.graph.inputs, shapes)
        ]
        captured = [
            c if getattr(c, "is_variable", False) else np.asarray(c) for c in self.captured_inputs
        ]
        return "\n".join(explain(self.graph, [*given, *captured]))

    def __repr__(self) -> str:
        args, kwargs = self.structured_input_signature
        given = [repr(a) for a in args] + [f"{k}={v!r}" for k, v in kwargs.items()]
        return f"<ConcreteFunction {self.name}({', '.join(given)}) -> {self.structured_outputs!r}>"


def _known(name: str, shape: Any) -> tuple[int, ...]:
    if any(d is None for d in shape):
        raise errors.invalid(
            f"{name}.explain", "all dimensions must be known", str(tuple(shape)),
            "What runs is planned for concrete shapes: give tensors, or TensorSpecs with numbers.",
        )  # fmt: skip
    return tuple(shape)
