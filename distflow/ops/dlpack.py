"""DLPack: tensors shared with other libraries without a copy."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import errors
from distflow.core.tensor import EagerTensor, Tensor

_CPU = (1, 0)


class _Capsule:
    """A bare capsule as an object that `numpy.from_dlpack` takes."""

    def __init__(self, capsule: Any):
        self._capsule = capsule

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return _CPU


def to_dlpack(tf_tensor: Any) -> Any:
    """Returns a DLPack capsule of an eager tensor; it can be taken once."""
    if not isinstance(tf_tensor, EagerTensor):
        raise errors.DtypeMismatchError(
            f"to_dlpack: expected an eager tensor; received {type(tf_tensor).__name__}."
        )
    return tf_tensor.__dlpack__()


def from_dlpack(dlcapsule: Any) -> Tensor:
    """Returns a tensor of a DLPack capsule (or of any object that exports one).

    The memory is shared: the other side must not write to it any more.
    """
    source = dlcapsule if hasattr(dlcapsule, "__dlpack__") else _Capsule(dlcapsule)
    return EagerTensor(np.ascontiguousarray(np.from_dlpack(source)))
