"""TensorArray: a list of tensors of one shape that loops write to and read from.

With known positions it is a Python list of tensors. Where a position is a symbol, and across
control flow, it is one tensor whose first dimension counts the elements; element dimensions that
nobody knows yet are 0 there until the first write. Structures (`nest`) see that tensor.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes, errors, nest, shapes
from distflow.base.specs import TensorSpec
from distflow.core import context, convert
from distflow.core.primitive import Primitive
from distflow.core.tensor import EagerTensor, Tensor
from distflow.ops import array
from distflow.ops.prims import creation, indexing, movement
from distflow.ops.prims.elementwise import cast
from distflow.ops.prims.factories import check_dtype, check_same

# -- the primitive -------------------------------------------------------------------------


def _write_dtype(buffer: Any, index: Any, x: Any, *, dynamic: bool) -> Any:
    check_dtype("array_write", dtypes.INTEGER, index)
    return check_same("array_write", buffer, x)


def _write_shape(buffer: Any, index: Any, x: Any, *, dynamic: bool) -> Any:
    if tuple(index) != ():
        raise errors.invalid("array_write", "the index must be a scalar", shapes.text(index))
    # A known 0 may be the blank of an element that is not written yet.
    rows = tuple(None if 0 in buffer[1:] else d for d in buffer[1:])
    return (None if dynamic else buffer[0], *shapes.merge("array_write", rows, x))


def _write_ref(buffer: Any, index: Any, x: Any, *, dynamic: bool) -> Any:
    size, position = len(buffer), int(index)
    if position < 0 or (position >= size and not dynamic):
        raise errors.invalid("TensorArray", f"index must be in [0, {size})", str(position))
    if buffer.shape[1:] != x.shape:
        if buffer.size and x.size:
            raise errors.invalid(
                "TensorArray", f"elements must have shape {shapes.text(buffer.shape[1:])}",
                shapes.text(x.shape),
            )  # fmt: skip
        buffer = np.zeros((size, *x.shape), x.dtype)
    result = np.zeros((max(size, position + 1), *x.shape), x.dtype)
    result[:size] = buffer
    result[position] = x
    return result


def _write_gradient(g: Any, out: Any, buffer: Any, index: Any, x: Any, *, dynamic: bool) -> Any:
    zeros = movement.broadcast_like(EagerTensor(np.zeros((), x.dtype.numpy)), x)
    before = array_write(g, index, zeros, dynamic=False)
    if dynamic:
        dims = movement.shape_tensor(buffer)
        size = movement.reshape(
            movement.slice_(dims, starts=(0,), stops=(1,), strides=(1,)), shape=()
        )
        rows = creation.iota(size, dtype=dtypes.int32, length=None)
        before = indexing.gather(before, rows, axis=0)
    return before, None, indexing.gather(g, index, axis=0)


# buffer with x at position index, longer by what is missing where `dynamic`.
array_write = Primitive(
    "array_write", _write_dtype, _write_shape, _write_ref, _write_gradient,
    family="indexing", match=(0, 2),
)  # fmt: skip

# -- the class -----------------------------------------------------------------------------


class TensorArray:
    """A list of tensors of one dtype and shape (TF2's `tf.TensorArray`).

    Args:
      dtype: of the elements.
      size: number of elements, an int or int scalar tensor; default 0.
      dynamic_size: whether writes beyond the end make it longer.
      element_shape: of one element; otherwise that of the first write.
      infer_shape: whether all elements must have the shape of the first.
      clear_after_read, tensor_array_name, handle, flow, colocate_with_first_write_call, name:
        accepted for TF's sake.

    Use what `write` returns; the array written to may or may not have changed.
    """

    def __init__(
        self,
        dtype: Any,
        size: Any = None,
        dynamic_size: bool | None = None,
        clear_after_read: bool | None = None,
        tensor_array_name: str | None = None,
        handle: Any = None,
        flow: Any = None,
        infer_shape: bool = True,
        element_shape: Any = None,
        colocate_with_first_write_call: bool = True,
        name: str | None = None,
    ):
        self.dtype = dtypes.as_dtype(dtype)
        self.dynamic_size = bool(dynamic_size)
        self._infer_shape = infer_shape
        self.element_shape = shapes.TensorShape(element_shape)
        # One of: a list of tensors (None: not written), a buffer, or a size without elements.
        self._items: list[Any] | None = None
        self._buffer: Any = None
        self._length: Any = None
        length = _concrete(0 if size is None else size)
        if length is None:
            self._length = convert.convert_to_tensor(size)
        else:
            self._items = [None] * length

    @property
    def flow(self) -> Any:
        """The tensor that stands for the array (None while the shape of elements is unknown)."""
        return self.buffer() if self.is_ready else None

    @property
    def handle(self) -> None:
        """None, as in TF2."""
        return

    @property
    def is_ready(self) -> bool:
        """Whether the rank of the elements is known."""
        return self.element_shape.rank is not None

    def _with(self, items: Any = None, buffer: Any = None) -> TensorArray:
        other = object.__new__(TensorArray)
        other.__dict__.update(self.__dict__)
        other._items, other._buffer, other._length = items, buffer, None
        return other

    def write(self, index: Any, value: Any, name: Any = None) -> TensorArray:
        """Returns the array with an element set.

        Raises:
          InvalidArgumentError: for a position out of range or an element of another shape.
        """
        tensor = convert.convert_to_tensor(value, dtype_hint=self.dtype)
        if tensor.dtype is not self.dtype:
            raise errors.DtypeMismatchError(
                f"TensorArray.write: expected dtype {self.dtype.name}; "
                f"received {tensor.dtype.name}."
            )
        shape = self._merged(tensor.shape)
        position = _concrete(index)
        if self._items is None or position is None:
            self.element_shape = shape
            written = array_write(
                self.buffer(), convert.convert_to_tensor(index), tensor, dynamic=self.dynamic_size
            )
            return self._with(buffer=written)
        size = len(self._items)
        if position < 0 or (position >= size and not self.dynamic_size):
            raise errors.invalid(
                "TensorArray.write", f"index must be in [0, {size})", str(position),
                "" if self.dynamic_size else "Make it with dynamic_size=True to let it grow.",
            )  # fmt: skip
        # Traced code may run in one branch only, so its writes must leave the original alone.
        target = self if context.executing_eagerly() else self._with(items=list(self._items))
        assert target._items is not None
        target._items += [None] * (position + 1 - size)
        target._items[position] = tensor
        target.element_shape = shape
        return target

    def _merged(self, shape: Any) -> Any:
        if not self.element_shape.is_compatible_with(shape):
            raise errors.invalid(
                "TensorArray.write", f"elements must have shape {self.element_shape}", str(shape)
            )
        if not self._infer_shape:
            return self.element_shape if self.is_ready else shapes.TensorShape([None] * len(shape))
        return self.element_shape.merge_with(shape)

    def read(self, index: Any, name: Any = None) -> Tensor:
        """Returns the element at a position; zeros where nothing was written."""
        position = _concrete(index)
        if self._items is not None and position is not None:
            if not 0 <= position < len(self._items):
                raise errors.invalid(
                    "TensorArray.read", f"index must be in [0, {len(self._items)})", str(position)
                )
            item = self._items[position]
            return self._blank(position) if item is None else item
        return self._known(indexing.gather(self.buffer(), convert.convert_to_tensor(index), axis=0))

    def _blank(self, position: int) -> Any:
        shape = self.element_shape
        if not shape.is_fully_defined():
            raise errors.invalid(
                "TensorArray.read", "the element must have been written before",
                f"index {position}", "Or give element_shape.",
            )  # fmt: skip
        return EagerTensor(np.zeros(tuple(shape), self.dtype.numpy))

    def _known(self, element: Any) -> Any:
        element.set_shape(self.element_shape)
        return element

    def stack(self, name: Any = None) -> Tensor:
        """Returns all elements in one tensor, [size, *element shape]."""
        tensor = self.buffer()
        tensor.set_shape(shapes.TensorShape([None]).concatenate(self.element_shape))
        return tensor

    def unstack(self, value: Any, name: Any = None) -> TensorArray:
        """Returns an array of the rows of a tensor."""
        tensor = convert.convert_to_tensor(value, dtype_hint=self.dtype)
        self.element_shape = self._merged(tensor.shape[1:])
        if isinstance(tensor, EagerTensor) and context.executing_eagerly():
            return self._with(items=array.unstack(tensor) if len(tensor) else [])
        return self._with(buffer=tensor)

    def gather(self, indices: Any, name: Any = None) -> Tensor:
        """Returns the elements at positions, in one tensor."""
        return indexing.gather(self.buffer(), convert.convert_to_tensor(indices), axis=0)

    def scatter(self, indices: Any, value: Any, name: Any = None) -> TensorArray:
        """Returns the array with row i of `value` at position indices[i]."""
        result = self
        positions = array.unstack(indices)
        for position, row in zip(positions, array.unstack(value)):
            result = result.write(position, row)
        return result

    def concat(self, name: Any = None) -> Tensor:
        """Returns all elements joined along their first dimension."""
        if self._items is not None and all(item is not None for item in self._items):
            return array.concat(self._items, 0)
        tensor = self.stack()
        return array.reshape(tensor, array.concat([[-1], movement.shape_tensor(tensor)[2:]], 0))

    def split(self, value: Any, lengths: Any, name: Any = None) -> TensorArray:
        """Returns an array of consecutive parts of a tensor (known lengths)."""
        counts = [int(n) for n in np.asarray(lengths)]
        parts = array.split(convert.convert_to_tensor(value), counts)
        self._infer_shape = False
        return self._with(items=list(parts))

    def size(self, name: Any = None) -> Tensor:
        """Returns the number of elements."""
        if self._items is not None:
            return EagerTensor(np.asarray(len(self._items), np.int32))
        if self._buffer is None:
            return self._length
        dims = movement.shape_tensor(self._buffer)
        return movement.reshape(
            movement.slice_(dims, starts=(0,), stops=(1,), strides=(1,)), shape=()
        )

    def identity(self) -> TensorArray:
        """Returns an array of the same elements."""
        return self._with(
            items=None if self._items is None else list(self._items), buffer=self._buffer
        )

    def close(self, name: Any = None) -> None:
        """Does nothing."""

    def mark_used(self) -> None:
        """Does nothing."""

    def buffer(self) -> Any:
        """Returns the elements as one tensor, blanks where nothing was written.

        Raises:
          InvalidArgumentError: if the rank of the elements is not known.
        """
        if self._buffer is not None:
            return self._buffer
        if not self.is_ready:
            raise errors.invalid(
                "TensorArray", "the shape of elements must be known before they are read",
                "an array without writes", "Give element_shape.",
            )  # fmt: skip
        dims = [0 if d is None else d for d in self.element_shape]
        if self._items is None:
            size = movement.reshape(cast(self._length, dtype=dtypes.int32), shape=(1,))
            target = movement.concat(size, np.asarray(dims, np.int32), axis=0)
            zero = EagerTensor(np.zeros((), self.dtype.numpy))
            return movement.broadcast_to(zero, target, shape=(None, *self.element_shape))
        written = [item for item in self._items if item is not None]
        if not written:
            return EagerTensor(np.zeros((len(self._items), *dims), self.dtype.numpy))
        blank = None if len(written) == len(self._items) else array.zeros_like(written[0])
        return array.stack([blank if item is None else item for item in self._items])

    def spec(self) -> Any:
        """Returns this array with a TensorSpec in place of its tensor, as loops carry it."""
        if not self.is_ready:
            return self
        size: Any = None
        if not self.dynamic_size:
            size = len(self._items) if self._items is not None else None
            size = self._buffer.shape[0] if self._buffer is not None else size
        return self._with(buffer=TensorSpec((size, *self.element_shape), self.dtype))

    def __len__(self) -> int:
        if self._items is None:
            raise TypeError("len() of a TensorArray of unknown size: use size()")
        return len(self._items)

    def __repr__(self) -> str:
        return f"<TensorArray {self.dtype.name}, elements of shape {self.element_shape}>"


def _concrete(value: Any) -> int | None:
    """Returns an index or size as an int, None if a trace does not know it."""
    if isinstance(value, Tensor) and not isinstance(value, EagerTensor):
        return None
    if getattr(value, "is_variable", False):
        if not context.executing_eagerly():
            return None
        return int(value)
    return int(np.asarray(value))


def _children(structure: TensorArray) -> list[Any]:
    return [structure.buffer()] if structure.is_ready else []


def _rebuild(structure: TensorArray, children: list[Any]) -> TensorArray:
    return structure._with(buffer=children[0]) if children else structure


nest.register(TensorArray, _children, _rebuild)


def arrays_in(structure: Any) -> list[TensorArray]:
    """Returns the TensorArrays of a structure, in order."""
    if isinstance(structure, TensorArray):
        return [structure]
    if nest.is_nested(structure):
        return [a for child in nest.children(structure) for a in arrays_in(child)]
    return []


def learn(arrays: list[TensorArray], others: list[TensorArray]) -> bool:
    """Tells arrays the element shapes that others know; returns whether a rank was new."""
    news = False
    for one, other in zip(arrays, others):
        if other.is_ready and not one.is_ready:
            one.element_shape = other.element_shape
            news = True
        elif other.is_ready and one.element_shape.is_compatible_with(other.element_shape):
            one.element_shape = one.element_shape.merge_with(other.element_shape)
    return news
