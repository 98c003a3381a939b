"""Sequential: a stack of layers, each with one input and one output."""

from __future__ import annotations

from typing import Any

from distflow.base import dtypes, shapes
from distflow.keras import dtype_policy, registry, serialization
from distflow.keras.engine import calling
from distflow.keras.engine.functional import fitted
from distflow.keras.engine.input_layer import InputLayer
from distflow.keras.engine.keras_tensor import KerasTensor, NoValueError
from distflow.keras.engine.layer import Layer, as_shapes
from distflow.keras.engine.model import Model
from distflow.keras.engine.node import maker


class Sequential(Model):
    """A model that calls one layer after the other.

    Args:
      layers: list of layers; an Input, or `input_shape=` of the first layer, builds the model at
        once. Otherwise it is built by `build(input_shape)` or by the first call.
      trainable, name: as of every layer.
    """

    _untracked_attributes = Model._untracked_attributes | {"_inputs", "_outputs", "_input_layer"}

    def __init__(self, layers: Any = None, trainable: bool = True, name: str | None = None):
        super().__init__(trainable=trainable, name=name)
        self._stack: list[Any] = []
        self._input_layer: InputLayer | None = None
        self._outputs: KerasTensor | None = None
        self.autocast = False
        self._allow_non_tensor_positional_args = True  # type: ignore[misc]
        for layer in layers if isinstance(layers, list | tuple) else [layers] if layers else []:
            self.add(layer)

    def add(self, layer: Any, rebuild: bool = True) -> None:
        """Puts a layer on top of the stack.

        Raises:
          ValueError: for something that is not a layer, an input that is not first, or a layer
            whose name is taken.
        """
        if isinstance(layer, KerasTensor) and isinstance(maker(layer).operation, InputLayer):
            layer = maker(layer).operation
        if not isinstance(layer, Layer):
            raise ValueError(
                "Only instances of `keras.Layer` can be added to a Sequential model. Received: "
                f"{layer} (of type {type(layer)})"
            )
        if any(layer.name == other.name for other in self._stack):
            raise ValueError(
                "All layers added to a Sequential model should have unique names. Name "
                f"'{layer.name}' is already the name of a layer in this model. Update the `name` "
                "argument to pass a unique name."
            )
        if isinstance(layer, InputLayer):
            if self._input_layer is not None or self._stack:
                raise ValueError(
                    f"Sequential model '{self.name}' has its input already. You cannot add a "
                    "different Input layer to it."
                )
            self._start(layer)
            return
        if not self._stack and self._input_layer is None:
            self._start_from(layer)
        self._stack.append(layer)
        if self._outputs is not None:
            with calling.call_context.layer_scope(self):
                self._outputs = layer(self._outputs)
            self.built = True

    def _start_from(self, layer: Any) -> None:
        """Makes the Input that the first layer asks for by `input_shape`, or brings with it."""
        if layer._legacy_batch_shape is not None:
            dtype = layer.compute_dtype
            self._start(InputLayer(batch_shape=layer._legacy_batch_shape, dtype=dtype))
        else:
            inputs = getattr(layer, "inputs", None)
            if isinstance(layer, Model) and isinstance(inputs, list) and len(inputs) == 1:
                x = inputs[0]
                self._start(InputLayer(batch_shape=tuple(x.shape), dtype=x.dtype))

    def _start(self, layer: InputLayer) -> None:
        self._input_layer = layer
        self._outputs = layer.output
        self._remember_build_shapes({"input_shape": layer.batch_shape})

    def pop(self, rebuild: bool = True) -> Any:
        """Takes the top layer away and returns it."""
        layer = self._stack.pop()
        if self._outputs is not None:
            self._outputs = maker(self._outputs).input_tensors[0]
        if not self._stack:
            self.built = False
        return layer

    def build(self, input_shape: Any = None) -> None:
        """Builds all layers for inputs of this shape.

        Raises:
          ValueError: if there are no layers, or no shape is known.
        """
        if not self._stack:
            raise ValueError(
                f"Sequential model {self.name} cannot be built because it has no layers. Call "
                "`model.add(layer)`."
            )
        if self._outputs is not None or self.built:
            return
        if input_shape is None:
            raise ValueError("You must provide an `input_shape` argument.")
        input_shape = as_shapes(input_shape)
        if isinstance(input_shape, shapes.TensorShape):
            self._build_symbolically(tuple(input_shape), self._stack[0].compute_dtype)

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Returns the top layer's output; the first call builds the layers."""
        if not self.built and self._stack and hasattr(inputs, "shape"):
            own = dtypes.as_dtype(inputs.dtype)
            self._remember_build_shapes({"input_shape": (None, *tuple(inputs.shape)[1:])})
            with calling.call_context.layer_scope(self):
                self._build_symbolically(
                    (None, *tuple(inputs.shape)[1:]),
                    self._stack[0].compute_dtype if own.is_floating else own,
                )
            self.built = True
        return super().__call__(inputs, *args, **kwargs)

    def _build_symbolically(self, batch_shape: tuple[Any, ...], dtype: Any) -> None:
        """Calls all layers symbolically; those that cannot are built by the first call."""
        start = InputLayer(batch_shape=batch_shape, dtype=dtype)
        x = start.output
        counts = [len(layer._inbound_nodes) for layer in self._stack]
        try:
            for layer in self._stack:
                x = layer(x)
                if not isinstance(x, KerasTensor):
                    break
        except (NotImplementedError, NoValueError):
            for layer, count in zip(self._stack, counts):
                del layer._inbound_nodes[count:]
            return
        self._input_layer, self._outputs = start, x

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Returns the top layer's output."""
        x = inputs
        if self._input_layer is not None:
            x = fitted(x, self._input_layer.output) if not isinstance(x, dict | list) else x
        if mask is not None:
            calling.set_mask(x, mask)
        for layer in self._stack:
            x = layer(x)
        return x

    def compute_mask(self, inputs: Any, previous_mask: Any) -> None:
        """Returns None: the layers inside have attached the outputs' masks."""

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of the outputs for an input shape."""
        return Layer.compute_output_shape(self, input_shape)

    def compute_output_spec(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """Returns the SpecTensor of the output for a symbolic input."""
        return self._traced_specs(inputs)

    @property
    def layers(self) -> list[Any]:
        """The layers, without the Input."""
        return list(self._stack)

    @property
    def _layers(self) -> list[Any]:
        first = [self._input_layer] if self._input_layer is not None else []
        return [*first, *super()._layers]

    def _layers_to_save(self) -> list[Any]:
        return self.layers

    @property
    def operations(self) -> list[Any]:
        """The Input, if there is one, and the layers."""
        return self._layers

    def _symbolic(self, what: str) -> Any:
        if self._outputs is None or self._input_layer is None:
            raise AttributeError(
                f"Sequential model '{self.name}' has no defined {what}s yet. Give its first layer "
                "an Input, or call `build(input_shape)`."
            )
        return self._input_layer.output if what == "input" else self._outputs

    @property
    def input(self) -> Any:
        """The symbolic input."""
        return self._symbolic("input")

    @property
    def output(self) -> Any:
        """The symbolic output."""
        return self._symbolic("output")

    @property
    def inputs(self) -> list[KerasTensor] | None:
        """The symbolic input in a list; None before it is known."""
        return None if self._outputs is None else [self.input]

    @property
    def outputs(self) -> list[KerasTensor] | None:
        """The symbolic output in a list; None before it is known."""
        return None if self._outputs is None else [self.output]

    @property
    def input_shape(self) -> Any:
        """The shape of the input."""
        return tuple(self.input.shape)

    @property
    def output_shape(self) -> Any:
        """The shape of the output."""
        return tuple(self.output.shape)

    @property
    def input_dtype(self) -> str:
        """Name of the dtype of the input."""
        if self._input_layer is not None:
            return self._input_layer.dtype
        return super().input_dtype

    def get_config(self) -> dict[str, Any]:
        """Returns the layers' descriptions in Keras 3's format."""
        config: dict[str, Any] = {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": dtype_policy.serialize(self.dtype_policy),
            "layers": [serialization.serialize_keras_object(layer) for layer in self._layers],
        }
        if self._input_layer is not None:
            config["build_input_shape"] = list(self._input_layer.batch_shape)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Returns the model of a configuration."""
        model = cls(name=config.get("name"))
        with registry.custom_object_scope(custom_objects or {}):
            for described in config["layers"]:
                model.add(serialization.deserialize_keras_object(described))
        shape = config.get("build_input_shape")
        if shape and not model.built and model._stack:
            model.build(shape)
        if config.get("trainable") is False:
            model.trainable = False
        return model
