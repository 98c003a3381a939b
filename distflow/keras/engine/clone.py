"""clone_model: the same architecture with new weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from distflow.base import nest
from distflow.keras.engine.functional import Functional
from distflow.keras.engine.input_layer import Input, InputLayer
from distflow.keras.engine.node import maker
from distflow.keras.engine.sequential import Sequential


def clone_model(
    model: Any,
    input_tensors: Any = None,
    clone_function: Callable[[Any], Any] | None = None,
    call_function: Callable[..., Any] | None = None,
    recursive: bool = False,
) -> Any:
    """Returns a model of the same architecture, whose weights are new; compiled if `model` is.

    Args:
      model: Sequential, functional, or a subclass with `get_config`.
      input_tensors: KerasTensors to build a functional clone on.
      clone_function: makes the new layer for each layer; default a copy by its config.
      call_function: calls each new layer of a functional model: (layer, *args, **kwargs).
      recursive: whether models inside are cloned layer by layer, too.

    Raises:
      ValueError: if a subclassed model is to be cloned with arguments that need a layer graph, or
        a Sequential with `call_function`.
    """
    copy = clone_function or copy_of
    if recursive:
        copy = _recursive(copy, call_function)
    if isinstance(model, Sequential):
        if call_function is not None:
            raise ValueError(
                "`call_function` argument is not supported with Sequential models. In a Sequential "
                "model, layers aren't called at model-construction time (they're merely listed). "
                f"Use `call_function` with Functional models only. Received model of type "
                f"'{type(model).__name__}', with call_function={call_function}"
            )
        return _compiled_as(model, _clone_sequential(model, input_tensors, copy))
    if isinstance(model, Functional):
        clone = _clone_functional(model, input_tensors, copy, call_function or _call)
        return _compiled_as(model, clone)
    for name, value in (("clone_function", clone_function), ("input_tensors", input_tensors),
                        ("call_function", call_function), ("recursive", recursive)):  # fmt: skip
        if value:
            raise ValueError(
                f"Arguments clone_function, input_tensors, call_function and recursive are only "
                f"supported for Sequential models or Functional models. Received model of type "
                f"'{type(model).__name__}', with {name}={value}"
            )
    return type(model).from_config(model.get_config())


def _compiled_as(model: Any, clone: Any) -> Any:
    if model.compiled:
        with warnings.catch_warnings():
            # It says that the arguments cannot be saved, which nobody has asked for.
            warnings.simplefilter("ignore")
            config = model.get_compile_config()
        if config is not None:
            clone.compile_from_config(config)
    return clone


def _recursive(copy: Callable[[Any], Any], call_function: Any) -> Callable[[Any], Any]:
    def run(layer: Any) -> Any:
        if isinstance(layer, Functional):
            return _clone_functional(layer, None, run, call_function or _call)
        return _clone_sequential(layer, None, run) if isinstance(layer, Sequential) else copy(layer)

    return run


def _call(layer: Any, *args: Any, **kwargs: Any) -> Any:
    return layer(*args, **kwargs)


def copy_of(layer: Any) -> Any:
    """Returns a new layer of the same configuration."""
    return type(layer).from_config(layer.get_config())


def _clone_sequential(model: Sequential, input_tensors: Any, copy: Callable[[Any], Any]) -> Any:
    clone = Sequential(name=model.name, trainable=model.trainable)
    if input_tensors is not None:
        clone.add(nest.flatten(input_tensors)[0])
    elif model._input_layer is not None:
        clone.add(copy_of(model._input_layer))
    for layer in model.layers:
        clone.add(copy(layer))
    return clone


def _clone_functional(
    model: Functional, input_tensors: Any, copy: Callable[[Any], Any], call: Callable[..., Any]
) -> Any:
    given = nest.flatten(input_tensors) if input_tensors is not None else [None] * 99
    known: dict[int, Any] = {}
    for x, tensor in zip(model.inputs, given):
        name = maker(x).operation.name
        known[id(x)] = tensor if tensor is not None else Input(
            batch_shape=tuple(x.shape), dtype=x.dtype, name=name
        )  # fmt: skip
    inputs = nest.map_structure(lambda x: known[id(x)], model.input)
    copies: dict[int, Any] = {}
    for node in model._order.nodes:
        operation = node.operation
        if isinstance(operation, InputLayer):
            continue
        if id(operation) not in copies:
            is_layer = hasattr(operation, "weights")
            copies[id(operation)] = copy(operation) if is_layer else copy_of(operation)
        args, kwargs = node.fill(known)
        results = nest.flatten(call(copies[id(operation)], *args, **kwargs))
        known.update({id(x): result for x, result in zip(node.outputs, results)})
    outputs = nest.map_structure(lambda x: known[id(x)], model.output)
    made = type(model) if "__init__" not in vars(type(model)) else Functional
    return made(inputs, outputs, name=model.name)
