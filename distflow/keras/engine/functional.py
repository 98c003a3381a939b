"""Functional: a model given by its symbolic inputs and outputs."""

from __future__ import annotations

import inspect
from typing import Any

from distflow.base import dtypes, nest
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import Tensor
from distflow.keras.engine import calling
from distflow.keras.engine.functional_config import layers_config
from distflow.keras.engine.graph_order import GraphOrder, keras_tensors
from distflow.keras.engine.input_layer import Input, InputLayer
from distflow.keras.engine.input_spec import InputSpec
from distflow.keras.engine.keras_tensor import KerasTensor
from distflow.keras.engine.model import Model
from distflow.keras.engine.node import maker
from distflow.keras.engine.operation import uses_init_arguments
from distflow.ops.prims.elementwise import cast
from distflow.ops.prims.movement import reshape, shape_tensor


class Functional(Model):
    """A model that runs the operations between its inputs and outputs.

    Args:
      inputs, outputs: KerasTensors, or lists, tuples or dicts of them; calls take and return the
        same structures. A dict may also be given by the inputs' names.
      name: default functional, functional_1, ...

    Raises:
      ValueError: for other values, outputs that do not follow from the inputs, or equal names.
    """

    _untracked_attributes = Model._untracked_attributes | {
        "_order", "_inputs", "_outputs", "_inputs_struct", "_outputs_struct"
    }  # fmt: skip

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, **kwargs: Any):
        trainable = kwargs.pop("trainable", None)
        Model.__init__(self, name=name, **kwargs)
        given = keras_tensors(inputs, "inputs")
        keras_tensors(outputs, "outputs")
        if len({id(x) for x in given}) != len(given):
            raise ValueError(f"All `inputs` must be different tensors. Received: inputs={inputs}")
        if not all(isinstance(maker(x).operation, InputLayer) for x in given):
            inputs, outputs = _from_new_inputs(inputs, outputs)
        self._inputs_struct = _own_structure(inputs)
        self._outputs_struct = _own_structure(outputs)
        self._inputs = nest.flatten(inputs)
        self._outputs = nest.flatten(outputs)
        self._order = GraphOrder(self._inputs, self._outputs)
        # Inputs are cast to the dtypes of the Input layers instead.
        self.autocast = False
        self._allow_non_tensor_positional_args = True  # type: ignore[misc]
        self.built = True
        self._build_shapes = None
        if trainable is not None:
            self.trainable = trainable

    # -- what it is made of ----------------------------------------------------------------

    @property
    def operations(self) -> list[Any]:
        """The layers and operations, in the order in which they run."""
        return list(self._order.operations)

    @property
    def layers(self) -> list[Any]:
        """The layers, in the order in which they run."""
        return [op for op in self._order.operations if isinstance(op, Model.layer_class)]

    @property
    def _layers(self) -> list[Any]:
        extra = [x for x in super()._layers if x not in self._order.operations]
        return self.layers + extra

    def _layers_to_save(self) -> list[Any]:
        return self.layers

    @property
    def inputs(self) -> list[KerasTensor]:
        """The symbolic inputs as a list."""
        return list(self._inputs)

    @property
    def outputs(self) -> list[KerasTensor]:
        """The symbolic outputs as a list."""
        return list(self._outputs)

    @property
    def input(self) -> Any:
        """The symbolic inputs in the structure that calls take."""
        return self._inputs_struct

    @property
    def output(self) -> Any:
        """The symbolic outputs in the structure that calls return."""
        return self._outputs_struct

    @property
    def input_names(self) -> list[str]:
        """The names of the Input layers."""
        return [maker(x).operation.name for x in self._inputs]

    @property
    def output_names(self) -> list[str]:
        """The names of the operations that make the outputs."""
        return [maker(x).operation.name for x in self._outputs]

    @property
    def input_shape(self) -> Any:
        """The shapes of the inputs."""
        return nest.map_structure(lambda x: tuple(x.shape), self._inputs_struct)

    @property
    def output_shape(self) -> Any:
        """The shapes of the outputs."""
        return nest.map_structure(lambda x: tuple(x.shape), self._outputs_struct)

    @property
    def input_spec(self) -> Any:
        """What calls are checked against: shapes with any batch size."""
        if "_order" not in self.__dict__:
            return None
        return [_spec(x, name) for x, name in zip(self._inputs, self._input_keys())]

    @input_spec.setter
    def input_spec(self, value: Any) -> None:
        """Ignores the base class's setting."""

    def _input_keys(self) -> list[Any]:
        """The keys by which a dict of inputs is given; None where a structure is nested."""
        struct = self._inputs_struct
        if isinstance(struct, dict):
            if not all(isinstance(x, KerasTensor) for x in struct.values()):
                return [None] * len(self._inputs)
            return sorted(struct)
        return self.input_names

    # -- running -------------------------------------------------------------------------------

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Returns the outputs for a structure of tensors like the inputs."""
        values = self._standardize(inputs)
        if mask is not None:
            for value, one in zip(values, nest.flatten(mask)):
                if one is not None and value is not None:
                    calling.set_mask(value, one)
        known = {id(x): value for x, value in zip(self._inputs, values)}
        for node in self._order.nodes:
            if all(id(x) in known for x in node.outputs):
                continue
            args, kwargs = node.fill(known)
            if training is not None and kwargs.get("training") is not None:
                # The caller's word counts, not that of when the model was made (Keras 3.15).
                kwargs = {**kwargs, "training": training}
            results = nest.flatten(node.operation(*args, **kwargs))
            known.update({id(x): result for x, result in zip(node.outputs, results)})
        return nest.map_structure(lambda x: known[id(x)], self._outputs_struct)

    def _standardize(self, inputs: Any) -> list[Any]:
        """Returns one tensor for each input, with its dtype and rank."""
        keys = self._input_keys()
        if isinstance(inputs, dict) and None not in keys:
            flat = [inputs[name] for name in keys]
        else:
            flat = nest.flatten(inputs)
        return [fitted(value, x) for value, x in zip(flat, self._inputs)]

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        """Returns None: the layers inside have attached the outputs' masks."""

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of the outputs for the inputs' shapes."""
        return Model.layer_class.compute_output_shape(self, input_shape)

    def compute_output_spec(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """Returns SpecTensors of the outputs for symbolic inputs."""
        return self._traced_specs(inputs, training=training)

    def build(self, input_shape: Any = None) -> None:
        """Does nothing: the layers were built as they were called."""
        self.built = True

    # -- configuration -------------------------------------------------------------------------

    @uses_init_arguments
    def get_config(self) -> dict[str, Any]:
        """Returns layers and connections in Keras 3's format.

        A subclass whose constructor does not take inputs and outputs has the configuration of
        its own arguments.
        """
        if _takes_tensors(type(self)):
            return layers_config(self)
        return Model.get_config(self)


def _takes_tensors(cls: type) -> bool:
    parameters = inspect.signature(cls.__init__).parameters  # type: ignore[misc]
    return {"inputs", "outputs"} <= set(parameters)


def _own_structure(structure: Any) -> Any:
    """Returns a copy of the containers, which the user may change later."""
    return nest.map_structure(lambda x: x, structure)


def _spec(x: KerasTensor, name: str | None) -> InputSpec:
    optional = getattr(maker(x).operation, "optional", False)
    shape = (None, *tuple(x.shape)[1:])
    return InputSpec(shape=shape, allow_last_axis_squeeze=True, name=name, optional=optional)


def fitted(value: Any, x: KerasTensor) -> Any:
    """Returns a value with the dtype and rank of the symbolic input that it is for."""
    if value is None:
        return None
    mask = calling.mask_of(value)
    if not isinstance(value, Tensor):
        value = convert_to_tensor(value)
    fitted = value
    if value.dtype is not x.dtype and dtypes.string not in (value.dtype, x.dtype):
        fitted = cast(fitted, dtype=x.dtype)
    rank = len(x.shape)
    if fitted.ndim == rank + 1 and fitted.shape[-1] == 1:
        fitted = _reshaped(fitted, tuple(fitted.shape)[:-1], drop=True)
    elif fitted.ndim == rank - 1 and x.shape[-1] == 1:
        fitted = _reshaped(fitted, (*tuple(fitted.shape), 1), drop=False)
    if mask is not None and fitted is not value:
        calling.set_mask(fitted, mask)
    return fitted


def _reshaped(x: Any, shape: tuple[Any, ...], drop: bool) -> Any:
    if sum(d is None for d in shape) <= 1:
        return reshape(x, shape=tuple(-1 if d is None else d for d in shape))
    dims = shape_tensor(x)
    index: Any = slice(None, -1) if drop else slice(None)
    return x[..., 0] if drop else reshape(x, dims[index], shape=shape)


def _from_new_inputs(inputs: Any, outputs: Any) -> Any:
    """Returns new Inputs in place of inner tensors, and the outputs that follow from them."""
    flat = nest.flatten(inputs)
    order = GraphOrder(flat, nest.flatten(outputs))
    known: dict[int, Any] = {}
    for x in flat:
        is_input = isinstance(maker(x).operation, InputLayer)
        name = maker(x).operation.name
        known[id(x)] = x if is_input else Input(
            batch_shape=tuple(x.shape), dtype=x.dtype, name=f"{name}_input"
        )  # fmt: skip
    new_inputs = nest.map_structure(lambda x: known[id(x)], inputs)
    for node in order.nodes:
        if all(id(x) in known for x in node.outputs):
            continue
        args, kwargs = node.fill(known)
        results = nest.flatten(node.operation(*args, **kwargs))
        known.update({id(x): result for x, result in zip(node.outputs, results)})
    return new_inputs, nest.map_structure(lambda x: known[id(x)], outputs)


Model.functional_class = Functional
