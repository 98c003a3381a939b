"""InputSpec: what a layer accepts, and the check with Keras's messages."""

from __future__ import annotations

from typing import Any

from distflow.base import dtypes, nest
from distflow.core.tensor import EagerTensor


class InputSpec:
    """Rank, dtype and shape that a layer's input must have.

    Args:
      dtype: expected dtype, or None.
      shape: expected shape; None in it matches any size.
      ndim, min_ndim, max_ndim: expected rank, or bounds of it.
      axes: dict from axis to the size expected there.
      allow_last_axis_squeeze: accept one more or one less trailing axis of size 1.
      name: expected key of the input where inputs come in a dict.
      optional: whether None may stand instead.
    """

    def __init__(
        self,
        dtype: Any = None,
        shape: Any = None,
        ndim: int | None = None,
        max_ndim: int | None = None,
        min_ndim: int | None = None,
        axes: dict[int, Any] | None = None,
        allow_last_axis_squeeze: bool = False,
        name: str | None = None,
        optional: bool = False,
    ):
        self.dtype = None if dtype is None else dtypes.as_dtype(dtype).name
        self.shape = None if shape is None else tuple(shape)
        self.ndim = len(self.shape) if self.shape is not None else ndim
        self.max_ndim, self.min_ndim = max_ndim, min_ndim
        self.name, self.optional = name, optional
        self.allow_last_axis_squeeze = allow_last_axis_squeeze
        self.axes = {int(k): v for k, v in (axes or {}).items()}
        rank = self.ndim if self.ndim is not None else max_ndim
        if self.axes and rank is not None and max(self.axes) > rank - 1:
            raise ValueError(
                f"Axis {max(self.axes)} is greater than the maximum allowed value: {rank - 1}"
            )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's main arguments."""
        names = ("dtype", "shape", "ndim", "max_ndim", "min_ndim", "axes")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> InputSpec:
        """Returns the spec of a configuration."""
        return cls(**config)

    def __repr__(self) -> str:
        given = ("dtype", "shape", "ndim", "max_ndim", "min_ndim", "axes")
        shown = [f"{n}={getattr(self, n)}" for n in given if getattr(self, n) not in (None, {})]
        return f"InputSpec({', '.join(shown)})"


def check_inputs(input_spec: Any, inputs: Any, layer_name: str) -> None:
    """Raises ValueError unless the inputs fit a layer's `input_spec` (one or a structure)."""
    if not input_spec:
        return
    if type(input_spec) is InputSpec and type(inputs) is EagerTensor:
        if not _complaint(input_spec, inputs):
            return
    specs = nest.flatten(input_spec)
    tensors = _in_order(inputs, specs)
    if len(specs) != len(tensors):
        raise ValueError(
            f"Layer '{layer_name}' expected {len(specs)} input(s). Received {len(tensors)} instead."
        )
    for index, (tensor, spec) in enumerate(zip(tensors, specs)):
        if spec is None or (tensor is None and spec.optional):
            continue
        if not hasattr(tensor, "shape"):
            raise ValueError(
                f"Inputs to a layer should be tensors. Got '{tensor}' (of type {type(tensor)}) as "
                f"input for layer '{layer_name}'."
            )
        complaint = _complaint(spec, tensor)
        if complaint:
            raise ValueError(
                f"Input {index} with name '{spec.name}' of layer '{layer_name}' is incompatible "
                f"with the layer: {complaint}"
            )


def _in_order(inputs: Any, specs: list[Any]) -> list[Any]:
    names = [getattr(spec, "name", None) for spec in specs]
    if isinstance(inputs, dict) and all(isinstance(n, str) for n in names):
        missing = next((n for n in names if n not in inputs), None)
        if missing is not None:
            raise ValueError(
                f'Missing data for input "{missing}". You passed a data dictionary with keys '
                f"{list(inputs)}. Expected the following keys: {names}"
            )
        return [inputs[name] for name in names]
    return nest.flatten(inputs)


def _complaint(spec: InputSpec, tensor: Any) -> str:
    shape = tuple(tensor.shape)
    rank = len(shape)
    if spec.ndim is not None and not spec.allow_last_axis_squeeze and rank != spec.ndim:
        return f"expected ndim={spec.ndim}, found ndim={rank}. Full shape received: {shape}"
    if spec.max_ndim is not None and rank > spec.max_ndim:
        return f"expected max_ndim={spec.max_ndim}, found ndim={rank}"
    if spec.min_ndim is not None and rank < spec.min_ndim:
        return f"expected min_ndim={spec.min_ndim}, found ndim={rank}. Full shape received: {shape}"
    if spec.dtype is not None and dtypes.as_dtype(tensor.dtype).name != spec.dtype:
        return f"expected dtype={spec.dtype}, found dtype={dtypes.as_dtype(tensor.dtype).name}"
    for axis, value in spec.axes.items():
        if value is not None and shape[axis] not in (value, None):
            return (
                f"expected axis {axis} of input shape to have value {value}, but received input "
                f"with shape {shape}"
            )
    if spec.shape is not None:
        wanted = spec.shape
        if spec.allow_last_axis_squeeze:
            shape = shape[:-1] if shape and shape[-1] == 1 else shape
            wanted = wanted[:-1] if wanted and wanted[-1] == 1 else wanted
        same_rank = len(shape) == len(wanted)
        if not same_rank or any(None not in (a, b) and a != b for a, b in zip(shape, wanted)):
            return f"expected shape={spec.shape}, found shape={shape}"
    return ""
