"""Strategy: one program, V logical replicas, spread over threads and workers."""

from __future__ import annotations

import contextlib
import re
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import threadpoolctl

from distflow.base import errors, nest
from distflow.comm import Communicator
from distflow.comm.compression import Compressor
from distflow.core import context as core_context
from distflow.core import convert
from distflow.core.tensor import Tensor
from distflow.distribute import (
    context,
    digests,
    input_options,
    ops,
    pipelines,
    run_eager,
    run_graph,
    sharding,
    stragglers,
    values,
)
from distflow.distribute import input as inputs
from distflow.distribute.courier import Communication, Courier
from distflow.distribute.lockstep import Lockstep
from distflow.distribute.older_names import OlderNames
from distflow.distribute.reduce import COLLECTIVE, ReduceOp, as_reduce_op, divided
from distflow.distribute.shared_buckets import SharedBuckets
from distflow.distribute.threads import ReplicaThreads, close_all
from distflow.telemetry import steps

# How calls are named in which replicas sum something within a step: buckets of a compiled step,
# and what replicas sum eagerly. All else that is reduced (metrics, rows) is never compressed.
SUMS_OF_STEPS = ("bucket ", "sum of gradients", "all_reduce(")

_UFUNCS: dict[str, Any] = {"sum": np.sum, "min": np.min, "max": np.max}

_blas_limit: Any = None


class Strategy(OlderNames):
    """Runs a program on logical replicas whose gradients are summed in a fixed binary tree.

    `num_replicas_in_sync` is V, the number of logical replicas, whatever the number of workers:
    the same V gives the same bits on 1, 2, ... V workers.

    Args:
      communicator: the collectives between workers; its placement says which replicas are local.
    """

    def __init__(self, communicator: Communicator):
        if not communicator.local_replicas:
            raise errors.invalid(
                type(self).__name__,
                f"at most as many workers as logical replicas (V = {communicator.num_replicas})",
                f"{communicator.world_size} workers",
                "Start fewer workers, or raise V: logical_replicas=, DISTFLOW_REPLICAS or "
                "`distflow run --replicas`.",
            )
        _one_blas_thread()
        self._communicator = communicator
        self.local_replicas: tuple[int, ...] = tuple(communicator.local_replicas)
        self._names_made = 0
        self._digests = digests.for_strategy(self)
        self.courier = Courier()
        self.shared_buckets = SharedBuckets(communicator)
        self._stragglers = stragglers.for_strategy(self)
        # Size of a bucket of gradients, 0: the usual one; and whether buckets leave while backward
        # still runs. Neither changes a bit of the result.
        self.bucket_bytes = 0
        self.overlaps = False
        # Sums float32 arrays of a step in fewer bits, if that was asked for.
        self.compressor: Compressor | None = None
        self._idle: list[ReplicaThreads] = []
        weakref.finalize(self, close_all, self._idle)

    # -- what it is ----------------------------------------------------------------------

    @property
    def num_replicas_in_sync(self) -> int:
        """V, the number of logical replicas of the job."""
        return self._communicator.num_replicas

    @property
    def num_workers(self) -> int:
        """Number of processes (or in-process workers) that hold the replicas."""
        return self._communicator.world_size

    @property
    def worker_rank(self) -> int:
        """This worker's rank; 0 is the chief, which writes files."""
        return self._communicator.rank

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes the job's files."""
        return self._communicator.rank == 0

    @property
    def has_lone_replica(self) -> bool:
        """Whether this worker runs one replica: a compiled step of it that fails undoes itself."""
        return len(self.replicas_here()) == 1

    @property
    def sums_are_plain(self) -> bool:
        """Whether nobody looks at what is summed, or shortens it on the way."""
        return self.compressor is None and self._digests is None

    @property
    def communicator(self) -> Communicator:
        """The collectives on NumPy arrays, for programs without tensors."""
        return self._communicator

    @property
    def cluster_resolver(self) -> Any:
        """How the cluster was found; None within one process."""
        return None

    @property
    def communication(self) -> Communication:
        """What the reductions of gradients have cost this worker so far."""
        return self.courier.snapshot()

    # -- scope and run -------------------------------------------------------------------

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Makes this the strategy in force: variables made in the block are shared by replicas.

        All workers must make the same variables in the same order; they start with the chief's
        values.
        """
        with context.entered(self), core_context.variable_creator_scope(self._create):
            yield

    def _create(self, next_creator: Callable[..., Any], **arguments: Any) -> Any:
        if "storage" in arguments:
            return next_creator(**arguments)
        variable = next_creator(**arguments, storage=values.storage_for(self, arguments))
        if self._digests is not None:
            self._digests.track(variable)
        return variable

    def run(
        self, fn: Callable[..., Any], args: Sequence[Any] = (), kwargs: Any = None,
        options: Any = None,
    ) -> Any:  # fmt: skip
        """Calls `fn` once for each replica of this worker; PerReplica arguments are taken apart.

        A replica whose arguments have no rows (the end of an epoch) runs, but counts in no sum.

        Returns:
          The results as PerReplica values; with one local replica the result itself.

        Raises:
          RuntimeError: when called from inside a replica.
          The first error of a replica, after all others have stopped. Other workers raise an
            AbortedError that quotes it, and the job's collectives are unusable from then on.
        """
        if core_context.state.replica is not None:
            raise RuntimeError("strategy.run must not be called inside strategy.run.")
        input_options.check_run(options)
        calls = [
            (values.select(tuple(args), i), values.select(dict(kwargs or {}), i))
            for i in range(len(self.local_replicas))
        ]
        with context.entered(self):
            if not core_context.executing_eagerly():
                return run_graph.run_traced(self, fn, calls)
            bodies = [_call(fn, *call) for call in calls]
            absent = [inputs.has_no_rows(call) for call in calls]
            return values.regroup(self.run_replicas(bodies, absent))

    def run_replicas(
        self, bodies: Sequence[Callable[[], Any]], absent: Sequence[bool],
        allow_mean_loss: bool = False,
    ) -> list[Any]:  # fmt: skip
        """Runs one function a local replica, each in its replica context; returns the results."""
        watchers = (self._digests, self._stragglers)
        with steps.Step():
            for watcher in watchers:
                if watcher is not None:
                    watcher.begin_run(len(bodies))
            results = run_eager.run_bodies(
                self, bodies, absent, allow_mean_loss, self._create, self._idle
            )
            for watcher in watchers:
                if watcher is not None:
                    watcher.end_run(self.replicas_here())
        return results

    def replicas_here(self) -> tuple[int, ...]:
        """The replicas that `run_replicas` runs on this worker."""
        return self.local_replicas

    def make_lockstep(self) -> Lockstep:
        """Returns the turns and meetings of one call of `run`."""
        names = [f"replica {replica}" for replica in self.replicas_here()]
        return Lockstep(len(names), names, self._communicator.timeout_seconds)

    # -- values --------------------------------------------------------------------------

    def reduce(self, reduce_op: Any, value: Any, axis: int | None = None) -> Any:
        """Returns one tensor from the replicas' values, equal on all workers.

        Args:
          reduce_op: "SUM", "MEAN", or a ReduceOp.
          value: what `run` returned (or a structure of it).
          axis: also reduce over this axis of each value; a MEAN is then over all elements.
        """
        context.require_cross_replica("strategy.reduce")
        operation = as_reduce_op(reduce_op)
        return nest.map_structure(
            lambda leaf: self._reduce_leaf(operation, leaf, axis), values.as_leaves(value)
        )

    def _reduce_leaf(self, operation: ReduceOp, leaf: Any, axis: int | None) -> Any:
        tensors = self._of_replicas(operation, leaf)
        if tensors is None:
            return leaf.value if isinstance(leaf, values.Leaf) else leaf
        if core_context.executing_eagerly():
            return convert.constant(
                self.reduce_arrays([_array(t) for t in tensors], operation, axis)
            )
        return ops.cross_reduce(*tensors, strategy=self, op=operation, axis=axis)

    def reduce_arrays(self, rows: list[Any], operation: ReduceOp, axis: int | None) -> Any:
        """Returns one array from those of the local replicas (and of all other workers')."""
        what = f"strategy.reduce({operation.value})"
        if axis is None:
            return self.reduce_rows([[row] for row in rows], operation, what)[0]
        ufunc = _UFUNCS[COLLECTIVE[operation]]
        columns = [
            [np.asarray(ufunc(row, axis=axis), row.dtype), np.asarray(row.shape[axis], np.int64)]
            for row in rows
        ]
        adds = ReduceOp.SUM if operation is ReduceOp.MEAN else operation
        total, count = self.reduce_rows(columns, adds, what)
        return divided(total, int(count)) if operation is ReduceOp.MEAN else total

    def _of_replicas(self, operation: ReduceOp, leaf: Any) -> list[Any] | None:
        value = leaf.value if isinstance(leaf, values.Leaf) else leaf
        if isinstance(value, values.PerReplica):
            return list(value.values)
        if len(self.local_replicas) == 1:
            return [value]
        if operation is ReduceOp.MEAN or self.num_replicas_in_sync == 1:
            return None
        raise errors.invalid(
            "strategy.reduce",
            "values of replicas, as strategy.run returns them",
            f"{value!r:.80}, which is no PerReplica value",
        )

    def reduce_rows(
        self, rows: Sequence[list[Any] | None], op: ReduceOp, what: str, like: Any = None,
        out: Any = None,
    ) -> list[np.ndarray[Any, Any]]:  # fmt: skip
        """Returns arrays reduced over all replicas: one list of arrays for each local replica.

        `out` are arrays that may take the result: those of the first replica, say.
        """
        if self._digests is not None:
            self._digests.give(rows)
        if self.num_replicas_in_sync == 1 and rows[0] is not None:
            return list(rows[0])
        self.courier.settle()
        leaves = dict(zip(self.replicas_here(), rows))
        is_sum = COLLECTIVE[op] == "sum" and what.startswith(SUMS_OF_STEPS)
        if self.compressor is not None and is_sum:
            result = self.compressor.all_reduce(leaves, name=what, like=like)
        else:
            result = self._communicator.all_reduce(
                leaves, op=COLLECTIVE[op], name=what, like=like, out=out
            )
        if op is ReduceOp.MEAN:
            return [divided(array, result.num_present) for array in result.arrays]
        return result.arrays

    def gather(self, value: Any, axis: int) -> Any:
        """Returns the values of all replicas joined along an axis, in order of replicas."""
        context.require_cross_replica("strategy.gather")

        def leaf(item: Any) -> Any:
            value = item.value if isinstance(item, values.Leaf) else item
            parts = value.values if isinstance(value, values.PerReplica) else (value,)
            if len(parts) != len(self.local_replicas):
                raise errors.invalid("strategy.gather", "values of replicas", repr(value)[:80])
            return convert.constant(self.gather_rows([_array(v) for v in parts], axis))

        return nest.map_structure(leaf, values.as_leaves(value))

    def gather_rows(self, rows: Sequence[Any], axis: int) -> np.ndarray[Any, Any]:
        """Returns the arrays of all replicas joined along an axis."""
        self.courier.settle()
        moved = {
            replica: [np.moveaxis(row, axis, 0)] for replica, row in zip(self.replicas_here(), rows)
        }
        gathered = self._communicator.all_gather(moved, name="gather")
        parts = [part[0] for part in gathered if part is not None]
        return np.ascontiguousarray(np.moveaxis(np.concatenate(parts, 0), 0, axis))

    def experimental_local_results(self, value: Any) -> tuple[Any, ...]:
        """Returns the values of this worker's replicas as a tuple."""
        return value.values if isinstance(value, values.PerReplica) else (value,)

    @contextlib.contextmanager
    def reading_together(self, variables: Sequence[Any]) -> Iterator[None]:
        """Reads the replicas' sums of many variables with one reduction, for the block."""
        with context.entered(self), values.read_together(self, variables):
            yield

    # -- agreement between workers -------------------------------------------------------

    def agree_on_initial_value(self, array: np.ndarray[Any, Any], name: str) -> Any:
        """Returns the chief's value of a new variable; workers must make the same variables."""
        if self.num_workers == 1:
            return array
        # Numbers that make names unique count per process: workers may differ in them.
        plain = re.sub(r"_\d+(?=/|$)", "", name)
        what = f"variable {self._names_made} ({plain})"
        self._names_made += 1
        return self._communicator.broadcast([array], 0, name=what)[0]

    def agree(self, value: Any, what: str) -> Any:
        """Returns the chief's value of anything JSON can hold: a seed, a decision."""
        if self.num_workers == 1:
            return value
        return self._communicator.broadcast_json(value, 0, name=what)

    # -- input ---------------------------------------------------------------------------

    def experimental_distribute_dataset(self, dataset: Any, options: Any = None) -> Any:
        """Returns a data set whose elements are cut into replicas: each worker gets its own.

        Elements are global batches; replica r of V gets rows in the order of r. Every worker reads
        the whole data set and keeps its replicas' rows, unless the data set's
        `auto_shard_policy` is FILE or OFF: see `sharding`.
        """
        input_options.check_per_worker("experimental_distribute_dataset", options)
        context.require_cross_replica("experimental_distribute_dataset")
        return sharding.distributed(self, dataset)

    def distribute_datasets_from_function(
        self, dataset_fn: Callable[[Any], Any], options: Any = None
    ) -> Any:
        """Returns a data set from `dataset_fn(InputContext)`, called once a worker.

        Its elements are batches of one replica; each step takes one for every local replica, until
        all workers' pipelines have ended. With `InputReplicationMode.PER_REPLICA` in the options
        the function is called once a replica, whose number is the pipeline's.
        """
        context.require_cross_replica("distribute_datasets_from_function")
        return pipelines.from_function(self, dataset_fn, options)

    def experimental_distribute_values_from_function(self, value_fn: Callable[[Any], Any]) -> Any:
        """Returns PerReplica values: `value_fn(ValueContext)` for each local replica."""
        made = [
            value_fn(inputs.ValueContext(replica, self.num_replicas_in_sync))
            for replica in self.local_replicas
        ]
        return values.regroup(made)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__}: {_count(self.num_replicas_in_sync, 'replica')} on "
            f"{_count(self.num_workers, 'worker')}, this one holds {list(self.local_replicas)}>"
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _array(value: Any) -> np.ndarray[Any, Any]:
    tensor = value if isinstance(value, Tensor) else convert.convert_to_tensor(value)
    return tensor.array  # type: ignore[attr-defined]


def _call(fn: Callable[..., Any], args: Any, kwargs: Any) -> Callable[[], Any]:
    return lambda: fn(*args, **kwargs)


def _one_blas_thread() -> None:
    """Bits must not depend on how BLAS splits a product over cores: one thread a replica."""
    global _blas_limit
    if _blas_limit is None:
        _blas_limit = threadpoolctl.threadpool_limits(1, "blas")
