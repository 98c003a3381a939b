"""StackedRNNCells: cells one on top of another, as one cell."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from distflow.base import errors, nest
from distflow.keras import serialization
from distflow.keras.engine.layer import Layer
from distflow.ops import array


class StackedRNNCells(Layer):
    """A cell in which the output of each cell is the input of the next.

    Its states are the list of the cells' states.
    """

    def __init__(self, cells: Sequence[Any], **kwargs: Any):
        super().__init__(**kwargs)
        for cell in cells:
            for name in ("call", "state_size"):
                if not hasattr(cell, name):
                    raise errors.invalid(
                        "StackedRNNCells", f"All cells must have a `{name}`", repr(cell)
                    )
        self.cells = list(cells)

    @property
    def state_size(self) -> list[Any]:
        """The state sizes of the cells."""
        return [cell.state_size for cell in self.cells]

    @property
    def output_size(self) -> Any:
        """The size of the last cell's output."""
        return _output_size(self.cells[-1])

    def build(self, input_shape: Any) -> None:
        """Builds the cells."""
        for cell in self.cells:
            if isinstance(cell, Layer) and not cell.built:
                cell.build(input_shape)
            input_shape = (input_shape[0], _output_size(cell))

    def get_initial_state(self, batch_size: Any = None) -> list[Any]:
        """Returns the cells' states before the first step."""
        return [self._initial(cell, batch_size) for cell in self.cells]

    def _initial(self, cell: Any, batch_size: Any) -> Any:
        if hasattr(cell, "get_initial_state"):
            return cell.get_initial_state(batch_size=batch_size)
        return nest.map_structure(
            lambda size: array.zeros([batch_size, size], self.compute_dtype), cell.state_size
        )

    def call(self, inputs: Any, states: Any, training: Any = False, **kwargs: Any) -> Any:
        """Returns (the last cell's output, the list of all new states)."""
        return self.through(self.cells, inputs, states, training, **kwargs)

    def through(
        self, cells: Any, inputs: Any, states: Any, training: Any, **kwargs: Any
    ) -> tuple[Any, list[Any]]:
        """Returns (output, new states) of some of the cells, one after another."""
        new_states = []
        for cell, state in zip(cells, states):
            several = isinstance(state, list | tuple)
            arguments = {**kwargs, "training": training} if takes(cell, "training") else kwargs
            step = cell if callable(cell) else cell.call
            inputs, new = step(inputs, list(state) if several else [state], **arguments)
            new = nest.flatten(new)
            new_states.append(new if several else new[0])
        return inputs, new_states

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal cell."""
        cells = [serialization.serialize_keras_object(cell) for cell in self.cells]
        return super().get_config() | {"cells": cells}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Returns a cell made from `get_config()`."""
        cells = [
            serialization.deserialize_keras_object(cell, custom_objects) for cell in config["cells"]
        ]
        return super().from_config({**config, "cells": cells})


def takes(cell: Any, name: str) -> bool:
    """Whether the `call` of a layer has an argument of this name."""
    return isinstance(cell, Layer) and name in inspect.signature(cell.call).parameters


def _output_size(cell: Any) -> Any:
    size = getattr(cell, "output_size", None)
    if size is not None:
        return size
    return cell.state_size[0] if isinstance(cell.state_size, list | tuple) else cell.state_size
