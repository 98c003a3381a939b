"""From the arguments of a call to the key of its trace.

Tensors and NumPy arrays count by dtype and shape, Variables by identity, other Python values by
equality and type, structures by their nesting.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distflow.base import errors, nest
from distflow.base.specs import TensorSpec
from distflow.core import convert
from distflow.core.tensor import EagerTensor, Tensor

_IMMUTABLE = (bool, int, float, complex, str, bytes, type(None))


@dataclass(frozen=True, eq=False)
class Call:
    """The arguments of one call, taken apart.

    Attributes:
      key: what must be equal for a trace to serve, but for the tensors' shapes.
      shapes: of the tensors.
      tensors: tensors (or TensorSpecs) among the arguments, in order.
      arguments: (positional, keywords), with defaults filled in.
    """

    key: Any
    shapes: tuple[Any, ...]
    tensors: list[Any]
    arguments: tuple[tuple[Any, ...], dict[str, Any]]


class Signature:
    """The parameters of a Python function, with an `input_signature` if one was given."""

    def __init__(self, name: str, function: Callable[..., Any], input_signature: Any = None):
        self.name = name
        self._signature = inspect.signature(function)
        parameters = self._signature.parameters.values()
        self._simple = all(
            p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters
        )
        self._count = len(self._signature.parameters)
        self.specs: tuple[Any, ...] | None = None
        if input_signature is not None:
            self.specs = self._checked(input_signature)

    def _checked(self, input_signature: Any) -> tuple[Any, ...]:
        if not isinstance(input_signature, list | tuple):
            raise TypeError(
                "input_signature must be either a tuple or a list of TensorSpecs; received "
                f"{input_signature!r}"
            )
        for leaf in nest.flatten(list(input_signature)):
            if not isinstance(leaf, TensorSpec):
                raise TypeError(f"input_signature must hold TensorSpecs; received {leaf!r}")
        variadic = any(p.kind is p.VAR_POSITIONAL for p in self._signature.parameters.values())
        if len(input_signature) > self._count and not variadic:
            raise TypeError(
                f"input_signature has {len(input_signature)} entries, but {self.name} takes "
                f"{self._count} arguments"
            )
        return tuple(input_signature)

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The parameters by name."""
        return self._signature.parameters

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """Takes the arguments of a call apart.

        Raises:
          TypeError: if they do not fit the parameters, or the input_signature.
        """
        if self.specs is not None:
            args, kwargs = self._fitted(args, kwargs)
        elif kwargs or not self._simple or len(args) != self._count:
            bound = self._bind(args, kwargs)
            args, kwargs = bound.args, bound.kwargs
        tensors: list[Any] = []
        key = [_encode(a, tensors) for a in args]
        if kwargs:
            key += [(k, _encode(kwargs[k], tensors)) for k in sorted(kwargs)]
        shapes = tuple([
            t._array.shape if type(t) is EagerTensor else _plain(t.shape) for t in tensors
        ])  # fmt: skip
        return Call(tuple(key), shapes, tensors, (args, kwargs))

    def completed(self, args: Any, kwargs: Any, traced: Any) -> tuple[Any, dict[str, Any]]:
        """Returns the arguments of a call with Python values that a trace fixed filled in."""
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError:
            fixed = {
                name: value
                for name, value in zip(self._signature.parameters, traced)
                if not any(isinstance(leaf, TensorSpec) for leaf in nest.flatten(value))
            }
            names = list(self._signature.parameters)[: len(args)]
            kwargs = {**{k: v for k, v in fixed.items() if k not in names}, **kwargs}
        return args, kwargs

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"function {self.name}{self._signature}: {error}") from None
        bound.apply_defaults()
        return bound

    def _fitted(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Arguments as tensors of the input_signature; missing ones only where specs stand in."""
        assert self.specs is not None
        if not args and not kwargs and self.specs:
            given: list[Any] = list(self.specs)
            rest = self._defaults(len(given))
            return (*given, *rest[0]), rest[1]
        bound = self._bind(args, kwargs)
        given = list(bound.args)
        if len(given) < len(self.specs):
            raise self._mismatch(f"{len(self.specs)} arguments", str(len(given)))
        for i, spec in enumerate(self.specs):
            given[i] = self._cast(given[i], spec)
        for extra in given[len(self.specs) :]:
            if isinstance(extra, Tensor | np.ndarray):
                raise self._mismatch(
                    f"{len(self.specs)} tensors", f"a further one, {_described(extra)}"
                )
        return tuple(given), bound.kwargs

    def _defaults(self, skip: int) -> tuple[list[Any], dict[str, Any]]:
        positional, keywords = [], {}
        for p in list(self._signature.parameters.values())[skip:]:
            if p.default is not p.empty:
                if p.kind is p.KEYWORD_ONLY:
                    keywords[p.name] = p.default
                else:
                    positional.append(p.default)
        return positional, keywords

    def _cast(self, argument: Any, spec: Any) -> Any:
        if isinstance(spec, TensorSpec):
            return self._cast_leaf(argument, spec)
        try:
            nest.assert_same_structure(spec, argument, check_types=False)
        except errors.InvalidArgumentError as error:
            raise self._mismatch(str(spec), _described(argument)) from error
        leaves = [
            self._cast_leaf(leaf, s) for leaf, s in zip(nest.flatten(argument), nest.flatten(spec))
        ]
        return nest.pack_sequence_as(spec, leaves)

    def _cast_leaf(self, leaf: Any, spec: TensorSpec) -> Any:
        if isinstance(leaf, TensorSpec):
            if not spec.is_compatible_with(leaf):
                raise self._mismatch(repr(spec), _described(leaf))
            return spec
        try:
            tensor = convert.convert_to_tensor(leaf, spec.dtype)
        except (errors.InvalidArgumentError, TypeError) as error:
            raise self._mismatch(repr(spec), _described(leaf)) from error
        if not spec.is_compatible_with(tensor):
            raise self._mismatch(repr(spec), _described(tensor))
        return _Specified(tensor, spec)

    def _mismatch(self, expected: str, received: str) -> errors.DtypeMismatchError:
        return errors.DtypeMismatchError(
            f"function {self.name}: inputs must fit input_signature; expected {expected}; "
            f"received {received}."
        )


def tensor_names(signature: Signature, call: Call) -> list[str]:
    """Returns parameter names for the tensors, numbered where a parameter holds several."""
    parameters = list(signature.parameters)
    args, kwargs = call.arguments
    labelled = [(parameters[min(i, len(parameters) - 1)], a) for i, a in enumerate(args)]
    names: list[str] = []
    for name, value in [*labelled, *[(k, kwargs[k]) for k in sorted(kwargs)]]:
        found: list[Any] = []
        _encode(value, found)
        names += [name if i == 0 else f"{name}_{i}" for i in range(len(found))]
    return names


def _plain(shape: Any) -> Any:
    return shape if getattr(shape, "rank", 0) is None else tuple(shape)


class _Specified:
    """A tensor argument that is traced by its spec in the input_signature."""

    __slots__ = ("spec", "tensor")

    def __init__(self, tensor: Any, spec: TensorSpec):
        self.tensor = tensor
        self.spec = spec


class _Specimen:
    """A tensor that counts with the shape of its spec."""

    __slots__ = ("dtype", "name", "shape", "tensor")

    def __init__(self, specified: _Specified):
        self.tensor = specified.tensor
        self.dtype = specified.spec.dtype
        unknown = specified.spec.shape.rank is None
        self.shape = self.tensor.shape if unknown else specified.spec.shape
        self.name = specified.spec.name


class _ByEquality:
    """A Python object in a key: equal objects of one type are the same; it is not kept alive."""

    __slots__ = ("_hash", "_reference")

    def __init__(self, value: Any):
        self._reference = weakref.ref(value)
        try:
            self._hash = hash(value)
        except TypeError:
            self._hash = id(value)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _ByEquality):
            return False
        mine, theirs = self._reference(), other._reference()
        if mine is None or theirs is None:
            return False
        if mine is theirs:
            return True
        return type(mine) is type(theirs) and type(mine).__hash__ is not None and mine == theirs


class _ByIdentity:
    __slots__ = ("_id", "_reference")

    def __init__(self, value: Any):
        self._reference = weakref.ref(value)
        self._id = id(value)

    def __hash__(self) -> int:
        return self._id

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _ByIdentity):
            return False
        mine = self._reference()
        return mine is not None and mine is other._reference()


def _encode(x: Any, tensors: list[Any]) -> Any:
    if isinstance(x, Tensor | TensorSpec):
        tensors.append(x)
        return x.dtype
    if isinstance(x, _Specified):
        tensors.append(_Specimen(x))
        return x.spec.dtype
    kind = type(x)
    if kind in _IMMUTABLE:
        # repr tells 0.0 from -0.0, which are equal.
        return (kind, repr(x)) if kind is float else (kind, x)
    if isinstance(x, np.ndarray | np.generic) and not isinstance(x, np.str_ | np.bytes_):
        tensor = convert.convert_to_tensor(x)
        tensors.append(tensor)
        return tensor.dtype
    if getattr(x, "is_variable", False):
        return _ByIdentity(x)
    if nest.is_nested(x):
        keys = tuple(sorted(x)) if isinstance(x, Mapping) else None
        return (kind, keys, *[_encode(child, tensors) for child in nest.children(x)])
    try:
        return (kind, _ByEquality(x))
    except TypeError:
        try:
            hash(x)
        except TypeError:
            raise errors.invalid(
                "function", "arguments must be tensors, structures of them, or hashable",
                f"{x!r:.80}",
            ) from None  # fmt: skip
        return (kind, x)


def replace_tensors(structure: Any, replacements: Iterator[Any]) -> Any:
    """Returns a structure with its tensors (in the order of `Call.tensors`) replaced."""
    if isinstance(structure, Tensor | TensorSpec | _Specified | np.ndarray | np.generic):
        if isinstance(structure, np.str_ | np.bytes_):
            return structure
        return next(replacements)
    if nest.is_nested(structure):
        return nest.rebuild(
            structure, [replace_tensors(child, replacements) for child in nest.children(structure)]
        )
    return structure


def replaced(call: Call, replacements: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Returns the call's arguments with its tensors replaced."""
    iterator = iter(replacements)
    args, kwargs = call.arguments
    positional = tuple(replace_tensors(a, iterator) for a in args)
    return positional, {k: replace_tensors(kwargs[k], iterator) for k in sorted(kwargs)}


def value_of(tensor: Any) -> Any:
    """Returns what an entry of `Call.tensors` hands to the graph."""
    return tensor.tensor if isinstance(tensor, _Specimen) else tensor


def _described(value: Any) -> str:
    if isinstance(value, EagerTensor | Tensor):
        return f"TensorSpec(shape={value.shape}, dtype={value.dtype!r}, name=None)"
    return f"{value!r:.120}"
