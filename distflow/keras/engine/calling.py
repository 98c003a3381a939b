"""What happens when a layer is called: from raw arguments to outputs with masks and losses."""

from __future__ import annotations

import inspect
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from distflow.base import dtypes, nest, shapes
from distflow.core import context
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import EagerTensor, Tensor
from distflow.core.variable import Variable
from distflow.function.autograph import convert_user_code
from distflow.keras.engine import call_context
from distflow.keras.engine.input_spec import check_inputs
from distflow.keras.engine.keras_tensor import KerasTensor, output_specs
from distflow.keras.engine.variable import autocast_scope
from distflow.ops import dims, math
from distflow.ops.prims.elementwise import cast


def call(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Returns the outputs of a layer: values, or KerasTensors where a KerasTensor comes in."""
    if len(args) == 1 and type(args[0]) is EagerTensor and layer.built:
        plain = layer._plain_call
        if plain is not None and kwargs.keys() <= _TRAINING and mask_of(args[0]) is None:
            if not context.state.interpreters:
                return _call_plainly(layer, plain, args[0], kwargs.get("training"))
    args, kwargs = convert_arguments(layer, args, kwargs)
    if not layer._allow_non_tensor_positional_args:
        _check_positional(args)
    signature = layer._call_signature
    has_training = "training" in signature.parameters
    explicit = kwargs.get("training") if has_training else kwargs.pop("training", None)
    bound = Arguments(signature, args, kwargs)
    check_inputs(layer.input_spec, bound.first, layer.name)
    symbolic = any(isinstance(x, KerasTensor) for x in nest.flatten((args, kwargs)))
    training = _training(explicit, signature)
    if call_context.state.depth == 0:
        layer._clear_losses()
    with call_context.layer_scope(layer), call_context.calling(training):
        ensure_built(layer, bound)
        if symbolic:
            return _symbolic(layer, args, kwargs)
        if has_training and training is not None:
            kwargs["training"] = training
        masks = _hand_in_masks(bound, kwargs)
        with autocast_scope(layer.compute_dtype if layer.autocast else None):
            outputs = convert_user_code(layer.call)(*args, **kwargs)
        _regularize_activity(layer, outputs)
    _hand_out_masks(layer, bound.first, outputs, masks)
    return outputs


_TRAINING = frozenset({"training"})


@dataclass(frozen=True)
class PlainCall:
    """What `call` of a layer is like, if one tensor is all that it needs."""

    takes_training: bool
    training: Any  # its default


def plain_call(signature: inspect.Signature) -> PlainCall | None:
    """Returns how to call a layer with one tensor by the short way; None: there is none."""
    parameters = list(signature.parameters.values())
    if not parameters or parameters[0].name == "training":
        return None
    if parameters[0].kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD:
        return None
    if any(
        p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        for p in parameters[1:]
    ):
        return None
    training = signature.parameters.get("training")
    return PlainCall(training is not None, None if training is None else training.default)


def _call_plainly(layer: Any, plain: PlainCall, x: Any, explicit: Any) -> Any:
    """The call of a built layer with one eager tensor without a mask: what `call` does, shorter."""
    target = dtypes.as_dtype(layer.compute_dtype)
    if layer._convert_input_args and layer.autocast:
        if x.dtype is not target and target.is_floating and x.dtype.is_floating:
            x = cast(x, dtype=target)
    if layer.input_spec is not None:
        check_inputs(layer.input_spec, x, layer.name)
    state = call_context.state
    training = state.training if explicit is None else explicit
    if training is None:
        training = plain.training
    if state.depth == 0:
        layer._clear_losses()
    with call_context.layer_scope(layer), call_context.calling(training):
        with autocast_scope(target if layer.autocast else None):
            if plain.takes_training and training is not None:
                outputs = layer.call(x, training=training)
            else:
                outputs = layer.call(x)
        _regularize_activity(layer, outputs)
    if layer.supports_masking:
        _hand_out_masks(layer, x, outputs, None)
    return outputs


def _symbolic(layer: Any, args: Any, kwargs: Any) -> Any:
    """Returns KerasTensors, with masks where the layer hands them on, as outputs of a new node."""
    # The cast to the compute dtype is the layer's own; it is no node of the model.
    spec_args, spec_kwargs = output_specs(convert_arguments, layer, args, kwargs)
    bound = Arguments(layer._call_signature, spec_args, spec_kwargs)
    masks = _hand_in_masks(bound, spec_kwargs)
    specs = layer.compute_output_spec(*spec_args, **spec_kwargs)
    output_specs(_hand_out_masks, layer, bound.first, specs, masks)
    outputs = layer._note_call(args, kwargs, specs)
    for spec, output in zip(nest.flatten(specs), nest.flatten(outputs)):
        if mask_of(spec) is not None:
            set_mask(output, mask_of(spec))
    return outputs


class Arguments:
    """The arguments of a call by name, and which of them are tensors.

    Raises:
      TypeError: if they do not fit the signature of `call`.
    """

    def __init__(self, signature: inspect.Signature, args: Any, kwargs: dict[str, Any]):
        given = _by_name(signature, args, kwargs) or {}
        # What is not plain, wrong calls among it, is left to `inspect`.
        rest = {} if given else signature.bind(*args, **kwargs).arguments
        for name, value in rest.items():
            kind = signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_KEYWORD:
                given.update(value)
            elif kind is inspect.Parameter.VAR_POSITIONAL:
                given.update({f"{name}_{i}" if i else name: v for i, v in enumerate(value)})
            else:
                given[name] = value
        self.signature = signature
        self.given = given
        self.tensors = {name: v for name, v in given.items() if _is_tensors(v)}
        self.first = next(iter(given.values()), None)

    @property
    def shapes(self) -> dict[str, Any]:
        """Returns the shape structure of each tensor argument."""
        return {
            f"{name}_shape": nest.map_structure(_shape, value)
            for name, value in self.tensors.items()
            if name not in ("mask", "training") and not name.endswith("_mask")
        }


def _by_name(signature: inspect.Signature, args: Any, kwargs: dict[str, Any]) -> Any:
    """Arguments by name where all parameters are plain ones; None for any other call."""
    given: dict[str, Any] = {}
    for position, (name, parameter) in enumerate(signature.parameters.items()):
        if parameter.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD:
            return None
        if position < len(args):
            given[name] = args[position]
            if name in kwargs:
                return None
        elif name in kwargs:
            given[name] = kwargs[name]
        elif parameter.default is inspect.Parameter.empty:
            return None
    return given if len(given) == len(args) + len(kwargs) else None


def _shape(x: Any) -> Any:
    return None if x is None else shapes.TensorShape(tuple(x.shape))


def _is_tensors(value: Any) -> bool:
    leaves = nest.flatten(value)
    return any(isinstance(x, Tensor | Variable) for x in leaves) and all(
        x is None or isinstance(x, Tensor | Variable) for x in leaves
    )


def convert_arguments(layer: Any, args: Any, kwargs: Any) -> Any:
    """Returns the arguments with arrays as tensors, floats in the layer's compute dtype."""
    if not layer._convert_input_args:
        return args, dict(kwargs)
    target = dtypes.as_dtype(layer.compute_dtype)
    wanted = target if layer.autocast and target.is_floating else None
    if args and _is_numbers(args[0]) and not isinstance(args[0], bool):
        args = (np.asarray(args[0]), *args[1:])

    def converted(x: Any) -> Any:
        return _converted(x, wanted)

    return nest.map_structure(converted, tuple(args)), nest.map_structure(converted, dict(kwargs))


def _converted(x: Any, wanted: dtypes.DType | None) -> Any:
    if isinstance(x, np.ndarray | np.generic):
        if x.dtype.kind == "f" and wanted is not None:
            x = x.astype(wanted.numpy)
        x = convert_to_tensor(x)
    elif not isinstance(x, Tensor):
        if not hasattr(x, "__array__") or isinstance(x, type):
            return x
        x = convert_to_tensor(x)
    if isinstance(x, KerasTensor):
        return x
    if wanted is not None and x.dtype is not wanted and x.dtype.is_floating:
        mask = getattr(x, "_keras_mask", None)
        x = cast(x, dtype=wanted)
        if mask is not None:
            x._keras_mask = mask
    return x


def _is_numbers(value: Any) -> bool:
    """Whether a value is nested lists of Python numbers or strings, which stand for one tensor."""
    if isinstance(value, list | tuple) and not isinstance(value, shapes.TensorShape):
        return bool(value) and all(isinstance(v, int | float) or _is_numbers(v) for v in value)
    return False


def _check_positional(args: Any) -> None:
    for value in nest.flatten(args):
        if value is not None and not isinstance(value, Tensor):
            raise ValueError(
                "Only input tensors may be passed as positional arguments. The following argument "
                f"value should be passed as a keyword argument: {value} (of type {type(value)})"
            )


def _training(explicit: Any, signature: inspect.Signature) -> Any:
    """The caller's word, else the outer layer's, else the default of `call`."""
    if explicit is not None:
        return explicit
    if call_context.state.training is not None:
        return call_context.state.training
    parameter = signature.parameters.get("training")
    if parameter is None or parameter.default is inspect.Parameter.empty:
        return None
    return parameter.default


def ensure_built(layer: Any, bound: Arguments) -> None:
    """Builds a layer from the shapes of its first call."""
    if layer.built:
        return
    if layer._has_own_build:
        layer.build(**shapes_for(layer.build, bound.shapes, layer.name))
        layer._check_super_called()
    else:
        # Layers inside are built by their own first calls, which follow at once.
        layer._remember_build_shapes(bound.shapes)
        layer.built = True


def shapes_for(method: Any, found: dict[str, Any], layer_name: str) -> dict[str, Any]:
    """Returns the shapes as arguments of `build` or `compute_output_shape`.

    A method with one parameter gets the first input's shape; others get `x_shape` for each
    argument `x` of `call`.
    """
    parameters = [
        p for p in inspect.signature(method).parameters.values()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]  # fmt: skip
    first = next(iter(found.values()), None)
    if len(parameters) == 1:
        return {parameters[0].name: first}
    matching = {p.name: found[p.name] for p in parameters if p.name in found}
    if not matching and parameters:
        return {parameters[0].name: first}
    missing = [p.name for p in parameters if p.name not in matching and p.default is p.empty]
    if missing:
        raise ValueError(
            f"For a `{method.__name__}()` method with more than one argument, all arguments should "
            "have a `_shape` suffix and match an argument from `call()`. E.g. "
            f"`{method.__name__}(self, foo_shape, bar_shape)`. For layer '{layer_name}', received "
            f"`{method.__name__}()` with no shape for {missing}; shapes there: {list(found)}"
        )
    return matching


# -- masks -----------------------------------------------------------------------------------


def mask_of(x: Any) -> Any:
    """Returns the mask that comes with a tensor, or None."""
    return getattr(x, "_keras_mask", None)


def set_mask(x: Any, mask: Any) -> None:
    """Attaches a mask to a tensor."""
    x._keras_mask = mask


def _hand_in_masks(bound: Arguments, kwargs: dict[str, Any]) -> Any:
    """Fills in `mask` arguments from the tensors; returns the first argument's masks."""
    parameters = bound.signature.parameters
    tensors = {k: v for k, v in bound.tensors.items() if k != "mask" and not k.endswith("_mask")}
    first = nest.map_structure(mask_of, bound.first) if tensors else None
    if len(tensors) == 1 and "mask" in parameters:
        if bound.given.get("mask") is None and _any(first):
            kwargs["mask"] = first
        return bound.given.get("mask") if bound.given.get("mask") is not None else first
    for name, value in tensors.items():
        key = f"{name}_mask"
        if key in parameters and bound.given.get(key) is None:
            masks = nest.map_structure(mask_of, value)
            if _any(masks):
                kwargs[key] = masks
    return first


def _any(masks: Any) -> bool:
    return any(m is not None for m in nest.flatten(masks))


def _hand_out_masks(layer: Any, inputs: Any, outputs: Any, masks: Any) -> None:
    if not layer.supports_masking:
        if _any(masks):
            warnings.warn(
                f"Layer '{layer.name}' (of type {type(layer).__name__}) was passed an input with a "
                "mask attached to it. However, this layer does not support masking and will "
                "therefore destroy the mask information. Downstream layers will not see the mask.",
                stacklevel=4,
            )
        return
    flat = nest.flatten(outputs)
    if all(mask_of(x) is not None for x in flat):
        return
    found = layer.compute_mask(inputs, masks)
    if found is None:
        return
    for x, mask in zip(flat, nest.flatten(found)):
        if mask is not None and isinstance(x, Tensor):
            set_mask(x, mask)


def _regularize_activity(layer: Any, outputs: Any) -> None:
    if layer.activity_regularizer is not None:
        for output in nest.flatten(outputs):
            if isinstance(output, Tensor):
                loss = layer.activity_regularizer(output)
                if output.ndim:
                    # A mean over the rows, so that its weight does not depend on the batch size.
                    loss = loss / math.cast(dims.size(output, 0), loss.dtype)
                layer.add_loss(loss)
