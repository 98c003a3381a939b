"""Discretization: the number of the interval that a value lies in."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import errors
from distflow.keras.layers.preprocessing.data_layer import (
    DataLayer,
    batches,
    check_mode,
    encode,
    encoded_shape,
)
from distflow.ops import math
from distflow.ops.sorting import searchsorted


class Discretization(DataLayer):
    """Turns numbers into bins: bin 0 is below the first boundary, a boundary opens its bin.

    Args:
      bin_boundaries: ascending boundaries; or
      num_bins: how many bins of equally many values `adapt` is to find.
      epsilon: error of their boundaries, in shares of the data.
      output_mode: "int", "one_hot", "multi_hot" or "count".
    """

    def __init__(self, bin_boundaries: Any = None, num_bins: int | None = None,
                 epsilon: float = 0.01, output_mode: str = "int", sparse: bool = False,
                 dtype: Any = None, name: str | None = None):  # fmt: skip
        super().__init__(name=name, dtype=dtype)
        where = "Discretization"
        check_mode(where, output_mode, ("int", "one_hot", "multi_hot", "count"), sparse)
        if num_bins is not None and num_bins < 0:
            raise errors.invalid(
                where, "`num_bins` must be greater than or equal to 0", f"num_bins={num_bins}"
            )
        if num_bins is not None and bin_boundaries is not None:
            raise errors.invalid(
                where, "Both `num_bins` and `bin_boundaries` should not be set",
                f"num_bins={num_bins} and bin_boundaries={bin_boundaries}",
            )  # fmt: skip
        if num_bins is None and bin_boundaries is None:
            raise errors.invalid(
                where, "You need to set either `num_bins` or `bin_boundaries`", "neither"
            )
        self.input_bin_boundaries = bin_boundaries
        self.bin_boundaries = list(bin_boundaries) if bin_boundaries is not None else []
        self.num_bins = num_bins
        self.epsilon = epsilon
        self.output_mode = output_mode
        self.sparse = sparse
        self._summary: Any = np.zeros((2, 0), np.float32)

    @property
    def _num_ids(self) -> int:
        return len(self.bin_boundaries) + 1

    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Finds the boundaries in an array, a tensor or a dataset."""
        if self.input_bin_boundaries is not None:
            raise errors.invalid(
                "Discretization.adapt", "a layer with `num_bins`; this one has boundaries",
                f"bin_boundaries={self.input_bin_boundaries}",
            )  # fmt: skip
        self.reset_state()
        for batch in batches(data, steps=steps):
            self.update_state(batch)
        self.finalize_state()

    def update_state(self, data: Any) -> None:
        """Takes more data into the summary."""
        part = _summary(np.asarray(data, np.float32), self.epsilon)
        merged = np.concatenate((self._summary, part), axis=1)
        order = merged[0].argsort(kind="stable")
        self._summary = _thinned(merged[:, order], self.epsilon)

    def finalize_state(self) -> None:
        """Takes the boundaries from the summary."""
        if self.num_bins is not None and self._summary.shape[1]:
            bounds = _thinned(self._summary, 1.0 / self.num_bins)[0, :-1]
            self.bin_boundaries = [float(b) for b in bounds]

    def reset_state(self) -> None:
        """Forgets what `adapt` has seen; the boundaries stay until there are others."""
        if self.input_bin_boundaries is None:
            self._summary = np.zeros((2, 0), np.float32)

    def call(self, inputs: Any) -> Any:
        """Returns the bins of the inputs, encoded."""
        if not self.bin_boundaries and self.num_bins != 1:
            raise errors.FailedPreconditionError(
                "Discretization: expected `bin_boundaries`, or a call of `adapt(dataset)` before "
                "the first use; received neither."
            )
        x = math.cast(inputs, "float64" if inputs.dtype.size == 8 else "float32")
        edges = np.asarray(self.bin_boundaries, x.dtype.numpy)
        bins = searchsorted(edges, x, side="right")
        if self.output_mode == "int":
            return math.cast(bins, self.compute_dtype if "int" in self.compute_dtype else "int32")
        return encode(bins, self.output_mode, self._num_ids, self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of the encoding."""
        return encoded_shape(input_shape, self.output_mode, self._num_ids)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return {
            "bin_boundaries": self.bin_boundaries or None, "num_bins": self.num_bins,
            "epsilon": self.epsilon, "output_mode": self.output_mode, "sparse": self.sparse,
            "name": self.name, "dtype": self.dtype,
        }  # fmt: skip

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Returns a layer of a config; boundaries that were found count as given."""
        config = dict(config)
        found = config.get("bin_boundaries")
        if found and config.get("num_bins") is not None:
            layer = super().from_config({**config, "bin_boundaries": None})
            layer.bin_boundaries = list(found)
            return layer
        return super().from_config(config)


def _summary(values: Any, epsilon: float) -> Any:
    """Returns [2, n]: quantiles of the data in ascending order, and their weights."""
    values = np.sort(values.reshape(-1))
    return _thinned(np.stack((values, np.ones_like(values))), epsilon)


def _thinned(summary: Any, epsilon: float) -> Any:
    """Returns a summary of about 1 / epsilon weighted values: its quantiles, interpolated.

    Source: Greenwald & Khanna 2001, in the simple form of merging and thinning.
    """
    if summary.shape[1] * epsilon < 1:
        return summary
    shares = epsilon + np.arange(0.0, 1.0, epsilon)
    cumulated = summary[1].cumsum()
    ranks = cumulated / cumulated[-1]
    values = np.interp(shares, ranks, summary[0])
    weights = np.interp(shares, ranks, cumulated)
    weights = np.diff(weights, prepend=0.0)
    return np.stack((values, weights)).astype(np.float32)
