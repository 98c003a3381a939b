"""Model: a layer that is trained, saved and shown as a whole."""

from __future__ import annotations

import inspect
import json
import warnings
from typing import Any, ClassVar

from distflow.base import errors, nest
from distflow.keras import serialization
from distflow.keras.engine import functional_config
from distflow.keras.engine.keras_tensor import KerasTensor, SpecTensor
from distflow.keras.engine.layer import Layer, as_shapes
from distflow.keras.engine.summary import print_summary
from distflow.keras.quantizers import configs
from distflow.keras.saving import archive, loading, weights_file
from distflow.keras.training.trainer import Trainer


class Model(Trainer, Layer):
    """Layers with training, saving and a summary.

    Three ways to make one: `Model(inputs, outputs)` from symbolic tensors, a Sequential, or a
    subclass with layers as attributes and `call`. A subclass is built by its first call, or by
    `build(input_shape)`.
    """

    layer_class: ClassVar[type[Layer]] = Layer
    # Set by `functional`, which stands above this file.
    functional_class: ClassVar[Any] = None
    _untracked_attributes = (
        Layer._untracked_attributes
        | frozenset({"optimizer", "loss"})
        | getattr(Trainer, "_untracked_attributes", frozenset())
    )

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Returns a Functional for `Model(inputs, outputs)`."""
        if cls is Model and _is_functional(args, kwargs):
            return cls.functional_class.__new__(cls.functional_class, *args, **kwargs)
        return super().__new__(cls, *args, **kwargs)

    def __init__(self, *args: Any, **kwargs: Any):
        if type(self) is not self.functional_class and _is_functional(args, kwargs):
            _make_functional(type(self), self.functional_class)
            self.functional_class.__init__(self, *args, **kwargs)
            return
        if args:
            raise errors.invalid(
                "Model", "inputs and outputs, or no positional arguments", repr(args)
            )
        Trainer.__init__(self)
        Layer.__init__(self, **kwargs)

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the model's outputs."""
        raise NotImplementedError(
            f"Model {type(self).__name__} does not have a `call()` method implemented."
        )

    # -- building ------------------------------------------------------------------------------

    def build(self, input_shape: Any = None) -> None:
        """Makes the weights of all layers by tracing `call` with inputs of this shape.

        Raises:
          ValueError: if `call` does not work with floating inputs of this shape.
        """
        if type(self).build is not Model.build or input_shape is None:
            self.built = True
            return
        specs = nest.map_structure(
            lambda shape: SpecTensor(shape, self.compute_dtype), as_shapes(input_shape)
        )
        try:
            self._traced_specs(specs)
        except (NotImplementedError, TypeError, ValueError) as error:
            raise ValueError(
                f"Model '{self.name}' cannot be built by calling `build({input_shape})`: its "
                f"`call()` failed for symbolic inputs of this shape with {type(error).__name__}: "
                f"{error}\nCall the model on real data instead."
            ) from error
        self.built = True

    @property
    def layers(self) -> list[Any]:
        """The layers of this model, without those inside them."""
        return list(self._flatten_layers(include_self=False, recursive=False))

    def get_layer(self, name: str | None = None, index: int | None = None) -> Any:
        """Returns a layer by name or by index.

        Raises:
          ValueError: if there is none.
        """
        if (name is None) == (index is None):
            raise ValueError("Provide either a layer name or layer index at `get_layer`.")
        if index is not None:
            if not 0 <= index < len(self.layers):
                raise ValueError(
                    f"Was asked to retrieve layer at index {index} but model only has "
                    f"{len(self.layers)} layers."
                )
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ValueError(
            f"No such layer: {name}. Existing layers are: {[x.name for x in self.layers]}."
        )

    def summary(
        self,
        line_length: int | None = None,
        positions: Any = None,
        print_fn: Any = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: Any = None,
    ) -> None:
        """Prints the table of layers, output shapes and numbers of parameters.

        Args:
          line_length: width of the table.
          positions: the columns' right ends, as fractions of the width or in characters.
          print_fn: takes the text instead of standard output.
          expand_nested: whether layers of models inside are listed as well.
          show_trainable: whether there is a column that says what is trained.
          layer_range: [first, last] layer names (or patterns) to show.
        """
        print_summary(
            self, line_length=line_length, positions=positions, print_fn=print_fn,
            expand_nested=expand_nested, show_trainable=show_trainable, layer_range=layer_range,
        )  # fmt: skip

    # -- saving --------------------------------------------------------------------------------

    def save(self, filepath: Any, overwrite: bool = True, zipped: bool | None = None) -> None:
        """Saves architecture, weights and optimizer as a `.keras` file.

        Raises:
          ValueError: for another extension.
          AlreadyExistsError: if the file is there and `overwrite` is False.
        """
        archive.save_model(self, filepath, overwrite=overwrite, zipped=zipped)

    def save_weights(self, filepath: Any, overwrite: bool = True) -> None:
        """Saves the weights in a `.weights.h5` file; a failed save leaves an older file.

        Raises:
          ValueError: for another extension, or a model that has not been built.
        """
        weights_file.save_weights(self, filepath, overwrite=overwrite)

    def load_weights(self, filepath: Any, skip_mismatch: bool = False, **kwargs: Any) -> None:
        """Loads the weights of a `.weights.h5` (or `.keras`) file; layers go by their place.

        Args:
          skip_mismatch: warn about layers that do not fit, instead of raising an error.
          by_name: for a legacy `.h5` file: layers go by their names instead of their order.

        Raises:
          ValueError: for missing files, unbuilt models, other numbers or shapes of weights.
        """
        loading.load_weights(self, filepath, skip_mismatch=skip_mismatch, **kwargs)

    def export(self, filepath: Any, format: str = "tf_saved_model", **kwargs: Any) -> None:
        """Refuses: there is no format here that another program could run."""
        raise errors.UnimplementedError(
            f"Model.export: expected a format that is there; received {format!r}. SavedModel "
            "and ONNX are not there yet.\nSave a `.keras` file by `model.save`, which Keras reads."
        )

    def quantize(self, mode: Any = None, config: Any = None, filters: Any = None,
                 type_check: bool = True) -> None:  # fmt: skip
        """Makes the weights of dense layers and of embeddings integers of eight bits.

        Args:
          mode: "int8".
          config: `keras.quantizers.Int8QuantizationConfig`; the default rounds inputs, too.
          filters: which layers: a regular expression of names, several, or a function of a layer.
          type_check: whether classes derived from these layers are left as they are.

        Raises:
          ValueError: for other modes or filters, or weights that are integers already.
        """
        wanted = configs.filtered(filters)
        configs.resolve("Model.quantize", mode, config)
        try:
            for layer in list(self._flatten_layers()):
                if not layer._layers and hasattr(layer, "quantize") and wanted(layer):
                    try:
                        layer.quantize(mode, type_check=type_check, config=config)
                    except NotImplementedError as error:
                        warnings.warn(str(error), stacklevel=2)
        finally:
            # What is compiled holds the old weights, also if a later layer refuses.
            self._runners.clear()

    def _serialized_compile_config(self) -> dict[str, Any] | None:
        """Returns the arguments of `compile` for a file; None where one cannot be written."""
        given = {**self._compile_config, "optimizer": self.optimizer}
        try:
            return {k: serialization.serialize_keras_object(v) for k, v in given.items()}
        except (TypeError, NotImplementedError) as error:
            warnings.warn(
                f"The arguments of compile() of model '{self.name}' are not saved, so that the "
                f"loaded model must be compiled again: {error}",
                stacklevel=2,
            )
            return None

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles the model with what `get_compile_config` returned.

        A class with a `compile` of its own defines this, too: what its arguments were is not
        known here, so the model stays uncompiled, with a warning.
        """
        if type(self).compile is not Trainer.compile:
            warnings.warn(
                "`compile()` was not called as part of model loading because the model's "
                "`compile()` method is custom. All subclassed Models that have `compile()` "
                "overridden should also override `get_compile_config()` and "
                "`compile_from_config(config)`. Alternatively, you can call `compile()` manually "
                "after loading.",
                stacklevel=2,
            )
            return
        self._compile_by(config)

    def _compile_by(self, config: dict[str, Any]) -> None:
        """Calls `compile` with the arguments of a description."""
        accepted = inspect.signature(Trainer.compile).parameters
        given = {k: serialization.deserialize_keras_object(v) for k, v in config.items()}
        self.compile(**{k: v for k, v in given.items() if k in accepted})
        if self.built and self.optimizer is not None and not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)

    def to_json(self, **kwargs: Any) -> str:
        """Returns the architecture as JSON, for `model_from_json`."""
        return json.dumps(serialization.serialize_keras_object(self), **kwargs)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Returns a model from `get_config`'s result."""
        if {"layers", "input_layers", "output_layers"} <= set(config):
            made = cls.functional_class if cls is Model else cls
            return functional_config.from_config(made, config, custom_objects)
        return super().from_config(config)


# A subclass without `build` is built by running its first call, not by tracing it.
Model._has_own_build = False


def _is_functional(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    if len(args) == 1 and "outputs" in kwargs:
        return True
    if len(args) >= 2:
        return True
    if "inputs" in kwargs and "outputs" in kwargs:
        return True
    return len(args) == 1 and isinstance(nest.flatten(args)[0], KerasTensor)


def _make_functional(cls: type, functional: type) -> None:
    """Gives a user's subclass of Model the base Functional instead, as its arguments ask for."""
    if functional in cls.__mro__:
        return
    for base in cls.__bases__:
        if base is not Model and issubclass(base, Model):
            _make_functional(base, functional)
            return
    cls.__bases__ = tuple(functional if base is Model else base for base in cls.__bases__)


def model_from_json(json_string: str, custom_objects: Any = None) -> Any:
    """Returns a model (without weights) from `Model.to_json`'s result."""
    return serialization.deserialize_keras_object(json.loads(json_string), custom_objects)
