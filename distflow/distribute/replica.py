"""ReplicaContext: what code inside `strategy.run` may ask and do."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distflow.base import errors, nest
from distflow.compiler.forms import Role
from distflow.core import context, convert
from distflow.distribute import context as strategies
from distflow.distribute import once, ops, shared_buckets, values
from distflow.distribute.courier import ARRIVED
from distflow.distribute.lockstep import Lockstep
from distflow.distribute.reduce import ReduceOp, as_reduce_op
from distflow.random import stateless
from distflow.telemetry import timeline


class ReplicaContext:
    """One logical replica at work (TF's `tf.distribute.ReplicaContext`).

    Args:
      strategy: the strategy that runs it.
      replica_id: number among all replicas of the job.
      position: number among the replicas of this worker.
      lockstep: the turns and meetings of this worker's replicas.
      is_absent: the replica has no rows in this step; what it computes is left out of all sums.
    """

    def __init__(
        self,
        strategy: Any,
        replica_id: int,
        position: int,
        lockstep: Lockstep,
        is_absent: bool = False,
    ):
        self.strategy = strategy
        self.replica_id = replica_id
        self.position = position
        # Which of the copies of a variable that differ between replicas is this one's.
        self.copy_index = strategy.local_replicas.index(replica_id)
        self.is_absent = is_absent
        # Set by `fit`, which scales losses by the global batch itself.
        self.allow_mean_loss = False
        self._lockstep = lockstep
        # What compiled programs may make use of.
        self.role = Role(
            is_alone=len(lockstep.names) == 1,
            is_only=strategy.num_replicas_in_sync == 1,
            is_absent=is_absent,
            bucket_bytes=strategy.bucket_bytes,
            early=strategy.overlaps,
        )

    @property
    def num_replicas_in_sync(self) -> int:
        """V, the number of logical replicas of the job."""
        return self.strategy.num_replicas_in_sync

    @property
    def replica_id_in_sync_group(self) -> Any:
        """The replica's number: an int when eager, a tensor inside a traced function."""
        return self.replica_id if context.executing_eagerly() else ops.replica_id()

    @property
    def trace_key(self) -> Any:
        """What a trace of a function depends on: V and the rule for losses stand in it."""
        return self.strategy, self.allow_mean_loss

    @property
    def devices(self) -> tuple[str, ...]:
        """Always the host's CPU."""
        return ("/device:CPU:0",)

    def all_reduce(self, reduce_op: Any, value: Any, options: Any = None) -> Any:
        """Returns `value` (a structure of tensors) reduced over all replicas of the job.

        All replicas must call it, with equal shapes. Differentiable for SUM and MEAN.
        """
        leaves = [convert.convert_to_tensor(leaf) for leaf in nest.flatten(value)]
        if not leaves:
            return value
        return nest.pack_sequence_as(
            value, ops.all_reduce(*leaves, op=as_reduce_op(reduce_op).value)
        )

    def all_gather(self, value: Any, axis: int, options: Any = None) -> Any:
        """Returns the values of all replicas, joined along an axis in order of replicas."""

        def gather(leaf: Any) -> Any:
            leaf = convert.convert_to_tensor(leaf)
            return ops.all_gather(leaf, axis=axis % max(leaf.ndim, 1))[0]

        return nest.map_structure(gather, value)

    def merge_call(
        self, merge_fn: Callable[..., Any], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Runs `merge_fn(strategy, *args)` once a worker, on the values of its replicas.

        Inside a traced function use `all_reduce` instead.
        """
        if not context.executing_eagerly():
            raise errors.UnimplementedError(
                "merge_call: works in eager replicas only. Inside tf.function use "
                "replica_context.all_reduce, or take the function off strategy.run's caller."
            )

        def act(calls: list[Any]) -> Any:
            per_replica_args, per_replica_kwargs = values.regroup(calls)
            with strategies.in_replica(None):
                return merge_fn(self.strategy, *per_replica_args, **per_replica_kwargs)

        result = self.meet("merge_call", (tuple(args), dict(kwargs or {})), act)
        return values.select(result, self.position)

    # -- for distflow's own use ----------------------------------------------------------

    def meet(self, what: str, value: Any, action: Callable[[list[Any]], Any]) -> Any:
        """Waits for the worker's other replicas; see `Lockstep.meet`."""
        return self._lockstep.meet(self.position, what, value, action)

    def outside_python(self) -> contextlib.AbstractContextManager[Any]:
        """Lets the worker's replicas run the block side by side."""
        return self._lockstep.outside_python(self.position)

    def reduce_arrays(
        self,
        arrays: list[np.ndarray[Any, Any]],
        op: ReduceOp,
        what: str,
        then: Callable[[list[Any]], Any] | None = None,
    ) -> Any:
        """Returns arrays reduced over all replicas; `then(result)` runs once a worker, before."""

        def act(rows: list[Any]) -> Any:
            present = [row if counts else None for row, counts in rows]
            with strategies.in_replica(None):
                total = self.strategy.reduce_rows(present, op, what, like=arrays)
                return total if then is None else then(total)

        return self.meet(what, (arrays, not self.is_absent), act)

    def start_bucket(self, flat: np.ndarray[Any, Any], op: Any, number: int, count: int) -> Any:
        """Begins to replace a flat array by its reduction over all replicas.

        Returns:
          What to wait for (`wait`) before the sums are read; until then nobody touches the array.
        """
        op = as_reduce_op(op)
        what = _bucket(op, number, count)
        strategy, is_present = self.strategy, not self.is_absent
        if timeline.active is not None:
            start = timeline.now()
            timeline.active.add(f"bucket {number + 1} ready", "comm", start, {"bytes": flat.nbytes})

        def act(rows: list[Any]) -> None:
            flats, present = zip(*rows)
            strategy.courier.carry(
                lambda: shared_buckets.reduce(strategy, flats, present, op, what), flat.nbytes
            )

        if not self.role.is_alone:
            self.meet(what, (flat, is_present), act)
            return ARRIVED
        if not self.role.early:
            act([(flat, is_present)])
            return ARRIVED
        return strategy.courier.send(
            lambda: shared_buckets.reduce(strategy, [flat], [is_present], op, what),
            flat.nbytes,
        )

    def bucket_memory(
        self, flat: np.ndarray[Any, Any], op: Any, number: int, count: int
    ) -> np.ndarray[Any, Any] | None:
        """Returns where a bucket of this form should lie from the next step on, if elsewhere."""
        if not self.role.is_alone:
            return None
        return self.strategy.shared_buckets.memory(_bucket(as_reduce_op(op), number, count), flat)

    def gather_array(self, array: Any, axis: int) -> Any:
        """Returns the arrays of all replicas joined along an axis."""

        def act(rows: list[Any]) -> Any:
            with strategies.in_replica(None):
                return self.strategy.gather_rows(rows, axis)

        return self.meet("all_gather", array, act)

    def fold_key(self, key: Any) -> Any:
        """Returns a random key of this replica's own, made from one that all replicas have."""
        return stateless.fold_in(key, self.replica_id_in_sync_group)

    def apply_once(
        self, update: Callable[..., Any], gradients: Sequence[Any], variables: Sequence[Any]
    ) -> None:
        """Sums gradients over all replicas and runs `update(sums, variables)` once a worker."""
        if context.executing_eagerly():
            arrays = [convert.convert_to_tensor(g).array for g in gradients]  # type: ignore[attr-defined]
            self.reduce_arrays(
                arrays, ReduceOp.SUM, "sum of gradients",
                lambda total: update([convert.constant(t) for t in total], list(variables)),
            )  # fmt: skip
            return
        total = self.all_reduce(ReduceOp.SUM, list(gradients))
        once.run_once(lambda *sums: update(list(sums), list(variables)), total)


def _bucket(op: ReduceOp, number: int, count: int) -> str:
    return f"bucket {number + 1} of {count}, {op.value}"


class DefaultReplicaContext:
    """The only replica of the default strategy: every reduction is the identity."""

    replica_id_in_sync_group = 0
    num_replicas_in_sync = 1
    devices = ("/device:CPU:0",)

    def __init__(self, strategy: Any):
        self.strategy = strategy

    def all_reduce(self, reduce_op: Any, value: Any, options: Any = None) -> Any:
        """Returns the value itself."""
        as_reduce_op(reduce_op)
        return value

    def all_gather(self, value: Any, axis: int, options: Any = None) -> Any:
        """Returns the value itself."""
        return value

    def merge_call(
        self, merge_fn: Callable[..., Any], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Returns merge_fn(strategy, *args, **kwargs)."""
        return merge_fn(self.strategy, *args, **(kwargs or {}))
