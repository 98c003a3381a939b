"""From whatever `fit` is given (arrays, data sets, generators) to batches (x, y, sample_weight).

Sizes, structures and lengths are checked before any work starts.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from distflow.base import errors, nest
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import Tensor
from distflow.data import Dataset, position
from distflow.data import shuffle as shuffles
from distflow.data.options import AutoShardPolicy
from distflow.distribute import DistributedDataset, DistributedIterator, sharding
from distflow.keras.training.py_dataset import PyDataset, made_batches

DEFAULT_BATCH_SIZE = 32
# Second word of the Philox stream, apart from those of the data room.
_ROWS_STREAM = 0x4649


class Source:
    """Batches of one pass over the data.

    Attributes:
      num_batches: batches of one pass, or None if unknown.
      is_distributed: whether batches are cut into replicas already.
    """

    num_batches: int | None = None
    is_distributed = False

    def epoch(self, number: int, start: int = 0) -> Iterator[Any]:
        """Returns an iterator over the batches of epoch `number`, without the first `start`."""
        return itertools.islice(self._batches(number), start, None)

    def _batches(self, number: int) -> Iterator[Any]:
        raise AssertionError("subclasses define _batches, or epoch")

    def state(self) -> dict[str, Any]:
        """Returns what another process needs to give the same next pass, for `set_state`."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Lets the next pass be the one that came next when `state` was called."""


class ArraySource(Source):
    """Rows of arrays in memory; shuffled by a permutation that (seed, epoch) determine."""

    def __init__(
        self, x: Any, y: Any, sample_weight: Any, batch_size: int | None, shuffle: bool, seed: int
    ):
        self._data = tuple(_to_arrays(part) for part in (x, y, sample_weight))
        self._rows = _common_rows(*self._data)
        self._batch_size = DEFAULT_BATCH_SIZE if batch_size is None else batch_size
        if not isinstance(self._batch_size, int | np.integer) or self._batch_size < 1:
            raise errors.invalid("fit", "batch_size must be an int >= 1", repr(batch_size))
        self._shuffle, self._seed = shuffle, seed
        self.num_batches = -(-self._rows // self._batch_size)

    def epoch(self, number: int, start: int = 0) -> Iterator[Any]:
        """Yields (x, y, sample_weight) of tensors."""
        order = permutation(self._rows, self._seed, number) if self._shuffle else None
        for first in range(start * self._batch_size, self._rows, self._batch_size):
            stop = min(first + self._batch_size, self._rows)
            rows = slice(first, stop) if order is None else order[first:stop]
            yield tuple(
                nest.map_structure(lambda a, r=rows: None if a is None else convert_to_tensor(a[r]),
                                   part)
                for part in self._data
            )  # fmt: skip

    def state(self) -> dict[str, Any]:
        """Returns the seed: with the epoch's number it says the order."""
        return {"seed": self._seed}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes the seed of the run before."""
        self._seed = int(state["seed"])


class DatasetSource(Source):
    """A data set, or a distributed one, whose elements are batches."""

    def __init__(self, dataset: Any):
        self._dataset = self._given = dataset
        self._seed: int | None = None
        self.is_distributed = isinstance(dataset, DistributedDataset | DistributedIterator)
        try:
            self.num_batches = len(dataset)
        except TypeError:
            self.num_batches = None

    def shared(self, strategy: Any) -> DatasetSource:
        """Returns the source for the replicas of a strategy, as the data set's options divide it.

        Shuffles without a seed get the chief's, so that all workers see one order.
        """
        if isinstance(self._dataset, Dataset):
            if sharding.policy_of(self._dataset) in (AutoShardPolicy.FILE, AutoShardPolicy.OFF):
                return DatasetSource(sharding.distributed(strategy, self._dataset))
            self._set_seed(strategy.agree(fresh_seed(), "seed of shuffles"))
        return self

    def _set_seed(self, seed: int) -> None:
        self._seed = seed
        self._dataset = shuffles.set_missing_seeds(self._given, seed)

    def _batches(self, number: int) -> Iterator[Any]:
        return (unpack(element) for element in self._dataset)

    def state(self) -> dict[str, Any]:
        """Returns where the random steps of the pipeline stand."""
        if isinstance(self._dataset, Dataset):
            return {"seed": self._seed, "steps": position.state(self._dataset.node)}
        return self._dataset.state() if hasattr(self._dataset, "state") else {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Puts the random steps where they stood."""
        if isinstance(self._dataset, Dataset):
            if state["seed"] is not None:
                self._set_seed(int(state["seed"]))
            position.set_state(self._dataset.node, state["steps"])
        elif hasattr(self._dataset, "set_state"):
            self._dataset.set_state(state)


class IteratorSource(Source):
    """A generator or other iterable of batches; one that ends cannot start again."""

    def __init__(self, iterable: Any):
        self._iterable = iterable
        self._iterator = iterable if hasattr(iterable, "__next__") else None
        self._taken = 0
        self.num_batches = len(iterable) if hasattr(iterable, "__len__") else None

    def _batches(self, number: int) -> Iterator[Any]:
        source = self._iterator if self._iterator is not None else self._restart()
        for element in source:
            self._taken += 1
            yield tuple(
                nest.map_structure(lambda a: None if a is None else _tensor(a), part)
                for part in unpack(element)
            )

    def state(self) -> dict[str, Any]:
        """Returns how many elements a generator has given, which goes on through all passes."""
        return {"taken": self._taken if self._iterator is not None else 0}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes as many elements from a generator that starts anew, and drops them."""
        if self._iterator is not None:
            while self._taken < state["taken"]:
                next(self._iterator, None)
                self._taken += 1

    def _restart(self) -> Iterator[Any]:
        # Batches by number.
        if hasattr(self._iterable, "__getitem__") and hasattr(self._iterable, "__len__"):
            return (self._iterable[i] for i in range(len(self._iterable)))
        return iter(self._iterable)


class PyDatasetSource(Source):
    """Batches of a PyDataset in order, whoever makes them.

    Args:
      shuffle: whether the order of batches is that of a permutation by (seed, epoch).
    """

    def __init__(self, dataset: PyDataset, shuffle: bool, seed: int):
        self._dataset, self._shuffle, self._seed = dataset, shuffle, seed
        self.num_batches = dataset.num_batches

    def epoch(self, number: int, start: int = 0) -> Iterator[Any]:
        """Yields (x, y, sample_weight) of tensors."""
        self._dataset.on_epoch_begin()
        for batch in made_batches(self._dataset, self._order(number, start)):
            yield tuple(
                nest.map_structure(lambda a: None if a is None else _tensor(a), part)
                for part in unpack(batch)
            )
        self._dataset.on_epoch_end()

    def _order(self, number: int, start: int) -> Iterator[int]:
        if self.num_batches is None:
            return itertools.count(start)
        if not self._shuffle:
            return iter(range(start, self.num_batches))
        return iter(permutation(self.num_batches, self._seed, number)[start:].tolist())

    def state(self) -> dict[str, Any]:
        """Returns the seed: with the epoch's number it says the order."""
        return {"seed": self._seed}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes the seed of the run before."""
        self._seed = int(state["seed"])


def fresh_seed() -> int:
    """Returns a seed from Python's generator, which `keras.utils.set_random_seed` seeds."""
    return random.getrandbits(63)


def permutation(rows: int, seed: int, epoch: int) -> Any:
    """Returns the order of rows in an epoch, a pure function of seed and epoch."""
    draws = shuffles.words64(seed, epoch, _ROWS_STREAM)
    return np.fromiter(shuffles.reservoir(iter(range(rows)), None, draws), np.int64, rows)


def unpack(element: Any) -> tuple[Any, Any, Any]:
    """Returns (x, y, sample_weight) from an element: x, (x,), (x, y) or (x, y, weights)."""
    if not isinstance(element, tuple):
        return element, None, None
    if not 1 <= len(element) <= 3:
        raise errors.invalid(
            "fit", "elements must be x, (x, y) or (x, y, sample_weight)",
            f"a tuple of {len(element)}",
        )  # fmt: skip
    return (*element, None, None)[:3]  # type: ignore[return-value]


def make_source(
    x: Any, y: Any = None, sample_weight: Any = None, *, batch_size: int | None = None,
    shuffle: bool = False, seed: int | None = None, where: str = "fit",
) -> Source:  # fmt: skip
    """Returns the source of batches for the arguments of fit, evaluate or predict."""
    if isinstance(x, Source):
        return x
    if isinstance(x, Dataset) or hasattr(x, "element_spec"):
        _refuse(where, "a Dataset", y=y, sample_weight=sample_weight, batch_size=batch_size)
        return DatasetSource(x)
    if isinstance(x, PyDataset):
        _refuse(where, "a PyDataset", y=y, sample_weight=sample_weight, batch_size=batch_size)
        return PyDatasetSource(x, bool(shuffle), fresh_seed() if seed is None else seed)
    if _is_iterable_of_batches(x):
        _refuse(where, "an iterator", y=y, sample_weight=sample_weight, batch_size=batch_size)
        return IteratorSource(x)
    if x is None:
        raise errors.invalid(where, "x must be given: arrays, a Dataset, or a generator", "None")
    return ArraySource(
        x, y, sample_weight, batch_size, bool(shuffle), fresh_seed() if seed is None else seed
    )


def is_array_like(x: Any) -> bool:
    """Whether `x` goes through ArraySource."""
    return not (isinstance(x, Source | Dataset | PyDataset) or hasattr(x, "element_spec")) and not (
        _is_iterable_of_batches(x)
    )


def split(
    x: Any, y: Any, sample_weight: Any, fraction: float
) -> tuple[tuple[Any, Any, Any], tuple[Any, Any, Any]]:
    """Returns the data without, and the data of, the last `fraction` of the rows."""
    if not 0 < fraction < 1:
        raise errors.invalid("fit", "validation_split must be between 0 and 1", str(fraction))
    if not is_array_like(x):
        raise errors.invalid(
            "fit", "validation_split works on arrays", type(x).__name__,
            "Give validation_data= instead.",
        )  # fmt: skip
    parts = [_to_arrays(part) for part in (x, y, sample_weight)]
    rows = _common_rows(*parts)
    at = int(rows * (1 - fraction))
    if at in (0, rows):
        raise errors.invalid("fit", "both parts of a validation_split need rows",
                             f"{rows} rows at {fraction}")  # fmt: skip

    def cut(part: Any, rows: slice) -> Any:
        return nest.map_structure(lambda a: None if a is None else a[rows], part)

    before, after = slice(None, at), slice(at, None)
    return tuple(cut(p, before) for p in parts), tuple(cut(p, after) for p in parts)  # type: ignore[return-value]


def check_class_weight(class_weight: Any) -> None:
    """Raises InvalidArgumentError unless it is None or a dict from class to weight."""
    if class_weight is not None and not isinstance(class_weight, dict):
        raise errors.invalid(
            "fit", "class_weight must be a dict {class: weight}", repr(class_weight),
            "sklearn.utils.class_weight.compute_class_weight computes balanced ones.",
        )  # fmt: skip


def weights_by_class(y: Any, class_weight: dict[int, float]) -> Any:
    """Returns the sample weights of a batch from the weight of each class.

    `y` holds class numbers ([batch] or [batch, 1]) or one-hot rows.
    """
    labels = np.asarray(y)
    if labels.ndim > 1 and labels.shape[-1] > 1:
        labels = labels.argmax(-1)
    while labels.ndim > 1:
        labels = labels[:, 0]
    labels = labels.astype(np.int64)
    missing = set(np.unique(labels).tolist()) - set(class_weight)
    table = {int(k): float(v) for k, v in class_weight.items()} | dict.fromkeys(missing, 1.0)
    return convert_to_tensor(np.asarray([table[i] for i in labels.tolist()], np.float32))


def _to_arrays(part: Any) -> Any:
    """Arrays of a structure; lists of numbers are arrays, lists of arrays are structures."""
    if part is None:
        return None
    if isinstance(part, list | tuple) and not any(hasattr(p, "shape") for p in part):
        return _array(part)
    return nest.map_structure(_array, part)


def _array(value: Any) -> Any:
    if value is None or isinstance(value, np.ndarray):
        return value
    if hasattr(value, "to_numpy"):
        return value.to_numpy()
    return np.asarray(value)


def _common_rows(x: Any, y: Any, sample_weight: Any) -> int:
    sizes = {
        name: [a.shape[0] if a.ndim else None for a in nest.flatten(part) if a is not None]
        for name, part in (("x", x), ("y", y), ("sample_weight", sample_weight))
    }
    flat = [size for row in sizes.values() for size in row]
    if not flat or len(set(flat)) != 1 or None in flat:
        text = ", ".join(
            f"{name}: {', '.join(map(str, row))}" for name, row in sizes.items() if row
        )
        raise errors.InvalidArgumentError(
            "Data cardinality is ambiguous. Make sure all arrays contain the same number of "
            f"samples; received sizes {text or 'none'}."
        )
    if not flat[0]:
        raise errors.invalid("fit", "at least one row of data", "0 rows")
    return flat[0]


def _tensor(value: Any) -> Any:
    return value if isinstance(value, Tensor) else convert_to_tensor(value)


def _is_iterable_of_batches(x: Any) -> bool:
    if isinstance(x, np.ndarray | Tensor | list | tuple | dict | str | bytes):
        return False
    return (
        hasattr(x, "__next__")
        or (hasattr(x, "__iter__") and not hasattr(x, "shape"))
        or (hasattr(x, "__getitem__") and hasattr(x, "__len__") and not hasattr(x, "__array__"))
    )


def _refuse(where: str, what: str, **given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise ValueError(
                f"{where}: {name} must not be given when x is {what}; its elements hold it."
            )
