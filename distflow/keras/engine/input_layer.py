"""Input and InputLayer: where values come into a functional model."""

from __future__ import annotations

from typing import Any

from distflow.base import dtypes, errors
from distflow.keras import settings
from distflow.keras.engine import op_layer
from distflow.keras.engine.keras_tensor import KerasTensor
from distflow.keras.engine.layer import Layer
from distflow.keras.engine.node import Node


class InputLayer(Layer):
    """The node that brings one input in.

    Args:
      shape: shape of one example, without the batch dimension.
      batch_size: size of the batch, usually not given.
      dtype: element type, default floatx.
      batch_shape: shape with the batch dimension, instead of `shape`.
      input_tensor: an existing KerasTensor to use.
      optional: whether None may come in.
      name: unique name, also the input's key in dicts.
    """

    def __init__(
        self,
        shape: Any = None,
        batch_size: int | None = None,
        dtype: Any = None,
        sparse: bool | None = None,
        ragged: bool | None = None,
        batch_shape: Any = None,
        input_tensor: Any = None,
        optional: bool = False,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(name=name)
        shape = kwargs.pop("input_shape", shape)
        batch_shape = kwargs.pop("batch_input_shape", batch_shape)
        if kwargs:
            raise ValueError(f"Unrecognized keyword arguments passed to InputLayer: {kwargs}")
        if input_tensor is not None:
            if not isinstance(input_tensor, KerasTensor):
                raise errors.invalid("InputLayer", "input_tensor must be a KerasTensor",
                                     repr(input_tensor))  # fmt: skip
            batch_shape, dtype = tuple(input_tensor.shape), input_tensor.dtype
        elif batch_shape is None:
            if shape is None:
                raise ValueError("You must pass a `shape` argument.")
            dims = (shape,) if isinstance(shape, int) else tuple(shape)
            batch_shape = (batch_size, *dims)
        elif shape is not None:
            raise ValueError("You cannot pass both `shape` and `batch_shape` at the same time.")
        self._batch_shape = tuple(None if d is None else int(d) for d in batch_shape)
        self._dtype = dtypes.as_dtype(settings.floatx() if dtype is None else dtype).name
        if sparse or ragged:
            raise errors.UnimplementedError("Input: sparse and ragged inputs are not there yet.")
        self.optional = optional
        self.built = True
        output = input_tensor or KerasTensor(self._batch_shape, self._dtype, name=self.name)
        Node(self, (), {}, output)

    @property
    def batch_shape(self) -> tuple[Any, ...]:
        """The shape with the batch dimension."""
        return self._batch_shape

    @property
    def dtype(self) -> str:
        """Name of the dtype."""
        return self._dtype

    def call(self) -> Any:
        """Refuses: an input is filled by the model."""
        raise NotImplementedError("InputLayer is filled by the model that it belongs to.")

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "batch_shape": list(self._batch_shape),
            "dtype": self._dtype,
            "sparse": False,
            "ragged": False,
            "name": self.name,
            "optional": self.optional,
        }


def Input(
    shape: Any = None,
    batch_size: int | None = None,
    dtype: Any = None,
    sparse: bool | None = None,
    batch_shape: Any = None,
    name: str | None = None,
    tensor: Any = None,
    optional: bool = False,
    ragged: bool | None = None,
) -> Any:
    """Returns a KerasTensor, the start of a functional model.

    Args:
      shape: shape of one example, without the batch dimension; None in it is unknown.
      batch_size: size of the batch, usually not given.
      dtype: element type, default floatx.
      batch_shape: shape with the batch dimension, instead of `shape`.
      name: unique name, also the input's key in dicts.
      tensor: an existing KerasTensor to use.
      optional: whether None may come in.
    """
    layer = InputLayer(
        shape=shape, batch_size=batch_size, dtype=dtype, sparse=sparse, ragged=ragged,
        batch_shape=batch_shape, input_tensor=tensor, optional=optional, name=name,
    )  # fmt: skip
    return layer.output


# Operations on KerasTensors need OpLayer to be there before the first Input exists.
assert op_layer.HISTORY.apply is not None
