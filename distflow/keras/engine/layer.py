"""Layer: a state of weights and a computation, the base of everything that models are made of."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import numpy as np

from distflow.base import dtypes, errors, nest, shapes
from distflow.core.variable import Variable
from distflow.function.autograph import converted
from distflow.keras import constraints, dtype_policy, initializers, regularizers
from distflow.keras.engine import call_context, calling
from distflow.keras.engine.input_spec import InputSpec
from distflow.keras.engine.keras_tensor import SpecTensor, output_specs
from distflow.keras.engine.operation import Operation, has_default_config, uses_init_arguments
from distflow.keras.engine.variable import AGGREGATIONS, LayerVariable, autocast_scope
from distflow.keras.engine.weights import WeightsOfLayer

__all__ = ["InputSpec", "Layer"]


class Layer(WeightsOfLayer, Operation):
    """A computation with weights: `build` makes them, `call` computes.

    Args:
      activity_regularizer: adds a loss computed from the outputs of each call.
      trainable: whether the weights are to be trained.
      dtype: a dtype, or a policy such as "mixed_bfloat16"; default the global policy.
      autocast: whether floating inputs are cast to the compute dtype.
      name: unique name; default dense, dense_1, ... after the class.
      input_shape, batch_input_shape, input_dim, batch_size: the input of a Sequential's first
        layer, as in older Keras.

    A subclass may have `build(input_shape)`, which is called once before the first `call`;
    `call(inputs, ..., training=, mask=)`; `compute_output_shape`; `compute_mask`; `get_config`.
    `training` takes the caller's value, else that of the layer around, else `call`'s default.
    """

    _keras_kind = "layer"
    # Attributes in which weights and layers are not looked for.
    _untracked_attributes: frozenset[str] = frozenset(
        {"_inbound_nodes", "_outbound_nodes", "_auto_config", "_build_shapes"}
    )
    _allow_non_tensor_positional_args = False
    _has_own_build = False

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if "build" in cls.__dict__:
            cls.build = _wrap_build(cls.__dict__["build"])  # type: ignore[method-assign]
            cls._has_own_build = True

    def __init__(
        self,
        *,
        activity_regularizer: Any = None,
        trainable: bool = True,
        dtype: Any = None,
        autocast: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(name=name)
        self._legacy_batch_shape = _legacy_batch_shape(kwargs)
        if kwargs:
            raise ValueError(
                f"Unrecognized keyword arguments passed to {type(self).__name__}: {kwargs}"
            )
        self._own_weights: list[Variable] = []
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.dtype_policy = dtype_policy.get(dtype)
        self.autocast = autocast
        self.supports_masking = type(self).compute_mask is not Layer.compute_mask
        self.input_spec: Any = None
        self.built = False
        self._trainable = bool(trainable)
        self._convert_input_args = True
        self._build_shapes: dict[str, Any] | None = None

    # -- building and calling -----------------------------------------------------------------

    def build(self, input_shape: Any) -> None:
        """Makes the weights for inputs of this shape; called once, before the first `call`."""
        if input_shape is not None:
            self._remember_build_shapes({"input_shape": input_shape})
        self.built = True

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the layer's outputs."""
        raise NotImplementedError(
            f"Layer {type(self).__name__} does not have a `call()` method implemented."
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Builds the layer if need be, and returns its outputs for tensors or arrays."""
        self._check_super_called()
        return calling.call(self, args, kwargs)

    @functools.cached_property
    def _call_signature(self) -> inspect.Signature:
        return inspect.signature(self.call)

    @functools.cached_property
    def _plain_call(self) -> calling.PlainCall | None:
        return calling.plain_call(self._call_signature)

    def __getattr__(self, name: str) -> Any:
        if hasattr(type(self), name):
            # A property that raised AttributeError: say again what it said.
            return object.__getattribute__(self, name)
        raise self._lacking(name)

    def _check_super_called(self) -> None:
        if "_own_weights" not in self.__dict__:
            raise RuntimeError(
                f"In layer '{type(self).__name__}', you forgot to call `super().__init__()` as "
                "the first statement in the `__init__()` method. Go add it!"
            )

    def _remember_build_shapes(self, found: dict[str, Any]) -> None:
        self._build_shapes = dict(found)

    # -- shapes, dtypes, masks -----------------------------------------------------------------

    @property
    def compute_dtype(self) -> str:
        """Name of the dtype of the computation."""
        return self.dtype_policy.compute_dtype

    @property
    def variable_dtype(self) -> str:
        """Name of the dtype of the weights."""
        return self.dtype_policy.variable_dtype

    @property
    def dtype(self) -> str:
        """The same as `variable_dtype`."""
        return self.variable_dtype

    @property
    def input_dtype(self) -> str:
        """Name of the dtype that floating inputs are cast to."""
        return self.compute_dtype

    def compute_output_shape(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the shape of the outputs for an input shape, found by tracing `call`."""
        given = args[0] if args else next(iter(kwargs.values()), None)
        specs = nest.map_structure(lambda s: SpecTensor(s, self.compute_dtype), as_shapes(given))
        found = self.compute_output_spec(specs)
        return nest.map_structure(lambda spec: tuple(spec.shape), found)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Returns SpecTensors (shape and dtype) of the outputs for symbolic arguments."""
        if type(self).compute_output_shape is not Layer.compute_output_shape:
            if not self._has_sublayers_to_build():
                return self._specs_from_shapes(args, kwargs)
        return self._traced_specs(*args, **kwargs)

    def _traced_specs(self, *args: Any, **kwargs: Any) -> Any:
        training = call_context.state.training
        if "training" in self._call_signature.parameters and training is not None:
            kwargs = {**kwargs, "training": training}
        try:
            scope = autocast_scope(self.compute_dtype if self.autocast else None)
            with call_context.layer_scope(self), scope:
                bound = calling.Arguments(self._call_signature, args, kwargs)
                calling.ensure_built(self, bound)
                return output_specs(converted(self.call), *args, **kwargs)
        finally:
            if call_context.state.losses:
                for layer in self._flatten_layers():
                    call_context.drop_losses(layer, SpecTensor)

    def _has_sublayers_to_build(self) -> bool:
        return any(not layer.built for layer in self._layers)

    def _specs_from_shapes(self, args: Any, kwargs: Any) -> Any:
        bound = calling.Arguments(self._call_signature, args, kwargs)
        given = calling.shapes_for(self.compute_output_shape, bound.shapes, self.name)
        found = as_shapes(self.compute_output_shape(**given))
        return nest.map_structure(lambda s: SpecTensor(s, self.compute_dtype), found)

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """Returns the masks of the outputs; by default those of the inputs."""
        return previous_mask

    # -- weights --------------------------------------------------------------------------------

    def add_weight(
        self,
        shape: Any = None,
        initializer: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        autocast: bool = True,
        regularizer: Any = None,
        constraint: Any = None,
        aggregation: str | None = "none",
        overwrite_with_gradient: bool = False,
        name: str | None = None,
    ) -> Any:
        """Returns a new variable of the layer, named "layer/name".

        Args:
          shape: its shape, default a scalar.
          initializer: default GlorotUniform for floats and zeros for others.
          dtype: default the layer's variable dtype.
          trainable: whether it is trained; state such as moving averages is not.
          autocast: whether it is read in the compute dtype inside `call`.
          regularizer: adds a loss of its value to `losses`.
          constraint: applied by the optimizer after each update.
          aggregation: "none", "mean", "sum" or "only_first_replica": how replicas of a strategy
            bring their assignments together.
        """
        self._check_super_called()
        if self.built and self.__dict__.get("_is_building") != "first":
            raise ValueError(
                "You cannot add new elements of state (variables or sub-layers) to a layer that is "
                "already built. All state must be created in the `__init__()` method or in the "
                f"`build()` method. Layer: '{self.name}'"
            )
        dims = () if shape is None else (shape,) if isinstance(shape, int) else tuple(shape)
        if None in dims:
            raise errors.invalid(
                f"add_weight of layer '{self.name}'", "every dimension must be known",
                shapes.text(dims), "Give the layer an input of known size in this dimension.",
            )  # fmt: skip
        if aggregation not in AGGREGATIONS:
            raise errors.invalid("add_weight", f"aggregation among {list(AGGREGATIONS)}",
                                 repr(aggregation))  # fmt: skip
        own = dtypes.as_dtype(self.variable_dtype if dtype is None else dtype)
        if initializer is None:
            initializer = "glorot_uniform" if own.is_floating else "zeros"
        make = initializers.get(initializer)
        with call_context.layer_scope(self):
            variable = LayerVariable(
                lambda: make(dims, dtype=own.name),
                trainable=trainable,
                name=name or _variable_name(self),
                dtype=own,
                constraint=constraints.get(constraint),
                aggregation=AGGREGATIONS[aggregation],
            )
        variable.regularizer = regularizers.get(regularizer)
        variable.autocast = autocast
        variable.overwrite_with_gradient = overwrite_with_gradient
        self._own_weights.append(variable)
        if not self._trainable:
            self._freeze(variable)
        return variable

    # -- losses ---------------------------------------------------------------------------------

    def add_loss(self, loss: Any) -> None:
        """Adds scalars to the losses of this call (a tensor, or a list of them)."""
        for value in nest.flatten(loss):
            if value is not None:
                call_context.state.losses.setdefault(self, []).append(value)

    @property
    def losses(self) -> list[Any]:
        """Losses of the latest call, of this layer and those inside, then of the weights."""
        found: list[Any] = []
        for layer in self._flatten_layers():
            found.extend(v() if callable(v) else v for v in call_context.losses_of(layer))
        for variable in self.trainable_weights:
            regularizer = getattr(variable, "regularizer", None)
            if regularizer is not None:
                found.append(regularizer(variable))
        return found

    def _clear_losses(self) -> None:
        if not call_context.state.losses:
            return
        for layer in self._flatten_layers():
            call_context.state.losses.pop(layer, None)

    # -- configuration --------------------------------------------------------------------------

    @uses_init_arguments
    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs; without an own one, from __init__'s arguments."""
        self._check_super_called()
        config = super().get_config()
        own: dict[str, Any] = {
            "trainable": self.trainable,
            "dtype": dtype_policy.serialize(self.dtype_policy),
        }
        if self.activity_regularizer is not None:
            own["activity_regularizer"] = regularizers.serialize(self.activity_regularizer)
        if has_default_config(type(self)):
            accepted = inspect.signature(type(self).__init__).parameters
            if not any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
                own = {key: value for key, value in own.items() if key in accepted}
        return {**config, **own}

    def get_build_config(self) -> dict[str, Any] | None:
        """Returns the shapes that the layer was built for, or None."""
        found = self._build_shapes
        if found is None:
            return None
        if len(found) == 1:
            return {"input_shape": _plain_shapes(next(iter(found.values())))}
        return {"shapes_dict": {k: _plain_shapes(v) for k, v in found.items()}}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Builds the layer as `get_build_config` says."""
        if config.get("input_shape") is not None:
            self.build(as_shapes(config["input_shape"]))
        elif config.get("shapes_dict"):
            found = {k: as_shapes(v) for k, v in config["shapes_dict"].items()}
            self.build(**calling.shapes_for(self.build, found, self.name))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


def _wrap_build(build: Any) -> Any:
    @functools.wraps(build)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.__dict__.get("_is_building"):
            return build(self, *args, **kwargs)
        self._check_super_called()
        self.__dict__["_is_building"] = "again" if self.built else "first"
        before = len(self._own_weights)
        try:
            with call_context.layer_scope(self):
                result = build(self, *args, **kwargs)
        except BaseException:
            # Another attempt makes them anew.
            del self._own_weights[before:]
            raise
        finally:
            self.__dict__["_is_building"] = ""
        found = inspect.signature(build).bind(self, *args, **kwargs).arguments
        self._remember_build_shapes(dict(list(found.items())[1:]))
        self.built = True
        return result

    return wrapped


def as_shapes(value: Any) -> Any:
    """Returns a shape, or a structure of shapes, with TensorShapes as leaves."""
    if value is None or isinstance(value, shapes.TensorShape):
        return value
    if isinstance(value, dict):
        return {key: as_shapes(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        if all(d is None or isinstance(d, int | np.integer) for d in value):
            return shapes.TensorShape(value)
        return type(value)(as_shapes(v) for v in value)
    return value


def _plain_shapes(value: Any) -> Any:
    """Returns shapes as JSON's lists."""
    if isinstance(value, dict):
        return {key: _plain_shapes(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_shapes(v) for v in value]
    return value


def _variable_name(layer: Layer) -> str:
    taken = sum(1 for v in layer._own_weights if "/variable" in f"/{v.name}")
    return "variable" if not taken else f"variable_{taken}"


def _legacy_batch_shape(kwargs: dict[str, Any]) -> tuple[Any, ...] | None:
    batch_size = kwargs.pop("batch_size", None)
    batch_shape = kwargs.pop("batch_input_shape", None)
    input_shape = kwargs.pop("input_shape", None)
    input_dim = kwargs.pop("input_dim", None)
    if batch_shape is not None:
        return tuple(batch_shape)
    if input_shape is not None:
        dims = (input_shape,) if isinstance(input_shape, int) else tuple(input_shape)
        return (batch_size, *dims)
    return None if input_dim is None else (batch_size, int(input_dim))
