"""Names of strategies' methods that programs for older TensorFlow use, and `extended`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from distflow.distribute.extended import StrategyExtended


class OlderNames:
    """What every strategy has besides the methods that today's guides use."""

    @property
    def extended(self) -> StrategyExtended:
        """More of the strategy, for libraries and for `merge_call`."""
        return StrategyExtended(self)

    def experimental_run_v2(
        self, fn: Callable[..., Any], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Returns `run(fn, args, kwargs)`: its name in TF 2.0."""
        return self.run(fn, args, kwargs)  # type: ignore[attr-defined]

    def experimental_distribute_datasets_from_function(
        self, dataset_fn: Callable[[Any], Any], options: Any = None
    ) -> Any:
        """Returns `distribute_datasets_from_function(...)`: its name before TF 2.4."""
        return self.distribute_datasets_from_function(dataset_fn, options)  # type: ignore[attr-defined]

    def unwrap(self, value: Any) -> tuple[Any, ...]:
        """Returns `experimental_local_results(value)`: its name in TF 1."""
        return self.experimental_local_results(value)  # type: ignore[attr-defined]

    def group(self, value: Any, name: str | None = None) -> Any:
        """Returns the value: what was called has run."""
        return value
