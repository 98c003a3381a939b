"""Variable: a tensor that can be assigned, and the two primitives that touch its storage."""

from __future__ import annotations

import enum
import os
import sys
import threading
from typing import Any

import numpy as np

from distflow.base import dtypes, errors, names, shapes
from distflow.core import context, convert
from distflow.core.primitive import Primitive
from distflow.core.tensor import EagerTensor, Reference, Tensor, represent


class VariableSynchronization(enum.Enum):
    """When the replicas' copies of a variable are brought together (TF's names)."""

    AUTO = 0
    NONE = 1
    ON_WRITE = 2
    ON_READ = 3


class VariableAggregation(enum.Enum):
    """How values that replicas assign are combined (TF's names)."""

    NONE = 0
    SUM = 1
    MEAN = 2
    ONLY_FIRST_REPLICA = 3


# Held while a compiled step writes to claimed memory: who reads or writes meanwhile waits.
in_place = threading.RLock()


def _after_fork() -> None:
    # The thread that held it is not there in a child.
    global in_place
    in_place = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Storage:
    """Where a variable's value lives: in this process, one copy. Strategies bring their own.

    `reads_back`: whether a read gives what was written last, and nothing else was done to it.
    """

    reads_back = True

    def __init__(self, array: np.ndarray[Any, Any]):
        self._array = array
        # The array's own memory and its address, once `claim` has made it this storage's alone.
        self._memory: np.ndarray[Any, Any] | None = None
        self._address = 0

    def read(self) -> np.ndarray[Any, Any]:
        """Returns the value; the caller must not write to it."""
        array = self._array  # before the look at `_memory`: another thread may claim it now
        if self._memory is None:
            return array
        with in_place:
            return self._array

    def can_claim(self) -> bool:
        """Whether a compiled step may write to the memory of the value (`claim`)."""
        return self.reads_back

    def sharing(self) -> str:
        """What an assignment does here, for the compiler: "own" if the value is simply set.

        Variables that replicas share say "sum", "mean", "first" or "none" inside of a replica: how
        the values of all replicas become one.
        """
        return "own" if self.reads_back else ""

    def claim(self) -> int:
        """Returns the address of the value's elements, which the caller may now write to.

        Nobody else sees that: if anybody holds the array (a result of `read`, say), the value
        moves to memory of its own first. The elements are contiguous and aligned. The caller
        has `in_place` until it has written, or holds on to `memory`.
        """
        # References of its own: the storage's and the argument's; to the memory the array's, too.
        # Views of the array hold the memory alone.
        if (
            self._memory is None
            or sys.getrefcount(self._array) > 2
            or sys.getrefcount(self._memory) > 3
        ):
            self._array, self._memory = aligned_copy(self._array)
            self._address = self._array.__array_interface__["data"][0]
        return self._address

    def write(self, value: np.ndarray[Any, Any], mode: str) -> None:
        """Assigns ("assign"), adds ("add") or subtracts ("sub") a value of the right dtype."""
        self.put(value, mode)

    def put(self, value: np.ndarray[Any, Any], mode: str) -> None:
        """Writes to this copy whatever replicas do: the value is the worker's already."""
        with in_place:
            self._replace(combine(self._array, value, mode))

    def _replace(self, array: np.ndarray[Any, Any]) -> None:
        with in_place:
            self._array, self._memory = array, None

    @property
    def memory(self) -> Any:
        """What keeps the memory of the address alive that `claim` gave."""
        return self._memory

    def save(self) -> Any:
        """Returns what `restore` needs to undo later writes; copies nothing."""
        return self.read()

    def restore(self, saved: Any) -> None:
        """Puts back the value that `save` saw: a step that failed leaves no trace."""
        self._replace(saved)


class OwnStorage(Storage):
    """Where a value lives that each process changes by itself: no strategy has to agree on it."""


def aligned_copy(
    array: np.ndarray[Any, Any],
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Returns a contiguous copy that begins at a cache line, as vectors like it, and its memory."""
    memory = np.empty(array.nbytes + 64, np.uint8)
    start = -memory.__array_interface__["data"][0] % 64
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy, memory


def combine(old: np.ndarray[Any, Any], value: np.ndarray[Any, Any], mode: str) -> Any:
    """Returns the value after an assignment of the given mode, as an array of its own."""
    if mode == "assign":
        return np.array(value, copy=True, order="C")
    with np.errstate(all="ignore"):
        return np.asarray(old + value if mode == "add" else old - value, old.dtype)


def _assign_dtype(
    variable: dtypes.DType, value: dtypes.DType, *, mode: str, direct: bool = False
) -> tuple[()]:
    if value is not variable:
        raise errors.DtypeMismatchError(
            f"assign: expected dtype {variable.name}; received {value.name}.\n"
            f"Convert the value with tf.cast(value, tf.{variable.name})."
        )
    return ()


def _assign_shape(variable: Any, value: Any, *, mode: str, direct: bool = False) -> list[Any]:
    target = shapes.TensorShape(variable)
    if not target.is_compatible_with(value):
        raise errors.invalid("assign", f"shape must be {shapes.text(variable)}", shapes.text(value))
    return []


def _write(variable: Any, value: Any, *, mode: str, direct: bool = False) -> tuple[()]:
    """Assigns by the storage; `direct`: to this worker's copy, also inside of a replica."""
    if direct:
        variable.storage.put(value, mode)
    else:
        variable.storage.write(value, mode)
    return ()


read_variable = Primitive(
    "read_variable",
    dtype_rule=lambda variable: variable,
    shape_rule=lambda variable: tuple(variable),
    reference=lambda variable: variable.storage.read(),
    gradient=lambda g, out, variable: (g,),
    family="state",
    effect="read",
    keeps_variables=True,
)
assign_variable = Primitive(
    "assign_variable",
    dtype_rule=_assign_dtype,
    shape_rule=_assign_shape,
    reference=_write,
    gradient=None,
    family="state",
    effect="write",
    keeps_variables=True,
)


class _Creation(type):
    """Lets variable creators of the context (a strategy's, a function's) make the variable."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        def make(**given: Any) -> Any:
            return super(_Creation, cls).__call__(**given)

        parameters = ("initial_value", "trainable", "validate_shape", "caching_device", "name")
        kwargs.update(zip(parameters, args))
        for creator in context.state.creators:
            make = _bound(creator, make)
        return make(**kwargs)


def _bound(creator: Any, following: Any) -> Any:
    return lambda **kwargs: creator(following, **kwargs)


class Variable(metaclass=_Creation):
    """A tensor that keeps its value between steps and can be assigned.

    Args:
      initial_value: anything a tensor can be made from, or a function of no arguments.
      trainable: whether tapes watch it by themselves.
      name: readable name; `:0` is added as in TF.
      dtype: element type; default that of the initial value.
      shape: allowed shapes; default that of the initial value. Unknown dimensions may change.
      constraint: function applied by optimizers after an update.
      synchronization, aggregation: how replicas of a strategy share it.

    Raises:
      InvalidArgumentError: if there is no initial value, or it does not fit `shape`.
    """

    is_variable = True
    __array_priority__ = 100.0
    interpreter = None

    def __init__(
        self,
        initial_value: Any = None,
        trainable: bool | None = None,
        validate_shape: bool = True,
        caching_device: Any = None,
        name: str | None = None,
        dtype: Any = None,
        shape: Any = None,
        constraint: Any = None,
        synchronization: VariableSynchronization = VariableSynchronization.AUTO,
        aggregation: VariableAggregation = VariableAggregation.NONE,
        storage: Any = Storage,
        **unknown: Any,
    ):
        if unknown:
            raise TypeError(f"Variable got unexpected arguments {sorted(unknown)}")
        if initial_value is None:
            raise errors.invalid("Variable", "an initial_value is needed", "None")
        with context.init_scope():
            value = initial_value() if callable(initial_value) else initial_value
            if isinstance(value, Variable):
                value = value.value()
            if isinstance(value, Tensor) and not isinstance(value, EagerTensor):
                raise errors.invalid(
                    "Variable", "the initial value must be known when the variable is made",
                    repr(value), "Give a function: tf.Variable(lambda: ...), or make the "
                    "variable outside of tf.function.",
                )  # fmt: skip
            wanted = None if dtype is None else dtypes.as_dtype(dtype)
            array = np.array(convert.convert_to_tensor(value, wanted).array)  # type: ignore[attr-defined]
        self.dtype = dtypes.of_array(array)
        self._shape = shapes.TensorShape(array.shape if shape is None else shape)
        if validate_shape and not self._shape.is_compatible_with(array.shape):
            raise errors.invalid(
                "Variable", f"the initial value must have shape {self._shape}", str(array.shape)
            )
        on_read = synchronization is VariableSynchronization.ON_READ
        self.trainable = not on_read if trainable is None else bool(trainable)
        self.synchronization = synchronization
        self.aggregation = aggregation
        self.constraint = constraint
        self._name = names.scoped(name or "Variable")
        self.storage = storage(array)

    @property
    def name(self) -> str:
        """The name, with TF's `:0` at its end."""
        return f"{self._name}:0"

    @property
    def shape(self) -> shapes.TensorShape:
        """The shape it may have; unknown dimensions are None."""
        return self._shape

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self._shape)

    @property
    def device(self) -> str:
        """Always the host's CPU."""
        return "/device:CPU:0"

    def get_shape(self) -> shapes.TensorShape:
        """Returns the shape."""
        return self._shape

    def value(self) -> Tensor:
        """Returns the value at this moment as a tensor; tapes see the read."""
        return read_variable(self)

    def read_value(self) -> Tensor:
        """Returns the value at this moment as a tensor."""
        return read_variable(self)

    def numpy(self) -> Any:
        """Returns a copy of the value as a NumPy array (or scalar)."""
        array = self.storage.read()
        return array.copy() if array.ndim else array[()]

    def assign(self, value: Any, use_locking: bool = False, name: Any = None,
               read_value: bool = True) -> Variable:  # fmt: skip
        """Sets the value; shape and dtype must fit. Returns the variable."""
        return self._assign(value, "assign")

    def assign_add(self, delta: Any, use_locking: bool = False, name: Any = None,
                   read_value: bool = True) -> Variable:  # fmt: skip
        """Adds `delta` to the value. Returns the variable."""
        return self._assign(delta, "add")

    def assign_sub(self, delta: Any, use_locking: bool = False, name: Any = None,
                   read_value: bool = True) -> Variable:  # fmt: skip
        """Subtracts `delta` from the value. Returns the variable."""
        return self._assign(delta, "sub")

    def _assign(self, value: Any, mode: str) -> Variable:
        if not isinstance(value, Tensor):
            value = convert.convert_to_tensor(value, dtype_hint=self.dtype)
        assign_variable(self, value, mode=mode)
        return self

    def ref(self) -> Reference:
        """Returns a hashable reference to this variable."""
        return Reference(self)

    def __hash__(self) -> int:
        raise TypeError("Variable is unhashable. Use variable.ref() as the key instead.")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.array(self.storage.read(), dtype=dtype)

    def __bool__(self) -> bool:
        return bool(self.value())

    def __int__(self) -> int:
        return int(self.value())  # type: ignore[call-overload]

    def __float__(self) -> float:
        return float(self.value())  # type: ignore[arg-type]

    def __index__(self) -> int:
        return self.value().__index__()  # type: ignore[attr-defined]

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError(
            "Variable does not support item assignment. Use variable[key].assign(value)."
        )

    def __iadd__(self, other: Any) -> Any:
        raise _in_place("+=", "assign_add(value)")

    def __isub__(self, other: Any) -> Any:
        raise _in_place("-=", "assign_sub(value)")

    def __imul__(self, other: Any) -> Any:
        raise _in_place("*=", "assign(variable * value)")

    def __itruediv__(self, other: Any) -> Any:
        raise _in_place("/=", "assign(variable / value)")

    def __len__(self) -> int:
        return len(self.value())

    def __iter__(self) -> Any:
        return iter(self.value())

    def __deepcopy__(self, memo: Any) -> Variable:
        copy = Variable(
            self.numpy(), trainable=self.trainable, name=self._name, shape=self._shape,
            dtype=self.dtype, constraint=self.constraint, synchronization=self.synchronization,
            aggregation=self.aggregation,
        )  # fmt: skip
        memo[id(self)] = copy
        return copy

    def __repr__(self) -> str:
        value = represent(np.asarray(self.storage.read()))
        return (
            f"<tf.Variable '{self.name}' shape={self.shape} dtype={self.dtype.name}, numpy={value}>"
        )


def _in_place(operator: str, method: str) -> RuntimeError:
    # Python would otherwise rebind the name to a tensor, and the variable would stay as it was.
    return RuntimeError(f"variable {operator} value is not supported. Use variable.{method}.")


def _variable_to_tensor(variable: Any, dtype: Any) -> Tensor:
    return convert.convert_to_tensor(variable.value(), dtype)


convert._conversions.append((Variable, _variable_to_tensor))
