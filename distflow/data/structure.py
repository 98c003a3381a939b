"""Elements of data sets: tuples and dicts of tensors, their specs, and calls on them.

As in TF, a list inside an element is a tensor to be, not a structure.
"""

from __future__ import annotations

import collections.abc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from distflow.base import dtypes, errors, log, nest, shapes
from distflow.base.specs import TensorSpec, TypeSpec
from distflow.core import context
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import EagerTensor, Tensor
from distflow.graph import build


class DatasetSpec(TypeSpec):
    """The spec of a data set inside an element, as `window` makes them.

    `empty`, if given, makes a data set of this spec without elements.
    """

    def __init__(self, element_spec: Any, empty: Callable[[], Any] | None = None):
        self.element_spec = element_spec
        self.empty = empty

    def is_compatible_with(self, value: Any) -> bool:
        """Whether a data set (or its spec) has this element spec."""
        return bool(getattr(value, "element_spec", None) == self.element_spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DatasetSpec) and self.element_spec == other.element_spec

    def __hash__(self) -> int:
        return hash(DatasetSpec)

    def __repr__(self) -> str:
        return f"DatasetSpec({self.element_spec!r})"


def element(value: Any) -> Any:
    """Returns a value as an element: leaves become EagerTensors, lists become tensors."""
    if isinstance(value, EagerTensor):
        return value
    if isinstance(value, tuple) and not isinstance(value, shapes.TensorShape):
        parts = [element(v) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, collections.abc.Mapping):
        return nest.rebuild(value, [element(v) for v in nest.children(value)])
    if getattr(value, "is_dataset", False):
        return value
    if value is None:
        raise errors.invalid("data.Dataset", "elements must be tensors", "None")
    tensor = convert_to_tensor(value)
    if not isinstance(tensor, EagerTensor):
        raise errors.invalid("data.Dataset", "elements must have values", repr(tensor))
    return tensor


def returned(value: Any) -> Any:
    """Returns what a user's function returned as an element; a list there is a tuple (as TF)."""
    return element(tuple(value) if type(value) is list else value)


def call(function: Callable[..., Any], value: Any) -> Any:
    """Returns function(element), with a tuple spread over the arguments.

    The function runs eagerly, outside of all traces and tapes of the thread that iterates.
    """
    arguments = value if type(value) is tuple else (value,)
    return eagerly(function, *arguments)


def eagerly(function: Callable[..., Any], *arguments: Any) -> Any:
    """Returns function(*arguments), run outside of the traces and tapes of this thread."""
    if not context.state.interpreters and not context.state.observers:
        return function(*arguments)
    with context.init_scope():
        return function(*arguments)


def truth(where: str, value: Any) -> bool:
    """Returns the value of a predicate; it must be a boolean scalar."""
    flag = value if isinstance(value, bool | np.bool_) else convert_to_tensor(value)
    if isinstance(flag, Tensor):
        if flag.dtype.name != "bool" or flag.shape != ():
            raise errors.invalid(
                where, "the predicate must return a bool scalar",
                f"{flag.dtype.name} {shapes.text(flag.shape)}",
            )  # fmt: skip
    return bool(flag)


def spec_of(value: Any) -> Any:
    """Returns the structure of specs of one element."""
    if isinstance(value, Tensor):
        return TensorSpec(value.shape, value.dtype)
    if getattr(value, "is_dataset", False):
        return DatasetSpec(value.element_spec)
    return nest.rebuild(value, [spec_of(v) for v in nest.children(value)])


def map_spec(function: Callable[[TensorSpec], Any], spec: Any) -> Any:
    """Returns the structure of function(spec) over the leaves."""
    return nest.map_structure(function, spec)


def common_spec(where: str, a: Any, b: Any) -> Any:
    """Returns the spec that covers both; raises DtypeMismatchError if there is none."""
    try:
        nest.assert_same_structure(a, b)
        merged = [
            x if x == y else x.most_specific_common_supertype([y])
            for x, y in zip(nest.flatten(a), nest.flatten(b))
        ]
    except (errors.InvalidArgumentError, AttributeError):
        merged = [None]
    if None in merged:
        raise errors.DtypeMismatchError(
            f"{where}: expected data sets with elements of one structure and dtype; "
            f"received {a!r} and {b!r}."
        )
    return nest.pack_sequence_as(a, merged)


def specs_of_result(
    function: Callable[..., Any],
    apply: Callable[[Any], Any],
    source_spec: Any,
    samples: Callable[[], Iterator[Any]],
) -> Any:
    """Returns the spec of what a user's function returns.

    The function is traced once on symbols. One that cannot be traced (it looks at values) is run
    on the first element instead (or on zeros if there is none); then a dimension that equals an
    unknown dimension of the source at the same position (the size of a batch, mostly) is taken
    to vary with it.

    Args:
      function: takes the parts of an element.
      apply: takes an element and returns an element; what really runs.
      source_spec: spec of the elements.
      samples: starts a look at the elements.
    """
    arguments = source_spec if type(source_spec) is tuple else (source_spec,)
    try:
        return build.output_specs(lambda *a: _traced(function(*a)), *arguments)
    except Exception as error:  # noqa: BLE001 (any Python may refuse symbols; the sample decides)
        log.get_logger().debug("data: element_spec from the first element: %s", error)
    for sample in first_element(source_spec, samples):
        return _spec_from(sample, source_spec, apply)
    raise AssertionError("there is always an element or a stand-in")


def first_element(spec: Any, samples: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    """Yields the first element; for an empty data set a stand-in of zeros."""
    for sample in samples():
        yield sample
        return
    yield nest.map_structure(_zeros, spec)


def _zeros(spec: Any) -> Any:
    if isinstance(spec, DatasetSpec) and spec.empty is not None:
        return spec.empty()
    if not isinstance(spec, TensorSpec) or spec.shape.rank is None:
        raise errors.FailedPreconditionError(
            "element_spec: expected at least one element to find what the function returns; "
            "received an empty data set."
        )
    shape = [dim or 0 for dim in spec.shape]
    if spec.dtype is dtypes.string:
        return EagerTensor(np.full(shape, b"", object))
    return EagerTensor(np.zeros(shape, spec.dtype.numpy))


def _traced(value: Any) -> Any:
    """Returns a traced function's result with its leaves as tensors, like `returned`."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, tuple) or type(value) is list:
        parts = [_traced_part(v) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return _traced_part(value)


def _traced_part(value: Any) -> Any:
    if isinstance(value, tuple) or isinstance(value, collections.abc.Mapping):
        return nest.rebuild(value, [_traced_part(v) for v in nest.children(value)])
    return convert_to_tensor(value)


def _spec_from(sample: Any, source_spec: Any, apply: Callable[[Any], Any]) -> Any:
    varying = {
        (axis, value.shape[axis])
        for spec, value in zip(nest.flatten(source_spec), nest.flatten(sample))
        if isinstance(spec, TensorSpec) and spec.shape.rank is not None
        for axis, dim in enumerate(spec.shape)
        if dim is None
    }
    return map_spec(lambda leaf: _with_unknown(leaf, varying), spec_of(apply(sample)))


def _with_unknown(spec: Any, varying: set[tuple[int, Any]]) -> Any:
    if not isinstance(spec, TensorSpec):
        return spec
    dims = [None if pair in varying else pair[1] for pair in enumerate(spec.shape)]
    return TensorSpec(dims, spec.dtype)


def packer(template: Any) -> Callable[[list[Any]], Any]:
    """Returns a fast function from leaves to a structure like `template`."""
    if not nest.is_nested(template):
        return lambda leaves: leaves[0]
    flat = not any(nest.is_nested(child) for child in nest.children(template))
    if flat and type(template) is tuple:
        return tuple
    if flat and type(template) is dict:
        place = {key: i for i, key in enumerate(sorted(template))}
        return lambda leaves: {key: leaves[place[key]] for key in template}
    return lambda leaves: nest.pack_sequence_as(template, leaves)


def stack(where: str, elements: list[Any], pad: Callable[[Any], Any] | None = None) -> Any:
    """Returns elements of equal structure as one, with a new first axis.

    `pad(columns)` may even out the arrays of each leaf first.

    Raises:
      InvalidArgumentError: if the shapes differ, naming both.
    """
    first = elements[0]
    rows = [[leaf.array for leaf in nest.flatten(e)] for e in elements]
    columns = [list(column) for column in zip(*rows)]
    if pad is not None:
        columns = pad(columns)
    return nest.pack_sequence_as(first, [EagerTensor(_stack(where, c)) for c in columns])


def _stack(where: str, arrays: list[Any]) -> Any:
    shape = arrays[0].shape
    for position, array in enumerate(arrays):
        if array.shape != shape:
            raise errors.invalid(
                where, f"elements of a batch must have one shape; the first has "
                f"{shapes.text(shape)}", f"{shapes.text(array.shape)} at position {position}",
                "padded_batch evens out different shapes.",
            )  # fmt: skip
    return np.stack(arrays)
