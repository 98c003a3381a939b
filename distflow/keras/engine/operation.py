"""Operation: something with a name, a configuration and symbolic calls; the base of Layer."""

from __future__ import annotations

import inspect
from typing import Any

from distflow.base import nest
from distflow.keras import dtype_policy, serialization
from distflow.keras.engine import naming
from distflow.keras.engine.keras_tensor import KerasTensor
from distflow.keras.engine.node import Node

_NO_CONFIG = """Object {name} was created by passing non-serializable argument values in \
`__init__()`, and therefore the object must override `get_config()` in order to be serializable. \
Please implement `get_config()`.

Example:

class CustomLayer(keras.layers.Layer):
    def __init__(self, arg1, **kwargs):
        super().__init__(**kwargs)
        self.arg1 = arg1

    def get_config(self):
        config = super().get_config()
        config.update({{"arg1": self.arg1}})
        return config
"""


class Operation:
    """Has a unique name, the nodes of its symbolic calls, and a serialisable configuration."""

    # The arguments of __init__, if they can all be serialised; None if they cannot.
    _auto_config: dict[str, Any] | None

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Notes the constructor's arguments, from which a default `get_config` is made."""
        instance = super().__new__(cls)
        instance.__dict__["_auto_config"] = _constructor_arguments(cls, instance, args, kwargs)
        return instance

    def __init__(self, name: str | None = None):
        if name is None:
            name = naming.auto_name(naming.of_class(type(self)))
        if not isinstance(name, str) or "/" in name:
            raise ValueError(
                "Argument `name` must be a string and cannot contain character `/`. "
                f"Received: name={name} (of type {type(name)})"
            )
        self.name = name
        self._inbound_nodes: list[Node] = []
        self._outbound_nodes: list[Node] = []

    def _note_call(self, args: tuple[Any, ...], kwargs: dict[str, Any], specs: Any) -> Any:
        """Returns KerasTensors of the specs' shapes, as outputs of a new node."""
        outputs = nest.map_structure(
            lambda spec: None if spec is None else KerasTensor(spec.shape, spec.dtype), specs
        )
        Node(self, args, kwargs, outputs)
        return outputs

    @property
    def input(self) -> Any:
        """The symbolic input of the only call."""
        return self._arguments_of_only_call("input")

    @property
    def output(self) -> Any:
        """The symbolic output of the only call."""
        self._arguments_of_only_call("output")
        return self._inbound_nodes[0].output_structure

    def _arguments_of_only_call(self, what: str) -> Any:
        if not self._inbound_nodes:
            raise AttributeError(
                f"The layer {self.name} has never been called and thus has no defined {what}."
            )
        if len(self._inbound_nodes) > 1:
            raise AttributeError(
                f"The layer {self.name} has multiple inbound nodes with different {what}s. Hence "
                f"the notion of 'layer {what}' is ill-defined."
            )
        inputs = self._inbound_nodes[0].input_tensors
        args = self._inbound_nodes[0].args
        if args:
            return args[0]
        return inputs[0] if len(inputs) == 1 else inputs

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs: for a class without its own, __init__'s arguments.

        Raises:
          NotImplementedError: if an argument cannot be serialised.
        """
        config: dict[str, Any] = {"name": self.name}
        if not has_default_config(type(self)):
            return config
        if self._auto_config is None:
            raise NotImplementedError(_NO_CONFIG.format(name=type(self).__name__))
        given = dict(self._auto_config)
        return {**given, "name": self.name} if "name" in given or _takes_name(self) else given

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Returns an object of this class from `get_config`'s result.

        Raises:
          TypeError: if the constructor does not accept the configuration.
        """
        config = dict(config)
        if isinstance(config.get("dtype"), dict):
            config["dtype"] = dtype_policy.get(config["dtype"])
        try:
            return cls(**config)
        except TypeError as error:
            raise TypeError(
                f"Error when deserializing class '{cls.__name__}' using config={config}.\n\n"
                f"Exception encountered: {error}"
            ) from error

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"


_DEFAULT_GET_CONFIG: set[Any] = {Operation.get_config}


def uses_init_arguments(method: Any) -> Any:
    """Marks a base class's get_config as one that still takes over __init__'s arguments."""
    _DEFAULT_GET_CONFIG.add(method)
    return method


def has_default_config(cls: type) -> bool:
    """Whether a class has no get_config of its own, so that __init__'s arguments stand for it."""
    return getattr(cls, "get_config", None) in _DEFAULT_GET_CONFIG


def _takes_name(operation: Operation) -> bool:
    parameters = inspect.signature(type(operation).__init__).parameters
    return "name" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _constructor_arguments(
    cls: type, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any] | None:
    """Returns the arguments by name, serialised; None where one cannot be serialised."""
    signature = inspect.signature(cls.__init__)  # type: ignore[misc]
    try:
        bound = signature.bind(instance, *args, **kwargs)
    except TypeError:
        return None  # the constructor itself will say what is wrong
    given: dict[str, Any] = {}
    for name, value in list(bound.arguments.items())[1:]:
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            return None
        given.update(value if kind is inspect.Parameter.VAR_KEYWORD else {name: value})
    if not all(_is_plain(value) for value in given.values()):
        return None
    return {name: serialization.serialize_keras_object(value) for name, value in given.items()}


def _is_plain(value: Any) -> bool:
    """Whether a default get_config may keep a value: JSON's types and Keras objects."""
    if value is None or isinstance(value, bool | int | float | str):
        return True
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(k, str) for k in value) and all(map(_is_plain, value.values()))
    return callable(getattr(value, "get_config", None)) and not isinstance(value, type)
