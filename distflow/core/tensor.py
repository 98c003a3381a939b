"""Tensor and EagerTensor: an immutable array with a shape and a dtype.

Operators and methods such as `+` and `[]` are attached from above by `ops/operators.py`.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from distflow.base import dtypes, errors, shapes

next_serial = itertools.count().__next__


_DTYPES = {d.numpy: d for d in dtypes.ALL}
_LENDS_READ_ONLY = np.lib.NumpyVersion(np.__version__) >= "2.1.0"


class Tensor:
    """A value of known dtype and rank: at hand (EagerTensor), or to come (SymbolicTensor)."""

    __array_priority__ = 100.0
    # An interpreter that takes over whenever this tensor is an operand; None for plain values.
    interpreter: Any = None
    # Whether operators are left to this operand (a value of several replicas, say).
    _handles_operators = False

    dtype: dtypes.DType

    @property
    def shape(self) -> shapes.TensorShape:
        """The shape; dimensions that a trace does not know are None."""
        raise AssertionError("subclasses define shape")

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def name(self) -> str:
        """A readable name; eager tensors have none."""
        return "tensor"

    @property
    def device(self) -> str:
        """Always the host's CPU."""
        return "/device:CPU:0"

    def get_shape(self) -> shapes.TensorShape:
        """Returns the shape (TF's older spelling)."""
        return self.shape

    def set_shape(self, shape: Any) -> None:
        """Checks that the shape is compatible (a symbolic tensor also learns from it)."""
        self.shape.assert_is_compatible_with(shape)

    def numpy(self) -> Any:
        """Returns the value as a NumPy array; only eager tensors have one."""
        raise self._no_value("numpy()")

    def __hash__(self) -> int:
        raise TypeError("Tensor is unhashable. Use tensor.ref() as the key instead.")

    def ref(self) -> Reference:
        """Returns a hashable reference to this tensor, for use as a key."""
        return Reference(self)

    def __bool__(self) -> bool:
        raise self._no_value("bool()")

    def __float__(self) -> float:
        raise self._no_value("float()")

    def __int__(self) -> int:
        raise self._no_value("int()")

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError(
            f"{type(self).__name__} does not support item assignment: tensors do not change. "
            "Use tf.tensor_scatter_nd_update, tf.where, or a tf.Variable."
        )

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a scalar tensor: it has no dimensions.")
        if self.shape[0] is None:
            raise self._no_value("len()")
        return int(self.shape[0])

    def __iter__(self) -> Any:
        if not self.shape:
            raise TypeError("A scalar tensor cannot be iterated over.")
        if self.shape[0] is None:
            raise self._no_value("iteration")
        return (self[i] for i in range(self.shape[0]))  # type: ignore[index]

    if TYPE_CHECKING:
        # Attached by ops/operators.py and distflow/__init__.py; here only their types.
        def __add__(self, other: Any) -> Any: ...
        def __radd__(self, other: Any) -> Any: ...
        def __sub__(self, other: Any) -> Any: ...
        def __rsub__(self, other: Any) -> Any: ...
        def __mul__(self, other: Any) -> Any: ...
        def __rmul__(self, other: Any) -> Any: ...
        def __truediv__(self, other: Any) -> Any: ...
        def __rtruediv__(self, other: Any) -> Any: ...
        def __floordiv__(self, other: Any) -> Any: ...
        def __rfloordiv__(self, other: Any) -> Any: ...
        def __mod__(self, other: Any) -> Any: ...
        def __rmod__(self, other: Any) -> Any: ...
        def __pow__(self, other: Any) -> Any: ...
        def __rpow__(self, other: Any) -> Any: ...
        def __matmul__(self, other: Any) -> Any: ...
        def __rmatmul__(self, other: Any) -> Any: ...
        def __and__(self, other: Any) -> Any: ...
        def __or__(self, other: Any) -> Any: ...
        def __xor__(self, other: Any) -> Any: ...
        def __eq__(self, other: object) -> Any: ...
        def __ne__(self, other: object) -> Any: ...
        def __lt__(self, other: Any) -> Any: ...
        def __le__(self, other: Any) -> Any: ...
        def __gt__(self, other: Any) -> Any: ...
        def __ge__(self, other: Any) -> Any: ...
        def __neg__(self) -> Any: ...
        def __abs__(self) -> Any: ...
        def __invert__(self) -> Any: ...
        def __getitem__(self, key: Any) -> Any: ...

    def _no_value(self, what: str) -> Exception:
        return errors.invalid(
            "Tensor",
            f"{what} needs a value, but this tensor is symbolic",
            repr(self),
            "Inside tf.function use tf.cond, tf.while_loop or plain Python if/while/for, which "
            "AutoGraph turns into them; tf.py_function runs Python code on values.",
        )


class Reference:
    """A hashable stand-in for a tensor or variable, equal by identity."""

    __slots__ = ("_target",)

    def __init__(self, target: Any):
        self._target = target

    def deref(self) -> Any:
        """Returns the tensor or variable."""
        return self._target

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and self._target is other._target

    def __hash__(self) -> int:
        return id(self._target)

    def __repr__(self) -> str:
        return f"<Reference to {self._target!r}>"


class EagerTensor(Tensor):
    """A tensor whose value is at hand, as a NumPy array that nobody else writes to."""

    def __init__(self, array: np.ndarray[Any, Any]):
        self._array = array
        self.dtype = _DTYPES[array.dtype]
        # A trace takes what is younger than itself for a constant of its program.
        self.serial = next_serial()

    @property
    def array(self) -> np.ndarray[Any, Any]:
        """The storage itself, for distflow's own use: never write to it."""
        return self._array

    @property
    def shape(self) -> shapes.TensorShape:
        """The shape."""
        return shapes.TensorShape.of(self._array.shape)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return self._array.ndim

    def numpy(self) -> Any:
        """Returns a copy of the value: an array, or a NumPy scalar (bytes for strings)."""
        return self._array.copy() if self._array.ndim else self._array[()]

    def item(self) -> Any:
        """Returns the only element as a Python value."""
        return self._array.item()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if dtype is not None and np.dtype(dtype) != self._array.dtype:
            return self._array.astype(dtype)
        if copy:
            return self._array.copy()
        view = self._array.view()
        view.flags.writeable = False
        return view

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None,
                   copy: bool | None = None) -> Any:  # fmt: skip
        # Tensors are immutable: a view is lent read-only, which DLPack can say since version 1;
        # consumers that do not know it (and older NumPy) get a copy.
        if max_version is None or max_version < (1, 0) or not _LENDS_READ_ONLY:
            return self._array.copy().__dlpack__()
        view = self._array.view()
        view.flags.writeable = False
        return view.__dlpack__(max_version=max_version, dl_device=dl_device, copy=copy)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()

    def _scalar(self, what: str) -> Any:
        if self._array.size != 1:
            raise errors.invalid(
                "Tensor", f"{what} needs exactly one element", f"shape {shapes.text(self.shape)}"
            )
        return self._array.reshape(())[()]

    def __bool__(self) -> bool:
        # An empty tensor is false, as in TF.
        return bool(self._array.size and self._scalar("bool()"))

    def __int__(self) -> int:
        return int(self._scalar("int()"))

    def __float__(self) -> float:
        return float(self._scalar("float()"))

    def __complex__(self) -> complex:
        return complex(self._scalar("complex()"))

    def __index__(self) -> int:
        if not (self.dtype.is_integer and self._array.ndim == 0):
            raise TypeError("only integer scalar tensors can be converted to a scalar index")
        return int(self._array)

    def __format__(self, spec: str) -> str:
        return format(self._array[()] if self._array.ndim == 0 else self._array, spec)

    def __copy__(self) -> EagerTensor:
        return self

    def __deepcopy__(self, memo: Any) -> EagerTensor:
        return EagerTensor(self._array.copy())

    def __reduce__(self) -> Any:
        return EagerTensor, (self._array.copy(),)

    def __str__(self) -> str:
        return f"tf.Tensor({_text(self._array)}, shape={self.shape}, dtype={self.dtype.name})"

    def __repr__(self) -> str:
        value = represent(self._array)
        return f"<tf.Tensor: shape={self.shape}, dtype={self.dtype.name}, numpy={value}>"


def represent(array: np.ndarray[Any, Any]) -> str:
    """Returns an array as it stands in the repr of a tensor."""
    return _block(repr(array) if array.ndim else str(array[()]))


def _text(array: np.ndarray[Any, Any]) -> str:
    return _block(str(array))


def _block(text: str) -> str:
    """Text of several lines begins on a line of its own, as in TF."""
    return "\n" + text if "\n" in text else text
