"""Tensors that know their values but hide dimensions, as a trace does: for gradient rules.

An operation on hidden tensors runs at once, but every rule sees only what the shape rule can say.
So rules that need a dimension which a trace does not know fail here, without any graph.
"""

from __future__ import annotations

from typing import Any

from distflow.base import shapes
from distflow.core.bind import EagerInterpreter
from distflow.core.tensor import EagerTensor, Tensor


class HiddenTensor(Tensor):
    """A value whose shape is only what a trace would know of it."""

    def __init__(self, value: EagerTensor, shape: Any):
        self.value = value
        self.dtype = value.dtype
        self._shape = shapes.TensorShape(shape)

    @property
    def interpreter(self) -> Any:  # type: ignore[override]
        return HIDING

    @property
    def shape(self) -> shapes.TensorShape:
        return self._shape


class _Hiding:
    """Runs operations eagerly and hides what the shape rule does not say."""

    is_eager = False

    def resolve(self, current: Any) -> Any:
        return self

    def run(self, primitive: Any, inputs: Any, attributes: dict[str, Any]) -> Any:
        values = [x.value if isinstance(x, HiddenTensor) else x for x in inputs]
        rule = primitive.shape_rule(*[tuple(x.shape) for x in inputs], **attributes)
        result = EagerInterpreter().run(primitive, tuple(values), attributes)
        if isinstance(result, tuple):
            return tuple(map(_hide, result, rule))
        return _hide(result, rule)


def _hide(value: EagerTensor, shape: Any) -> HiddenTensor:
    known = shapes.TensorShape(shape)
    assert known.is_compatible_with(value.shape), f"rule says {known}, value has {value.shape}"
    return HiddenTensor(value, known)


HIDING = _Hiding()
