"""DType objects with TensorFlow's names, their NumPy storage, and how values get a dtype.

Tensors never promote one another (`float32 + float64` is an error, as in TF2); only Python
scalars and NumPy arrays adapt to the tensor beside them (`core/convert.py`).
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from distflow.base import errors


class DType:
    """One element type: `tf.float32`, `tf.string`, ...; equal to its name and NumPy dtype."""

    __slots__ = ("_numpy", "is_bool", "is_complex", "is_floating", "is_integer", "kind", "name")

    def __init__(self, name: str, numpy_type: Any, kind: str):
        self.name = name
        self.kind = kind
        self._numpy = np.dtype(numpy_type)
        self.is_floating = kind == "f"
        self.is_integer = kind in "iu"
        self.is_bool = kind == "b"
        self.is_complex = kind == "c"

    @property
    def as_numpy_dtype(self) -> type:
        """The NumPy scalar type that stores one element (`object` for strings)."""
        return self._numpy.type if self.kind != "s" else object

    @property
    def numpy(self) -> np.dtype[Any]:
        """The NumPy dtype of storage."""
        return self._numpy

    @property
    def base_dtype(self) -> DType:
        """The dtype itself: distflow has no reference dtypes."""
        return self

    @property
    def real_dtype(self) -> DType:
        """The dtype of the real part of a complex dtype; others return themselves."""
        return {"complex64": float32, "complex128": float64}.get(self.name, self)

    @property
    def is_unsigned(self) -> bool:
        """Whether this is an unsigned integer dtype."""
        return self.kind == "u"

    @property
    def is_numeric(self) -> bool:
        """Whether elements are numbers (not booleans, not strings)."""
        return self.kind in "fiuc"

    @property
    def is_quantized(self) -> bool:
        """Always False: distflow has no quantised dtypes."""
        return False

    @property
    def size(self) -> int:
        """Bytes of one element."""
        return self._numpy.itemsize

    @property
    def min(self) -> Any:
        """The smallest (finite) value."""
        return self._limits().min

    @property
    def max(self) -> Any:
        """The largest (finite) value."""
        return self._limits().max

    @property
    def limits(self) -> tuple[Any, Any]:
        """(min, max)."""
        return self.min, self.max

    @property
    def as_datatype_enum(self) -> int:
        """TensorFlow's DataType number, as found in its protocol buffers."""
        return _ENUM[self.name]

    def _limits(self) -> Any:
        if self.is_floating:
            return ml_dtypes.finfo(self._numpy)
        if self.is_integer:
            return ml_dtypes.iinfo(self._numpy)
        raise errors.invalid("DType", "min and max exist for real numeric dtypes", self.name)

    def is_compatible_with(self, other: Any) -> bool:
        """Whether a value of `other` may stand where this dtype is asked for."""
        return as_dtype(other) is self

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if isinstance(other, DType) or other is None:
            return False
        try:
            return as_dtype(other) is self
        except (errors.InvalidArgumentError, TypeError):
            return False

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"tf.{self.name}"

    def __str__(self) -> str:
        return f"<dtype: '{self.name}'>"

    def __reduce__(self) -> Any:
        return as_dtype, (self.name,)


float16 = DType("float16", np.float16, "f")
bfloat16 = DType("bfloat16", ml_dtypes.bfloat16, "f")
float32 = DType("float32", np.float32, "f")
float64 = DType("float64", np.float64, "f")
int8 = DType("int8", np.int8, "i")
int16 = DType("int16", np.int16, "i")
int32 = DType("int32", np.int32, "i")
int64 = DType("int64", np.int64, "i")
uint8 = DType("uint8", np.uint8, "u")
uint16 = DType("uint16", np.uint16, "u")
uint32 = DType("uint32", np.uint32, "u")
uint64 = DType("uint64", np.uint64, "u")
complex64 = DType("complex64", np.complex64, "c")
complex128 = DType("complex128", np.complex128, "c")
bool_ = DType("bool", np.bool_, "b")
string = DType("string", object, "s")

ALL = (
    float16, bfloat16, float32, float64, int8, int16, int32, int64,
    uint8, uint16, uint32, uint64, complex64, complex128, bool_, string,
)  # fmt: skip
FLOATING = frozenset(d for d in ALL if d.is_floating)
INTEGER = frozenset(d for d in ALL if d.is_integer)
COMPLEX = frozenset(d for d in ALL if d.is_complex)
INEXACT = FLOATING | COMPLEX
REAL = FLOATING | INTEGER
NUMERIC = REAL | COMPLEX
BOOL = frozenset([bool_])
STORED = NUMERIC | BOOL
ANY = frozenset(ALL)

_BY_NAME = {d.name: d for d in ALL} | {
    "half": float16,
    "float": float32,
    "double": float64,
    "str": string,
}
_BY_NUMPY = {d.numpy: d for d in ALL}
_BY_PYTHON = {bool: bool_, int: int32, float: float32, complex: complex128, str: string,
              bytes: string}  # fmt: skip
_ENUM = {
    "float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int16": 5, "int8": 6, "string": 7,
    "complex64": 8, "int64": 9, "bool": 10, "bfloat16": 14, "uint16": 17, "complex128": 18,
    "float16": 19, "uint32": 22, "uint64": 23,
}  # fmt: skip


def as_dtype(value: Any) -> DType:
    """Returns the DType for a DType, a name, a NumPy dtype or a Python type.

    Raises:
      InvalidArgumentError: (also a TypeError) if there is no such dtype.
    """
    if isinstance(value, DType):
        return value
    if isinstance(value, str) and value in _BY_NAME:
        return _BY_NAME[value]
    if isinstance(value, type) and value in _BY_PYTHON:
        return _BY_PYTHON[value]
    try:
        # NumPy reads None as float64.
        key = None if value is None else np.dtype(value)
    except TypeError:
        key = None
    if key is not None:
        if key.kind in "US":
            return string
        if key in _BY_NUMPY:
            return _BY_NUMPY[key]
    raise errors.DtypeMismatchError(
        f"as_dtype: expected one of {sorted(_BY_NAME)}; received {value!r}."
    )


def of_array(array: np.ndarray[Any, Any]) -> DType:
    """Returns the DType of a NumPy array that a tensor stores."""
    return _BY_NUMPY[array.dtype]
