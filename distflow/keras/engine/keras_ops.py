"""Operations of `keras.ops` as nodes of functional models, in Keras 3's names and configurations.

`operation("numpy.Mean", "axis", "keepdims")` makes a function one: with a KerasTensor among its
arguments it becomes a node whose class and configuration are those that Keras 3 writes, so that
files go both ways; with values it just runs. The functions are those of `distflow.keras.ops`.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from distflow.base import dtypes, errors, nest
from distflow.core.tensor import Tensor
from distflow.keras.engine.keras_tensor import HISTORY, KerasTensor, output_specs
from distflow.keras.engine.operation import Operation

MODULE = "keras.src.ops.numpy"
_ROOM = "distflow.keras.ops"
_CLASSES = "distflow.keras.engine.keras_classes"
# Primitives without attributes, and Keras's class for them.
WRITTEN = {
    "add": "Add", "sub": "Subtract", "mul": "Multiply", "div": "TrueDivide", "neg": "Negative",
    "pow": "Power", "abs": "Absolute", "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "tanh": "Tanh",
    "sin": "Sin", "cos": "Cos", "max": "Maximum", "min": "Minimum", "eq": "Equal",
    "ne": "NotEqual", "lt": "Less", "le": "LessEqual", "gt": "Greater", "ge": "GreaterEqual",
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """One operation: its file and class in Keras, the function, and which arguments it keeps."""

    module: str
    name: str
    function: Callable[..., Any]
    attributes: tuple[str, ...]
    signature: inspect.Signature


# Keras's class -> what it is; filled by the files of `keras.ops`.
TABLE: dict[str, Kind] = {}


def operation(kind: str, *attributes: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates a function as the operation `file.Class` of Keras 3.

    Args:
      attributes: parameters that are part of the configuration; the others are tensors.
    """
    module, name = kind.split(".")

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        entry = Kind(module, name, function, attributes, inspect.signature(function))
        TABLE[name] = entry

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            if is_symbolic(args) or (kwargs and is_symbolic(kwargs)):
                return _note(entry, args, kwargs)
            return function(*args, **kwargs)

        return called

    return decorate


def is_symbolic(value: Any) -> bool:
    """Whether a KerasTensor is among the values of a structure."""
    if isinstance(value, Tensor):
        return isinstance(value, KerasTensor)
    if isinstance(value, list | tuple):
        return any(map(is_symbolic, value))
    return isinstance(value, dict) and any(map(is_symbolic, value.values()))


def _note(kind: Kind, args: Any, kwargs: Any) -> Any:
    """Returns KerasTensors, as outputs of a new node."""
    bound = kind.signature.bind(*args, **kwargs)
    bound.apply_defaults()
    config: dict[str, Any] = {}
    inputs: list[Any] = []
    named: dict[str, Any] = {}
    for name, parameter in kind.signature.parameters.items():
        value = bound.arguments[name]
        if name in kind.attributes:
            config[name] = value.name if isinstance(value, dtypes.DType) else value
        elif parameter.kind is parameter.VAR_POSITIONAL:
            inputs.extend(value)
        elif parameter.default is parameter.empty and not named:
            inputs.append(value)
        elif value is not parameter.default:
            named[name] = value
    return class_of(kind.name)(**config)(*inputs, **named)


class KerasOp(Operation):
    """A node of one operation; `kind` is its class in Keras, `config` its arguments."""

    kind = ""

    def __init__(self, name: str | None = None, **config: Any):
        super().__init__(name=name)
        self.config = config

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the operation's output: a value, or a KerasTensor for symbolic inputs."""
        if any(isinstance(x, KerasTensor) for x in nest.flatten((args, kwargs))):
            return self._note_call(args, kwargs, output_specs(self._run, *args, **kwargs))
        return self._run(*args, **kwargs)

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        kind = TABLE[self.kind]
        rest = iter(args)
        return kind.function(*_positional(kind, rest, kwargs, self.config), **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Returns the name and the arguments."""
        return {"name": self.name, **self.config}

    def describe(self) -> dict[str, Any]:
        """Returns the description in Keras 3's form."""
        return {
            "module": f"keras.src.ops.{TABLE[self.kind].module}",
            "class_name": self.kind,
            "config": self.get_config(),
            "registered_name": self.kind,
        }


def _positional(kind: Kind, rest: Iterator[Any], kwargs: Any, config: Any) -> list[Any]:
    """The arguments by position, up to the first that neither a node nor its config has."""
    found: list[Any] = []
    for name, parameter in kind.signature.parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            found.extend(rest)
        elif parameter.kind is parameter.VAR_KEYWORD:
            continue
        elif name in config:
            value = config[name]
            if parameter.kind is parameter.KEYWORD_ONLY:
                kwargs[name] = value
            else:
                found.append(value)
        elif name in kwargs:
            found.append(kwargs.pop(name))
        else:
            try:
                found.append(next(rest))
            except StopIteration:
                if parameter.default is parameter.empty:
                    raise TypeError(f"{kind.name}: missing the argument {name!r}") from None
                found.append(parameter.default)
    return found


_classes: dict[str, type[KerasOp]] = {}


def class_of(name: str) -> type[KerasOp]:
    """Returns the class of an operation by Keras's name.

    Raises:
      UnimplementedError: if the operation is not known here.
    """
    if not knows(name):
        raise errors.UnimplementedError(
            f"load_model: expected an operation of keras.ops that is there; received {name}.\n"
            "Put the computation into a layer of your own before saving."
        )
    if name not in _classes:
        _classes[name] = type(name, (KerasOp,), {"kind": name, "__module__": _CLASSES})
    return _classes[name]


def knows(name: str) -> bool:
    """Whether an operation of Keras 3 has a class here."""
    importlib.import_module(_ROOM)
    return name in TABLE


def _index(tensor: KerasTensor, key: Any) -> Any:
    if is_symbolic(key):
        return Tensor.__getitem__(tensor, key)
    return class_of("GetItem")()(tensor, key)


HISTORY.index = _index
