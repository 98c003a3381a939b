"""`strategy.extended`: what code that knows strategies asks of them (TF's StrategyExtended).

For programs that update variables in `merge_call`, and for libraries that ask who writes files. All
of it works between replicas: in a scope, or in `merge_call`; inside a replica it is a RuntimeError.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from distflow.base import errors, nest
from distflow.distribute import context, values
from distflow.distribute.reduce import as_reduce_op

_DEVICE = "/job:localhost/replica:0/task:0/device:CPU:"


class StrategyExtended:
    """More of a strategy, for those who write optimizers, layers and loops of their own.

    Args:
      container_strategy: the strategy.
    """

    def __init__(self, container_strategy: Any):
        self._strategy = container_strategy

    # -- where things are ----------------------------------------------------------------

    @property
    def worker_devices(self) -> tuple[str, ...]:
        """One name for each replica of this worker; all of them are the host's CPU."""
        count = len(self._strategy.local_replicas)
        return tuple(f"{_DEVICE}{position}" for position in range(count))

    @property
    def parameter_devices(self) -> tuple[str, ...]:
        """As `worker_devices`: variables are where the replicas are."""
        return self.worker_devices

    @property
    def experimental_require_static_shapes(self) -> bool:
        """Never: replicas may have any number of rows."""
        return False

    @property
    def should_checkpoint(self) -> bool:
        """Whether this worker writes checkpoints: the chief does."""
        return self._strategy.is_chief

    @property
    def should_save_summary(self) -> bool:
        """Whether this worker writes summaries: the chief does."""
        return self._strategy.is_chief

    def variable_created_in_scope(self, v: Any) -> bool:
        """Whether a variable was made under this strategy; plain ones belong to the default one."""
        return values.strategy_of(v) is self._own()

    def value_container(self, value: Any) -> Any:
        """Returns the variable, which is its own container: replicas share it."""
        return value

    @contextlib.contextmanager
    def colocate_vars_with(self, colocate_with_variable: Any) -> Iterator[None]:
        """Changes nothing: there is one place where variables live. Checks its argument, as in TF.

        Raises:
          ValueError: for a variable of another strategy.
        """
        self._check_own("colocate_vars_with", colocate_with_variable)
        yield

    # -- values --------------------------------------------------------------------------

    def reduce_to(self, reduce_op: Any, value: Any, destinations: Any, options: Any = None) -> Any:
        """Returns the replicas' values reduced over the whole job, for every replica the same.

        Args:
          reduce_op: "SUM", "MEAN", or a ReduceOp.
          value: PerReplica values.
          destinations: accepted as in TF; the result is everywhere.
          options: likewise.
        """
        _between_replicas()
        return self._strategy.reduce(reduce_op, value, axis=None)

    def batch_reduce_to(
        self, reduce_op: Any, value_destination_pairs: Iterable[Any], options: Any = None
    ) -> list[Any]:
        """Returns `reduce_to` of the first of each pair."""
        operation = as_reduce_op(reduce_op)
        return [self.reduce_to(operation, value, to) for value, to in value_destination_pairs]

    def broadcast_to(self, tensor: Any, destinations: Any) -> Any:
        """Returns the value, which every replica of this worker may read."""
        _between_replicas()
        return tensor

    def call_for_each_replica(
        self, fn: Callable[..., Any], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Returns strategy.run(fn, args, kwargs)."""
        return self._strategy.run(fn, args, kwargs)

    def update(
        self, var: Any, fn: Callable[..., Any], args: Sequence[Any] = (), kwargs: Any = None,
        group: bool = True,
    ) -> Any:  # fmt: skip
        """Returns fn(var, *args, **kwargs), run once a worker.

        The replicas of a worker share one copy of a variable, so it is updated once, and by
        arguments that are equal on all replicas: those that `reduce_to` gives. PerReplica values
        would leave every replica with another variable; they are refused.

        Args:
          var: a variable of this strategy.
          fn: assigns it.
          args, kwargs: what else `fn` gets.
          group: accepted as in TF; False gives a tuple of one.

        Raises:
          InvalidArgumentError: (a ValueError) for PerReplica arguments.
          ValueError: for a variable of another strategy.
        """
        _between_replicas()
        self._check_own("update", var)
        for leaf in nest.flatten(values.as_leaves((tuple(args), kwargs or {}))):
            if isinstance(leaf, values.Leaf):
                raise errors.invalid(
                    "extended.update",
                    "arguments that are equal on all replicas",
                    f"PerReplica values for {var.name!r}",
                    "Sum them first: extended.reduce_to(tf.distribute.ReduceOp.SUM, value, var).",
                )
        with context.entered(self._own()) if self._own() else contextlib.nullcontext():
            result = fn(var, *args, **(kwargs or {}))
        return result if group else (result,)

    # -- for distflow's own use ----------------------------------------------------------

    def _in_multi_worker_mode(self) -> bool:
        """Whether the job has several workers; Keras programs ask it under this name."""
        return self._strategy.num_workers > 1

    def _own(self) -> Any:
        """The strategy; None for the default one, to which plain variables belong."""
        return None if self._strategy is context.default_strategy() else self._strategy

    def _check_own(self, where: str, variable: Any) -> None:
        if not self.variable_created_in_scope(variable):
            raise ValueError(
                f"{where}: expected a variable that was made in the scope of {self._strategy!r}; "
                f"received {variable!r:.80}."
            )


def _between_replicas() -> None:
    context.require_cross_replica("strategy.extended")
