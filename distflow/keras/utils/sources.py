"""get_source_inputs: the Inputs that a symbolic tensor is made of."""

from __future__ import annotations

from typing import Any

from distflow.keras.engine.keras_tensor import KerasTensor
from distflow.keras.engine.node import maker
from distflow.keras.engine.tracking import unique


def get_source_inputs(tensor: Any) -> list[Any]:
    """Returns the Inputs from which a KerasTensor follows, each once.

    Raises:
      ValueError: for something else.
    """
    if not isinstance(tensor, KerasTensor) or tensor._keras_history is None:
        raise ValueError(f"get_source_inputs: expected a KerasTensor. Received: {tensor}")
    found, pending, seen = [], [tensor], set()
    while pending:
        one = pending.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        node = maker(one)
        if node.is_input:
            found.append(one)
        pending.extend(reversed(node.input_tensors))
    return unique(found)
