"""The collectives: what strategies call. Same bytes on every worker, whatever the algorithm.

All ranks call the same methods in the same order; each call blocks until it has its result. Every
wait ends after `timeout_seconds` without progress. After an error the communicator is unusable, on
every rank (the one that fails tells the others), and each further call says why.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distflow.base import errors, flags
from distflow.comm import buckets, clocks, flight, movement, own_memory, reduction, watch
from distflow.comm.algorithms import partials
from distflow.comm.algorithms.shared import Shared
from distflow.comm.algorithms.shared_call import Call as SharedCall
from distflow.comm.group import Placement
from distflow.comm.own_memory import SharedArrays
from distflow.comm.round import Call, Round, SpecMemory
from distflow.comm.transport import base
from distflow.comm.transport.inprocess import InProcessHub
from distflow.comm.tree import Accumulator, Arrays, Tree
from distflow.comm.ways import Ways
from distflow.telemetry.account import Account

Leaves = Mapping[int, Sequence[Any] | None]

_MAX_REMEMBERED = 256  # forms of calls


@dataclass(frozen=True)
class Reduced:
    """The result of a reduction.

    Args:
      arrays: fresh contiguous arrays, equal bytes on every worker. If no replica has data they hold
        the operation's identity (0, 1, or the dtype's extreme), or are [] if nobody told shapes.
      num_present: how many of the V replicas had data; the divisor for means.
    """

    arrays: list[np.ndarray]
    num_present: int


class Communicator:
    """Collectives between the workers of a job, over V logical replicas.

    Args:
      transport: connects the workers; closed by `close`.
      num_replicas: V; the number of workers if None.
      placement: which worker holds which replicas; contiguous if None.
      algorithm: "auto", "naive", "gather", "direct", "streamed" (over wires), "shared" (in memory
        of one host) or "hierarchical" (several hosts with such memory): speed only, never bits.
      timeout_seconds: longest time without progress; DISTFLOW_TIMEOUT if None.
    """

    def __init__(
        self,
        transport: base.Transport,
        num_replicas: int | None = None,
        *,
        placement: Placement | None = None,
        algorithm: str = "auto",
        timeout_seconds: float | None = None,
    ):
        if placement is None:
            replicas = transport.world_size if num_replicas is None else num_replicas
            placement = Placement(replicas, transport.world_size)
        elif placement.world_size != transport.world_size or (
            num_replicas not in (None, placement.num_replicas)
        ):
            raise errors.invalid(
                "Communicator",
                f"a placement for {transport.world_size} workers and {num_replicas} replicas",
                f"{placement.world_size} and {placement.num_replicas}",
            )
        self.rank = transport.rank
        self.world_size = transport.world_size
        self.num_replicas = placement.num_replicas
        self.placement = placement
        self.local_replicas = placement.replicas_of(self.rank)
        self.timeout_seconds = timeout_seconds or flags.get("DISTFLOW_TIMEOUT")
        self._transport = transport
        self._tree = Tree(self.num_replicas)
        self._memory = SpecMemory()
        self._sequence = 0
        # What calls have cost this worker, by peer.
        self.account = Account(self.world_size)
        self._links = watch.Links(self.account, self.rank, range(self.world_size))
        self._failure: tuple[str, BaseException] | None = None
        self._lock = threading.Lock()
        self._calls: dict[tuple, SharedCall] = {}
        self._ways = Ways(transport, placement, algorithm, self.account, self.timeout_seconds)
        self._shared = self._ways.shared
        self.shares_memory = self._shared is not None  # of all workers: `allocate` saves copies

    @classmethod
    def local(cls, num_replicas: int = 1) -> Communicator:
        """Returns the communicator of a job of one worker: only the tree, no network."""
        return cls(InProcessHub(1).endpoint(0), num_replicas)

    @property
    def failure(self) -> BaseException | None:
        """The error that made the communicator unusable, or None."""
        return self._failure[1] if self._failure else None

    def abort(self, error: BaseException) -> None:
        """Tells all other workers that this one gave up outside of a collective, and why.

        Their calls, the next ones and those under way, raise; the communicator is unusable from
        here on. Without other workers, or after an earlier failure, it does nothing.
        """
        with self._lock:
            if self._failure is None and self.world_size > 1:
                self._failure = (f"the work of rank {self.rank} between two calls", error)
                self._transport.abort(error)

    def close(self) -> None:
        """Leaves the group in good order. Idempotent."""
        self._transport.close()

    def __enter__(self) -> Communicator:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def all_reduce(
        self,
        leaves: Leaves,
        *,
        op: str = "sum",
        name: str = "",
        like: Sequence[Any] | None = None,
        out: Sequence[np.ndarray] | None = None,
    ) -> Reduced:
        """Returns the reduction over all replicas, in tree order.

        Args:
          leaves: for each of `local_replicas` its arrays, or None if it has no data in this step.
            Shapes and dtypes agree between replicas. Inputs are never written to, but for those
            that `allocate` has made: the result comes to lie in their `result`.
          op: "sum", "prod", "max" or "min"; on booleans any (sum, max) or all (prod, min).
          name: what is reduced, for errors; all ranks must give the same.
          like: arrays whose shapes and dtypes stand for those of a worker without data. Optional:
            without it such a worker learns them from the others, but checks nothing.
          out: arrays that take the result, in place of fresh ones: of the same shapes and dtypes,
            contiguous, each either apart from all leaves or the leaf of its own place. They are
            undefined after an error.

        Raises:
          CollectiveMismatchError, WorkerLateError, WorkerLostError: see the class.
        """
        if type(leaves) is SharedArrays:  # isinstance takes long for a Mapping
            if out is None and leaves.flats is not None and self._reduce_in_place(leaves, op, name):
                return Reduced(list(leaves.result), self.num_replicas)
            out = (leaves.result or None) if out is None else out
        if self._shared is not None:
            reduced = self._reduce_shared(self._shared, leaves, op, name, like, out)
            if reduced is not None:
                return reduced
        where = f"all_reduce {name!r}"
        local, specs = self._local(where, leaves, like)
        reduction.check(where, op, {spec.dtype for spec in specs or ()})
        if out is not None:
            buckets.check_out(where, out, specs)
        with self._round("all_reduce", specs, name, op, self._ways.choose(specs)) as round_:
            if self.world_size == 1:
                arrays, num_present = self._reduce_alone(local, op)
            else:
                if specs is None:
                    round_.introduce(partials.announce_absent(local))
                arrays, num_present = self._ways.all_reduce(round_, out)(
                    round_, self._tree, op, local
                )
            if arrays is None:
                arrays = buckets.identities(round_.specs, op)
        # Not before the end of the round: `out` may be what is being sent.
        return Reduced(arrays if out is None else buckets.copied(arrays, out), num_present)

    def _reduce_in_place(self, arrays: SharedArrays, op: str, name: str) -> bool:
        """Adds arrays where they lie; returns False if it must be done otherwise."""
        shared = self._shared
        if shared is None or not shared.adds_in_place(arrays.num_bytes):
            return False
        call = shared.call(name, op, arrays.specs, in_place=True)
        return self._in_shared_memory(
            call,
            lambda: shared.reduce_in_place(self._sequence, call, arrays, self.timeout_seconds),
        )

    def _reduce_shared(
        self,
        shared: Shared,
        leaves: Leaves,
        op: str,
        name: str,
        like: Sequence[Any] | None,
        out: Sequence[np.ndarray] | None,
    ) -> Reduced | None:
        """Reduces in shared memory; returns None if it must be done with frames."""
        prepared = self._prepare(shared, leaves, op, name, like)
        if prepared is None:
            return None
        call, local = prepared
        targets = None
        if out is not None:
            buckets.check_out(f"all_reduce {name!r}", out, call.specs)
            if len(call.specs) == len(call.layout.dtypes):
                targets = [out[0].reshape(-1)] if len(out) == 1 else call.layout.pack(out)
        found = self._in_shared_memory(
            call,
            lambda: shared.all_reduce(self._sequence, call, local, self.timeout_seconds, targets),
        )
        if found is None:
            return None
        flats, num_present = found
        if flats is not None and out is not None and targets is not None:
            return Reduced(list(out), num_present)
        arrays = buckets.identities(call.specs, op) if flats is None else call.layout.unpack(flats)
        return Reduced(arrays if out is None else buckets.copied(arrays, out), num_present)

    def _in_shared_memory(self, call: SharedCall, run: Callable[[], Any]) -> Any:
        """Runs a reduction that says with None or False that it must be done with frames."""
        with self._lock:
            if self._failure is not None:
                raise self._unusable(self._call("all_reduce", call.name, call.op))
            what = f"all_reduce {call.name!r} (call {self._sequence})"
            shown = watch.Collective(self.account, what, self.rank, self._sequence)
            try:
                with flight.Event(self.rank, what), shown:
                    found = run()
            except BaseException as error:
                self._fail(str(self._call("all_reduce", call.name, call.op)), error)
                raise
            self._sequence += bool(found)
            return found

    def _prepare(
        self, shared: Shared, leaves: Leaves, op: str, name: str, like: Sequence[Any] | None
    ) -> tuple[SharedCall, list[Sequence[np.ndarray] | None]] | None:
        """Returns what `shared.all_reduce` needs; quickly for arrays of forms seen before."""
        local = [leaves.get(replica) for replica in self.local_replicas]
        if local and len(leaves) == len(local):
            forms = [buckets.forms_of(values) for values in local]
            if forms[0] and forms.count(forms[0]) == len(local):
                known = self._calls.get((op, name, forms[0]))
                if known is not None:
                    return known, local
        where = f"all_reduce {name!r}"
        checked, specs = self._local(where, leaves, like)
        if specs is None:
            return None
        call = shared.call(name, op, specs)
        if len(self._calls) >= _MAX_REMEMBERED:
            self._calls.clear()
        arrays = [checked[replica] for replica in self.local_replicas]
        if arrays and arrays[0]:
            self._calls[(op, name, buckets.forms_of(arrays[0]))] = call
        return call, list(arrays)

    def allocate(self, like: Sequence[Any], *, name: str = "") -> SharedArrays:
        """Returns arrays of zeros for each local replica, which `all_reduce` sums where they lie.

        All ranks call it together, with the same shapes and dtypes. Where not all workers share
        memory, or it is short, the arrays are ordinary ones, and all else is the same. The memory
        is given back when the arrays are.

        Args:
          like: arrays of the shapes and dtypes that each replica shall have.
          name: what they are for, for errors; all ranks must give the same.
        """
        specs = buckets.specs_of(buckets.as_arrays(f"allocate {name!r}", like))
        with self._round("allocate", specs, name) as round_:
            return own_memory.allocate(round_, self.placement, specs, self.shares_memory)

    def reduce_scatter(
        self,
        leaves: Leaves,
        *,
        op: str = "sum",
        name: str = "",
        like: Sequence[Any] | None = None,
    ) -> dict[int, list[np.ndarray]]:
        """Returns for each local replica its block of rows of the reduction over all replicas.

        Replica r of V gets rows [n*r//V, n*(r+1)//V) of each array with n rows. Arguments and
        errors as in `all_reduce`; arrays need an axis. A worker without replicas gets {}.
        """
        where = f"reduce_scatter {name!r}"
        local, specs = self._local(where, leaves, like)
        reduction.check(where, op, {spec.dtype for spec in specs or ()})
        for i, spec in enumerate(specs or ()):
            if not spec.shape:
                raise errors.invalid(where, f"array {i} must have at least one axis", str(spec))
        with self._round("reduce_scatter", specs, name, op, "direct") as round_:
            return movement.reduce_scatter(round_, self._tree, self.placement, op, local)

    def all_gather(self, values: Leaves, *, name: str = "") -> list[list[np.ndarray] | None]:
        """Returns the arrays of all V replicas, by replica; None for replicas without data.

        Args:
          values: for each of `local_replicas` its arrays (or None). Between replicas the number of
            arrays, their dtypes and all axes but the first agree; the first may differ.
          name: what is gathered, for errors; all ranks must give the same.
        """
        local, _ = self._local(f"all_gather {name!r}", values, None, ragged=True)
        with self._round("all_gather", None, name) as round_:
            return movement.all_gather(round_, self.placement, local)

    def all_to_all(
        self, blocks: Mapping[int, Sequence[Any]], *, name: str = ""
    ) -> dict[int, list[np.ndarray]]:
        """Sends block q of each replica to replica q; returns what each local replica received.

        Args:
          blocks: for each of `local_replicas` V arrays, of any shapes and dtypes.
          name: what is sent, for errors; all ranks must give the same.

        Returns:
          For each local replica V fresh arrays, by sender.
        """
        where = f"all_to_all {name!r}"
        local, _ = self._local(where, blocks, None, ragged=True)
        for replica, arrays in local.items():
            if arrays is None or len(arrays) != self.num_replicas:
                count = "None" if arrays is None else f"{len(arrays)} arrays"
                expected = f"{self.num_replicas} arrays of replica {replica}"
                raise errors.invalid(where, expected, count)
        with self._round("all_to_all", None, name) as round_:
            return movement.all_to_all(round_, self.placement, local)

    def broadcast(
        self, arrays: Sequence[Any] | None, root_rank: int = 0, *, name: str = ""
    ) -> list[np.ndarray]:
        """Returns fresh copies of the root worker's arrays on every worker.

        Args:
          arrays: on the root what is sent; on others None, or arrays whose shapes and dtypes are
            checked against the root's.
          root_rank: the worker (not replica) that sends.
          name: what is sent, for errors; all ranks must give the same.
        """
        where = f"broadcast {name!r}"
        self._check_root(where, root_rank)
        if arrays is None and self.rank == root_rank:
            raise errors.invalid(where, "the root must give arrays", "None")
        mine = None if arrays is None else buckets.as_arrays(where, arrays)
        specs = None if mine is None else buckets.specs_of(mine)
        with self._round("broadcast", specs, name, root=root_rank) as round_:
            return movement.broadcast(round_, mine, root_rank)

    def broadcast_json(self, value: Any, root_rank: int = 0, *, name: str = "") -> Any:
        """Returns the root worker's value on every worker, as JSON gives it back."""
        where = f"broadcast_json {name!r}"
        self._check_root(where, root_rank)
        data = b""
        if self.rank == root_rank:
            try:
                data = json.dumps(value).encode()
            except (TypeError, ValueError) as error:
                raise errors.invalid(where, "a value that JSON can hold", str(error)) from error
        with self._round("broadcast_json", None, name, root=root_rank) as round_:
            return movement.broadcast_json(round_, data, root_rank)

    def barrier(self, name: str = "") -> None:
        """Returns when all workers have called it."""
        with self._round("barrier", None, name) as round_:
            round_.exchange(lambda peer: ())

    def clock_offset(self, name: str) -> tuple[int, int]:
        """Returns what to add to this clock to have rank 0's, and the time of a trip, in ns."""
        with self._round("clock_offset", None, name) as round_:
            round_.introduce()
            return clocks.offset(self._transport, self.timeout_seconds)

    @contextlib.contextmanager
    def _round(
        self,
        kind: str,
        specs: tuple[buckets.Spec, ...] | None,
        name: str,
        op: str = "",
        algorithm: str = "",
        root: int = -1,
    ) -> Iterator[Round]:
        with self._lock:
            call = self._call(kind, name, op, algorithm, root)
            if self._failure is not None:
                raise self._unusable(call)
            self._sequence += 1
            if self._shared is not None:
                self._shared.announce_frames(call.sequence)
            try:
                self._transport.check(str(call))
                with watch.Collective(self.account, str(call), self.rank):
                    timeout, links = self.timeout_seconds, self._links
                    round_ = Round(self._transport, call, specs, self._memory, timeout, links)
                    yield round_
                    round_.finish()
            except BaseException as error:
                self._fail(str(call), error)
                raise

    def _call(
        self, kind: str, name: str, op: str = "", algorithm: str = "", root: int = -1
    ) -> Call:
        return Call(self._sequence, kind, name, op, algorithm, self.placement.digest, root)

    def _fail(self, what: str, error: BaseException) -> None:
        self._failure = (what, error)
        if self.world_size > 1:
            self._transport.abort(error)

    def _unusable(self, call: Call) -> errors.OpError:
        assert self._failure is not None
        what, error = self._failure
        cls = type(error) if isinstance(error, errors.OpError) else errors.AbortedError
        text = f"{call}: this communicator is unusable since {what} failed: {error}"
        unusable = base.rebuild(cls, text, getattr(error, "rank", None))
        unusable.__cause__ = error
        return unusable

    def _local(
        self, where: str, leaves: Leaves, like: Sequence[Any] | None, *, ragged: bool = False
    ) -> tuple[dict[int, Arrays | None], tuple[buckets.Spec, ...] | None]:
        if set(leaves) != set(self.local_replicas):
            expected = f"rank {self.rank} holds the replicas {list(self.local_replicas)}"
            raise errors.invalid(where, expected, f"values for {sorted(leaves)}")
        local: dict[int, Arrays | None] = {}
        specs = None if like is None else buckets.specs_of(buckets.as_arrays(where, like))
        for replica in self.local_replicas:
            values = leaves[replica]
            local[replica] = arrays = None if values is None else buckets.as_arrays(where, values)
            if arrays is None or ragged:
                continue
            mine = buckets.specs_of(arrays)
            if specs is not None and mine != specs:
                raise errors.CollectiveMismatchError(
                    f"{where}: the replicas of rank {self.rank} disagree.\n"
                    f"before replica {replica}: {buckets.describe(specs)}\n"
                    f"replica {replica}: {buckets.describe(mine)}"
                )
            specs = mine
        return local, specs

    def _reduce_alone(self, local: Mapping[int, Arrays | None], op: str) -> tuple[Any, int]:
        total = Accumulator(self._tree, op)
        for replica, arrays in local.items():
            total.insert((0, replica), arrays)
        return total.root(), sum(arrays is not None for arrays in local.values())

    def _check_root(self, where: str, root_rank: int) -> None:
        if not 0 <= root_rank < self.world_size:
            expected = f"root_rank must be 0..{self.world_size - 1}"
            raise errors.invalid(where, expected, str(root_rank))
