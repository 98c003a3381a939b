"""Dataset: the fluent API over pipeline nodes, with TF's names and arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from distflow.base import dtypes, errors, nest
from distflow.base.specs import TensorSpec
from distflow.core.tensor import EagerTensor, Tensor
from distflow.data import structure
from distflow.data.ahead import Prefetch, WithOptions, options_of
from distflow.data.arrays import ArraySource
from distflow.data.batching import Batch, PaddedBatch, Unbatch, Window
from distflow.data.cache import Cache
from distflow.data.iterator import Iterator, NumpyIterator
from distflow.data.node import INFINITE, UNKNOWN, Node, Run
from distflow.data.options import AUTOTUNE, Options
from distflow.data.rearrange import Repeat, Shard, Skip, Take
from distflow.data.shuffle import RandomNumbers, Shuffle
from distflow.data.sources import Concatenate, Elements, Generator, Range, TensorSlices, Zip
from distflow.data.transforms import (
    AssertCardinality,
    Enumerate,
    Filter,
    FlatMap,
    Interleave,
    Map,
    Scan,
    TakeWhile,
    same_state,
)

# interleave's default: fixed, so that the order does not depend on the machine's CPUs (TF's does).
_CYCLE_LENGTH = 4


class Dataset:
    """A sequence of elements: structures (tuples, dicts) of tensors.

    It is a description; each iteration runs it from the beginning. Methods return new data sets.
    """

    is_dataset = True

    def __init__(self, node: Node):
        if not isinstance(node, Node):
            raise errors.invalid(
                "Dataset", "data sets are made by Dataset.from_tensor_slices and the like",
                f"{node!r:.80}",
            )  # fmt: skip
        self._node = node

    # -- sources ---------------------------------------------------------------------------

    @staticmethod
    def from_tensor_slices(tensors: Any, name: Any = None) -> Dataset:
        """Returns the rows of arrays that share their first dimension.

        Raises:
          InvalidArgumentError: if first dimensions differ, naming both.
        """
        return Dataset(TensorSlices(ArraySource(tensors)))

    @staticmethod
    def from_tensors(tensors: Any, name: Any = None) -> Dataset:
        """Returns a data set of one element."""
        value = structure.element(tensors)
        return Dataset(Elements((value,), structure.spec_of(value)))

    @staticmethod
    def from_generator(
        generator: Callable[..., Any],
        output_types: Any = None,
        output_shapes: Any = None,
        args: Any = None,
        output_signature: Any = None,
        name: Any = None,
    ) -> Dataset:
        """Returns what `generator(*args)` yields; it is called anew for each iteration.

        Args:
          generator: function that returns an iterable; gets `args` as NumPy values.
          output_signature: structure of TensorSpecs of an element.
          output_types, output_shapes: the older form: structures of dtypes and shapes.
        """
        if not callable(generator):
            raise errors.DtypeMismatchError(
                f"from_generator: expected a callable; received {generator!r:.80}.\n"
                "Wrap an iterator in a function: lambda: iterator."
            )
        signature = _signature(output_signature, output_types, output_shapes)
        values = tuple(structure.element(a).numpy() for a in args or ())
        return Dataset(Generator(generator, values, signature))

    @staticmethod
    def range(*args: Any, output_type: Any = dtypes.int64, name: Any = None) -> Dataset:
        """Returns scalars as Python's range(stop), (start, stop) or (start, stop, step) does."""
        if not 1 <= len(args) <= 3:
            raise errors.invalid("Dataset.range", "one to three numbers", f"{len(args)}")
        numbers = [int(a) for a in args]
        start, stop, step = (0, numbers[0], 1) if len(args) == 1 else (*numbers, 1)[:3]
        if step == 0:
            raise errors.invalid("Dataset.range", "step must not be 0", "0")
        return Dataset(Range(start, stop, step, dtypes.as_dtype(output_type)))

    @staticmethod
    def zip(*args: Any, datasets: Any = None, name: Any = None) -> Dataset:
        """Returns elements of several data sets side by side: zip(a, b), zip((a, b)), zip(dict)."""
        if bool(args) == (datasets is not None):
            raise errors.DtypeMismatchError("Dataset.zip: expected data sets, once; received none.")
        parts = datasets if datasets is not None else args if len(args) > 1 else args[0]
        if isinstance(parts, list):
            parts = tuple(parts)
        return Dataset(Zip(nest.map_structure(lambda d: _node("zip", d), parts)))

    @staticmethod
    def random(
        seed: int | None = None, rerandomize_each_iteration: bool | None = None, name: Any = None
    ) -> Dataset:
        """Returns endless int64 scalars, uniform in [0, 2**32)."""
        return Dataset(RandomNumbers(_seed(seed), bool(rerandomize_each_iteration)))

    def concatenate(self, dataset: Dataset, name: Any = None) -> Dataset:
        """Returns these elements, then those of `dataset`."""
        node = Concatenate(self._node, _node("concatenate", dataset))
        _ = node.spec  # data sets that do not go together are an error here, not at the seam
        return Dataset(node)

    # -- functions on elements -------------------------------------------------------------

    def map(
        self,
        map_func: Callable[..., Any],
        num_parallel_calls: int | None = None,
        deterministic: bool | None = None,
        name: Any = None,
    ) -> Dataset:
        """Returns map_func(element) of every element; tuples are spread over its arguments.

        Args:
          map_func: runs eagerly on tensors: Python control flow and side effects work.
          num_parallel_calls: size of a thread pool, or AUTOTUNE.
          deterministic: False lets a pool deliver results as they are ready.
        """
        _callable("map", map_func)
        calls = _parallel("map", num_parallel_calls)
        return Dataset(Map(self._node, map_func, calls, deterministic))

    def filter(self, predicate: Callable[..., Any], name: Any = None) -> Dataset:
        """Returns the elements for which the predicate returns a true bool scalar."""
        return Dataset(Filter(self._node, _callable("filter", predicate)))

    def take_while(self, predicate: Callable[..., Any], name: Any = None) -> Dataset:
        """Returns the elements before the first one for which the predicate is false."""
        return Dataset(TakeWhile(self._node, _callable("take_while", predicate)))

    def flat_map(self, map_func: Callable[..., Any], name: Any = None) -> Dataset:
        """Returns the elements of the data sets that map_func returns, in order."""
        return Dataset(FlatMap(self._node, _callable("flat_map", map_func)))

    def interleave(
        self,
        map_func: Callable[..., Any],
        cycle_length: int | None = None,
        block_length: int | None = None,
        num_parallel_calls: int | None = None,
        deterministic: bool | None = None,
        name: Any = None,
    ) -> Dataset:
        """Returns blocks of the data sets that map_func returns, in turn.

        Args:
          cycle_length: how many data sets are open at once; default (or AUTOTUNE) 4.
          block_length: elements taken from one at a time, default 1.
          num_parallel_calls: how many of them threads read ahead.
          deterministic: False would permit another order; the order is always the same here.
        """
        cycle = _CYCLE_LENGTH if cycle_length in (None, AUTOTUNE) else cycle_length
        node = Interleave(
            self._node, _callable("interleave", map_func),
            cycle_length=_positive("interleave", "cycle_length", cycle),
            block_length=_positive("interleave", "block_length", block_length or 1),
            parallel_calls=_parallel("interleave", num_parallel_calls),
        )  # fmt: skip
        return Dataset(node)

    def scan(self, initial_state: Any, scan_func: Callable[..., Any], name: Any = None) -> Dataset:
        """Returns the outputs of scan_func(state, element) -> (new_state, output)."""
        state = structure.element(initial_state)
        return Dataset(Scan(self._node, state, _callable("scan", scan_func)))

    def enumerate(self, start: int = 0, name: Any = None) -> Dataset:
        """Returns (position, element) pairs; positions are int64."""
        return Dataset(Enumerate(self._node, int(start)))

    def reduce(self, initial_state: Any, reduce_func: Callable[..., Any], name: Any = None) -> Any:
        """Returns the last state of reduce_func(state, element) -> new state."""
        _callable("reduce", reduce_func)
        state = structure.element(initial_state)
        for value in self:
            new_state = structure.element(structure.eagerly(reduce_func, state, value))
            same_state("reduce", state, new_state)
            state = new_state
        return state

    def apply(self, transformation_func: Callable[[Dataset], Any]) -> Any:
        """Returns transformation_func(self), which must be a data set."""
        result = transformation_func(self)
        _node("apply", result)
        return result

    # -- order and number ------------------------------------------------------------------

    def shuffle(
        self,
        buffer_size: Any,
        seed: int | None = None,
        reshuffle_each_iteration: bool | None = None,
        name: Any = None,
    ) -> Dataset:
        """Returns the elements in random order.

        Args:
          buffer_size: elements among which each one is drawn; the whole data set gives a uniform
            order. UNKNOWN_CARDINALITY (-2) means all of them.
          seed: fixes the orders; None draws one, which strategies agree on.
          reshuffle_each_iteration: whether each iteration has a new order (default True).
        """
        size = int(buffer_size)
        if size < 1 and size != UNKNOWN:
            raise errors.invalid("shuffle", "buffer_size must be > 0", str(size))
        node = Shuffle(
            self._node, None if size == UNKNOWN else size, _seed(seed),
            reshuffle_each_iteration is not False,
        )  # fmt: skip
        return Dataset(node)

    def repeat(self, count: Any = None, name: Any = None) -> Dataset:
        """Returns the elements `count` times over; for ever if it is None or negative."""
        return Dataset(Repeat(self._node, -1 if count is None else int(count)))

    def take(self, count: Any, name: Any = None) -> Dataset:
        """Returns the first `count` elements; all of them if it is negative."""
        return Dataset(Take(self._node, _integer("take", "count", count)))

    def skip(self, count: Any, name: Any = None) -> Dataset:
        """Returns all but the first `count` elements; none of them if it is negative."""
        return Dataset(Skip(self._node, _integer("skip", "count", count)))

    def shard(self, num_shards: Any, index: Any, name: Any = None) -> Dataset:
        """Returns every num_shards-th element, beginning with number `index`."""
        shards = _positive("shard", "num_shards", num_shards)
        if not 0 <= int(index) < shards:
            raise errors.invalid("shard", f"index must be in [0, {shards})", str(index))
        return Dataset(Shard(self._node, shards, int(index)))

    # -- batches ---------------------------------------------------------------------------

    def batch(
        self,
        batch_size: Any,
        drop_remainder: bool = False,
        num_parallel_calls: int | None = None,
        deterministic: bool | None = None,
        name: Any = None,
    ) -> Dataset:
        """Returns elements stacked by `batch_size`; the last batch may be smaller.

        Args:
          batch_size: elements of a batch.
          drop_remainder: leaves a smaller last batch out.
          num_parallel_calls: size of a thread pool that stacks, or AUTOTUNE.
          deterministic: False lets the pool deliver batches as they are ready.

        Raises:
          InvalidArgumentError: while iterating, if shapes differ within a batch.
        """
        size = _positive("batch", "batch_size", batch_size)
        calls = _parallel("batch", num_parallel_calls)
        return Dataset(Batch(self._node, size, bool(drop_remainder), calls, deterministic))

    def padded_batch(
        self,
        batch_size: Any,
        padded_shapes: Any = None,
        padding_values: Any = None,
        drop_remainder: bool = False,
        name: Any = None,
    ) -> Dataset:
        """Returns elements padded to one shape and stacked.

        Args:
          padded_shapes: structure of shapes; None dimensions grow to the longest of each batch.
          padding_values: structure of scalars or one for all; default 0, "" or False.
        """
        size = _positive("padded_batch", "batch_size", batch_size)
        node = PaddedBatch(self._node, size, bool(drop_remainder), padded_shapes, padding_values)
        return Dataset(node)

    def unbatch(self, name: Any = None) -> Dataset:
        """Returns the rows of every element, one by one."""
        return Dataset(Unbatch(self._node))

    def window(
        self,
        size: Any,
        shift: Any = None,
        stride: Any = 1,
        drop_remainder: bool = False,
        name: Any = None,
    ) -> Dataset:
        """Returns data sets of `size` elements, `stride` apart, each `shift` after the last."""
        length = _positive("window", "size", size)
        step = length if shift is None else _positive("window", "shift", shift)
        apart = _positive("window", "stride", stride)
        return Dataset(Window(self._node, length, step, apart, bool(drop_remainder), Dataset))

    # -- how it runs -----------------------------------------------------------------------

    def cache(self, filename: Any = "", name: Any = None) -> Dataset:
        """Returns the same elements, computed in the first complete pass only.

        Args:
          filename: a file "<filename>.cache" keeps them; default memory.
        """
        return Dataset(Cache(self._node, str(filename)))

    def prefetch(self, buffer_size: Any, name: Any = None) -> Dataset:
        """Returns the same elements, read ahead by a thread; AUTOTUNE holds two."""
        size = int(buffer_size)
        if size < 0 and size != AUTOTUNE:
            raise errors.invalid("prefetch", "buffer_size must be >= 0 or AUTOTUNE", str(size))
        return Dataset(Prefetch(self._node, size))

    def with_options(self, options: Options, name: Any = None) -> Dataset:
        """Returns the same elements, with options for the whole pipeline."""
        if not isinstance(options, Options):
            raise errors.invalid("with_options", "a tf.data.Options", f"{options!r:.80}")
        return Dataset(WithOptions(self._node, Options().merge(options)))

    def options(self) -> Options:
        """Returns the options of the pipeline."""
        return options_of(self._node)

    def assert_cardinality(self, expected_cardinality: Any) -> Dataset:
        """Returns the same elements, with an error if their number is another."""
        return Dataset(AssertCardinality(self._node, int(expected_cardinality)))

    # -- reading ---------------------------------------------------------------------------

    @property
    def node(self) -> Node:
        """The description, for rooms that inspect or rewrite pipelines."""
        return self._node

    def rebuild(self, node: Node) -> Dataset:
        """Returns a data set of another description."""
        return Dataset(node)

    @property
    def element_spec(self) -> Any:
        """The structure of TensorSpecs of an element."""
        return self._node.spec

    def cardinality(self, name: Any = None) -> Tensor:
        """Returns the number of elements (int64), INFINITE_CARDINALITY or UNKNOWN_CARDINALITY."""
        return EagerTensor(np.asarray(self._node.cardinality, np.int64))

    def __iter__(self) -> Iterator:
        return Iterator(lambda: iter(self._node.elements(Run(self.options()))), self)

    def as_numpy_iterator(self) -> NumpyIterator:
        """Returns an iterator whose elements have NumPy leaves."""
        return NumpyIterator(iter(self))

    def get_single_element(self, name: Any = None) -> Any:
        """Returns the only element; raises InvalidArgumentError if there are none or several."""
        iterator = iter(self)
        values = [value for value, _ in zip(iterator, (0, 1))]
        iterator.close()
        if len(values) != 1:
            raise errors.invalid(
                "get_single_element", "exactly one element", "none" if not values else "several"
            )
        return values[0]

    def __len__(self) -> int:
        n = self._node.cardinality
        if n < 0:
            raise TypeError(
                "The dataset is infinite." if n == INFINITE else "The dataset length is unknown."
            )
        return n

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<{type(self._node).__name__}Dataset cardinality={self._node.cardinality}>"


def _node(where: str, dataset: Any) -> Node:
    if not isinstance(dataset, Dataset):
        raise errors.DtypeMismatchError(
            f"{where}: expected a Dataset; received {type(dataset).__name__} {dataset!r:.80}."
        )
    return dataset.node


def _signature(signature: Any, types: Any, output_shapes: Any) -> Any:
    if signature is not None:
        if types is not None or output_shapes is not None:
            raise errors.DtypeMismatchError(
                "from_generator: expected output_signature or output_types; received both."
            )
        if not all(isinstance(leaf, TensorSpec) for leaf in nest.flatten(signature)):
            raise errors.DtypeMismatchError(
                f"from_generator: expected TensorSpecs in output_signature; received {signature!r}."
            )
        return signature
    if types is None:
        raise errors.DtypeMismatchError(
            "from_generator: expected output_signature or output_types; received neither."
        )
    if output_shapes is None:
        return nest.map_structure(lambda t: TensorSpec(None, t), types)
    return _with_shapes(types, output_shapes)


def _with_shapes(types: Any, output_shapes: Any) -> Any:
    if not nest.is_nested(types):
        return TensorSpec(output_shapes, types)
    if len(types) != len(output_shapes):
        raise errors.invalid("from_generator", f"output_shapes like {types!r}", repr(output_shapes))
    pairs = zip(nest.children(types), nest.children(output_shapes))
    return nest.rebuild(types, [_with_shapes(t, s) for t, s in pairs])


def _callable(where: str, function: Any) -> Any:
    if not callable(function):
        raise errors.DtypeMismatchError(f"{where}: expected a function; received {function!r:.80}.")
    return function


def _integer(where: str, name: str, value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise errors.DtypeMismatchError(
            f"{where}: expected an integer {name}; received {value!r:.80}."
        ) from error


def _positive(where: str, name: str, value: Any) -> int:
    number = _integer(where, name, value)
    if number < 1:
        raise errors.invalid(where, f"{name} must be > 0", str(number))
    return number


def _parallel(where: str, calls: int | None) -> int:
    """Returns the number of parallel calls; 0 for none asked."""
    if calls is None:
        return 0
    return AUTOTUNE if int(calls) == AUTOTUNE else _positive(where, "num_parallel_calls", calls)


def _seed(seed: Any) -> int | None:
    return None if seed is None else int(seed) % 2**64
