"""Reduction through the memory that the workers of one host share, step by step in tree order.

A buffer passes in steps of a slot. Each worker writes its partial results of a step into its lane;
then, with two workers or little data, everybody adds all partial results itself ("together"); with
more, everybody adds its own share of the step, writes it where all can read it, and copies the
whole sum out ("split"). The programs of additions (`program.py`) are the tree's, so the bytes are
those of every other algorithm.

Progress is one counter a worker, that of iterations begun. In iteration i a worker

  writes step i into slot i, publishes i + 1, waits until all others have published i,
  adds step i - 1, and copies out step i - 3 (split only).

So adding never waits for the slowest worker's latest step, and one wait is enough in an iteration.
Who has published i has finished iteration i - 2. Hence a slot is free after 4 steps: its readers
add step i - 4 in iteration i - 3, which all have finished when this worker, in iteration i - 1,
has seen i - 1 published. Sums copied out late need 4 slots likewise. A call's first two steps are
written before its first wait, when of the call before only "split" has seen that all of its steps
were added: after "together" 4 numbers are left out, and their slots hold nothing that anybody
still reads.

Arrays that lie in shared memory themselves (`own_memory.py`) are added where they are: everybody
adds its share of all replicas' arrays, and writes the sum into the arrays of each worker.

Before anything is added the workers compare what they are doing: a digest of call number, name,
operation, placement and shapes. If anybody does something else, or has no data and does not know
the shapes, all of them go back to frames (`Round`), which find out what is the matter.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence

import numpy as np

from distflow.comm import buckets, reduction, watch
from distflow.comm.algorithms import pieces, program
from distflow.comm.algorithms.shared_call import Call, Views
from distflow.comm.buckets import Spec
from distflow.comm.group import Placement
from distflow.comm.own_memory import SharedArrays
from distflow.comm.transport import segment
from distflow.comm.transport.segment import fence
from distflow.comm.transport.shm import ShmTransport
from distflow.comm.tree import Arrays, Key, Tree
from distflow.telemetry import timeline
from distflow.telemetry.account import Account

# "Together" moves (W-1) N bytes a worker and waits once, "split" 2 N and waits twice.
_TOGETHER_BYTES = ((2, 256 << 10), (4, 64 << 10), (8, 16 << 10), (float("inf"), 4 << 10))
_COPIED_BYTES = 8 << 10
_NUMBERS_LEFT_OUT = segment.NUM_SLOTS  # after a call that adds together
_BLOCK_BYTES = 256 << 10  # of an array added in place: that of each replica stays in the cache
_MAIN = threading.main_thread().ident
_BITS = 62  # of a word that tells which replicas have data
_MASK = (1 << _BITS) - 1
_MAX_REMEMBERED = 256


class Shared:
    """The reductions of one worker over a segment.

    Args:
      transport: connects the workers.
      placement: which worker holds which replicas.
      account: where bytes and waits are added.
    """

    def __init__(self, transport: ShmTransport, placement: Placement, account: Account):
        self._account = account
        self._transport = transport
        self._segment = transport.segment
        self._words = transport.words
        self._tree = tree = Tree(placement.num_replicas)
        self._placement = placement
        self._replicas = placement.replicas_of(transport.rank)
        ranks = range(transport.world_size)
        self._of_ranks = [placement.replicas_of(rank) for rank in ranks]
        self._nodes = [tree.maximal_nodes(replicas) for replicas in self._of_ranks]
        leaves = [tree.settle((0, leaf)) for leaf in range(tree.num_leaves)]
        everything = range(tree.num_leaves)
        self._replica_program = program.program_for(tree, leaves, everything, tree.root)
        self._first = sum(map(len, self._nodes[: transport.rank]))  # number of its first node
        plan = self._segment.plan
        most = max(map(len, self._nodes))
        self._capacity = plan.slot_bytes // most & -segment.LINE * 8
        control = [plan.control_word(rank) for rank in ranks]
        self._own = control[transport.rank]
        self._peers = [(control[peer], peer) for peer in transport.peers]
        self._base = self._words[self._own + segment.DONE]
        # Calls of the communicators before on this transport: a slow rank may still be looking at
        # what was announced for the last of them.
        self._calls_before = transport.num_calls
        self._num_words = -(-placement.num_replicas // _BITS)
        everybody = (1 << placement.num_replicas) - 1
        self._everybody = everybody
        self._views: dict[tuple, Views] = {}
        self._temporaries: dict[np.dtype, list[np.ndarray]] = {}
        self._programs: dict[int, program.Program] = {}
        self._locals: dict[int, list[tuple[int, program.Program]]] = {}
        self._calls: dict[tuple, Call] = {}

    @property
    def possible(self) -> bool:
        """Whether this placement fits the segment."""
        return self._capacity >= segment.LINE * 8 and self._num_words < segment.HEADER_WORDS

    def call(self, name: str, op: str, specs: tuple[Spec, ...], *, in_place: bool = False) -> Call:
        """Returns what a reduction of arrays of these specs is; remembered."""
        key = (name, op, specs, in_place)
        call = self._calls.get(key)
        if call is None:
            reduction.check(f"all_reduce {name!r}", op, {spec.dtype for spec in specs})
            size = sum(spec.num_bytes for spec in specs)
            world_size = self._transport.world_size
            together = next(size <= most for w, most in _TOGETHER_BYTES if world_size <= w)
            way = "in place" if in_place else "together" if together else "split"
            text = f"{name}\n{op}\n{self._placement.digest}\n{buckets.digest(specs)}\n{way}"
            digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
            call = Call(
                name, op, specs, buckets.layout_of(specs), int.from_bytes(digest, "little") & _MASK,
                together, pieces.steps_for(specs, self._capacity), {},
                size if together and not in_place else 2 * size // world_size,
            )  # fmt: skip
            if len(self._calls) >= _MAX_REMEMBERED:
                self._calls.clear()
                self._views.clear()
            self._calls[key] = call
        return call

    def adds_in_place(self, num_bytes: int) -> bool:
        """Whether arrays of that size are best added where they lie, which takes two meetings."""
        return num_bytes > _COPIED_BYTES or self._transport.world_size == 2

    def announce_frames(self, sequence: int) -> None:
        """Says that this rank does the call with frames, whatever the others do."""
        self._say_frames(self._number(sequence))

    def _say_frames(self, number: int) -> None:
        self._words[self._own + segment.HEADERS[number & 1]] = -1 - number

    def _number(self, sequence: int) -> int:
        """Returns the number of a call among all of the transport."""
        number = self._calls_before + sequence
        self._transport.num_calls = number + 1
        return number

    def all_reduce(
        self,
        sequence: int,
        call: Call,
        leaves: Sequence[Sequence[np.ndarray] | None],
        timeout_seconds: float,
        targets: Arrays | None = None,
    ) -> tuple[Arrays | None, int] | None:
        """Returns the sum and how many replicas have data; None if it must be done with frames.

        Args:
          sequence: the number of the call.
          call: what `call` has returned.
          leaves: the arrays of each local replica, ascending; None for those without data.
          timeout_seconds: longest wait for another worker.
          targets: flat buffers for the sum, one for each dtype; fresh ones if None.
        """
        sequence = self._number(sequence)
        words, own, base = self._words, self._own, self._base
        flats = [None if leaf is None else [_flat(array) for array in leaf] for leaf in leaves]
        bits = 0
        for replica, leaf in zip(self._replicas, leaves, strict=True):
            if leaf is not None:
                bits |= 1 << replica
        if targets is None:
            layout = call.layout
            targets = list(map(np.empty, layout.sizes, layout.dtypes))
        writes = self._local_programs(bits)
        ufunc = reduction.REDUCTIONS[call.op].ufunc
        count, lag = len(call.steps), 1 if call.together else 3
        sums = None
        with np.errstate(all="ignore"):
            for i in range(count + lag):
                if i < count:
                    self._write(base + i, call, i, writes, flats, ufunc)
                if not i:
                    self._announce(sequence, call, bits)
                fence()
                words[own] = base + i + 1
                if not i:
                    continue
                goal = base + i
                for control, peer in self._peers:
                    if words[control] < goal and not self._wait(
                        control, peer, goal, sequence, call, i, timeout_seconds
                    ):
                        self._divert(sequence)
                        return None
                fence()
                if sums is None:
                    bits = self._compare(sequence, call, bits)
                    if bits < 0:
                        self._divert(sequence)
                        return None
                    sums = self._sum_program(bits)
                if i <= count:
                    self._add(base + i - 1, call, i - 1, sums, writes, flats, ufunc, targets)
                if i >= lag > 1:
                    self._copy_out(base + i - lag, call, i - lag, targets)
        self._base = base + count + lag
        if call.together:
            self._base = base + count + _NUMBERS_LEFT_OUT
            fence()
            words[own] = self._base
        watch.moved_in_memory(self._account, self._transport.rank, call.traffic)
        return (targets if bits else None), bits.bit_count()

    def reduce_in_place(
        self, sequence: int, call: Call, arrays: SharedArrays, timeout_seconds: float
    ) -> bool:
        """Puts the sum of all replicas' arrays into each worker's; False if frames must do it.

        Args:
          sequence, timeout_seconds: as in `all_reduce`.
          call: what `call(name, op, specs, in_place=True)` has returned.
          arrays: with flat buffers in memory that all workers share.
        """
        sequence = self._number(sequence)
        base = self._base
        bits = 0
        for replica in self._replicas:
            bits |= 1 << replica
        self._announce(sequence, call, bits)
        if not self._meet(base + 1, sequence, call, 1, timeout_seconds):
            return False
        bits = self._compare(sequence, call, bits)
        if bits < 0:
            self._divert(sequence)
            return False
        assert arrays.flats is not None
        with np.errstate(all="ignore"):
            for k, dtype in enumerate(call.layout.dtypes):
                self._add_in_place([flats[k] for flats in arrays.flats], dtype, call.op)
        self._meet(base + 2, sequence, call, 2, timeout_seconds)
        self._base = base + 2
        watch.moved_in_memory(self._account, self._transport.rank, call.traffic)
        return True

    def _meet(self, goal: int, sequence: int, call: Call, i: int, timeout_seconds: float) -> bool:
        """Publishes a number and waits until all others have; False after a diversion."""
        fence()
        self._words[self._own] = goal
        for control, peer in self._peers:
            if self._words[control] < goal and not self._wait(
                control, peer, goal, sequence, call, i, timeout_seconds
            ):
                self._divert(sequence)
                return False
        fence()
        return True

    def _add_in_place(self, inputs: list[np.ndarray], dtype: np.dtype, op: str) -> None:
        """Adds this rank's share of one flat buffer of all replicas."""
        rank, world_size = self._transport.rank, self._transport.world_size
        owners = [replicas[0] for replicas in self._of_ranks if replicas]
        first = min(owners, key=lambda replica: self._placement.owners[replica] != rank)
        start, stop = pieces.share(inputs[0].size, dtype.itemsize, world_size, rank)
        block = min(_BLOCK_BYTES, self._capacity) // dtype.itemsize
        scratch = self._scratch(dtype, self._replica_program)
        ufunc = reduction.REDUCTIONS[op].ufunc
        for at in range(start, stop, block):
            views = [array[at : min(at + block, stop)] for array in inputs]
            program.run(self._replica_program, ufunc, views, views[first], scratch)
            reduction.settle_nans([views[first]])
            for owner in owners:
                if owner != first:
                    np.copyto(views[owner], views[first])

    def _announce(self, sequence: int, call: Call, bits: int) -> None:
        at = self._own + segment.HEADERS[sequence & 1]
        self._words[at] = call.digest ^ sequence
        for word in range(self._num_words):
            self._words[at + 1 + word] = bits >> word * _BITS & _MASK

    def _compare(self, sequence: int, call: Call, bits: int) -> int:
        """Returns which replicas have data; -1 if not all ranks do the same."""
        words, wanted = self._words, call.digest ^ sequence
        offset = segment.HEADERS[sequence & 1]
        for control, _ in self._peers:
            at = control + offset
            if words[at] != wanted:
                return -1
            for word in range(self._num_words):
                bits |= words[at + 1 + word] << word * _BITS
        return bits & self._everybody

    def _divert(self, sequence: int) -> None:
        """Takes back what was published, so that all count alike afterwards."""
        self._say_frames(sequence)
        fence()
        self._words[self._own] = self._base

    def _wait(
        self, control: int, peer: int, goal: int, sequence: int, call: Call, i: int,
        timeout_seconds: float,
    ) -> bool:  # fmt: skip
        """Waits for a peer's counter; returns False if the peer does this call with frames."""
        start = timeline.now()
        try:
            return self._wait_for(control, peer, goal, sequence, call, i, timeout_seconds)
        finally:
            watch.waited_in_memory(self._account, peer, start)

    def _wait_for(
        self, control: int, peer: int, goal: int, sequence: int, call: Call, i: int,
        timeout_seconds: float,
    ) -> bool:  # fmt: skip
        words, spin = self._words, self._transport.spin
        if threading.get_ident() != _MAIN:
            spin = os.sched_yield  # spinning would keep Python's lock from the program
        for _ in range(self._transport.spins):
            if words[control] >= goal:
                return True
            if spin is not None:
                spin()
        at, frames = control + segment.HEADERS[sequence & 1], -1 - sequence
        what = f"all_reduce {call.name!r} (call {sequence}), step {i} of {len(call.steps)}"
        self._transport.beat(sequence)
        self._transport.wait(
            lambda: words[control] >= goal or words[at] == frames, peer, timeout_seconds, what
        )
        return words[control] >= goal

    def _write(
        self, number: int, call: Call, i: int, writes: list[tuple[int, program.Program]],
        flats: Sequence[Sequence[np.ndarray] | None], ufunc: np.ufunc,
    ) -> None:  # fmt: skip
        """Puts this rank's partial results of a step into its lane."""
        step, own = call.steps[i], self._views_of(number, call, i).own
        for stretch, lanes in zip(step, own, strict=True):
            for node, local in writes:
                lane = lanes[node]
                if local.source is not None:
                    arrays = flats[local.source]
                    assert arrays is not None
                    if self._reads_leaf(call, stretch, writes):
                        array, start, stop, _ = stretch.pieces[0]
                        low, high = self._share_of(stretch)
                        np.copyto(lane[:low], arrays[array][start : start + low])
                        np.copyto(lane[high:], arrays[array][start + high : stop])
                        continue
                    for array, start, stop, at in stretch.pieces:
                        np.copyto(lane[at : at + stop - start], arrays[array][start:stop])
                    continue
                scratch = self._scratch(stretch.dtype, local)
                for array, start, stop, at in stretch.pieces:
                    inputs = [lane if leaf is None else leaf[array][start:stop] for leaf in flats]
                    program.run(local, ufunc, inputs, lane[at : at + stop - start], scratch)

    def _add(
        self, number: int, call: Call, i: int, sums: program.Program,
        writes: list[tuple[int, program.Program]], flats: Sequence[Sequence[np.ndarray] | None],
        ufunc: np.ufunc, targets: Arrays,
    ) -> None:  # fmt: skip
        """Adds a step, or this rank's share of it."""
        step, views = call.steps[i], self._views_of(number, call, i)
        for k, stretch in enumerate(step):
            if call.together:
                target = targets[stretch.flat][stretch.start : stretch.stop]
            else:
                target = views.share[k]
            scratch = self._scratch(stretch.dtype, sums)
            inputs = views.inputs[k]
            if self._reads_leaf(call, stretch, writes):
                node, local = writes[0]
                leaf = flats[local.source or 0]
                assert leaf is not None
                array, start, _, _ = stretch.pieces[0]
                low, high = self._share_of(stretch)
                inputs = list(inputs)
                inputs[self._first + node] = leaf[array][start + low : start + high]
            program.run(sums, ufunc, inputs, target, scratch)
            reduction.settle_nans([target])

    def _reads_leaf(
        self, call: Call, stretch: pieces.Stretch, writes: list[tuple[int, program.Program]]
    ) -> bool:
        """Whether this rank's share need not go through its lane: only this rank reads it."""
        if call.together or len(stretch.pieces) != 1 or len(writes) != 1:
            return False
        return writes[0][1].source is not None

    def _share_of(self, stretch: pieces.Stretch) -> tuple[int, int]:
        size, itemsize = stretch.stop - stretch.start, stretch.dtype.itemsize
        return pieces.share(size, itemsize, self._transport.world_size, self._transport.rank)

    def _copy_out(self, number: int, call: Call, i: int, targets: Arrays) -> None:
        step, views = call.steps[i], self._views_of(number, call, i)
        for stretch, result in zip(step, views.result, strict=True):
            np.copyto(targets[stretch.flat][stretch.start : stretch.stop], result)

    def _local_programs(self, bits: int) -> list[tuple[int, program.Program]]:
        """Returns, for each of this rank's nodes with data, its number and how to make it."""
        found = self._locals.get(bits)
        if found is None:
            leaves: list[Key] = [self._tree.settle((0, replica)) for replica in self._replicas]
            present = {i for i, replica in enumerate(self._replicas) if bits >> replica & 1}
            nodes = self._nodes[self._transport.rank]
            made = [program.program_for(self._tree, leaves, present, node) for node in nodes]
            found = [(i, p) for i, p in enumerate(made) if p.additions or p.source is not None]
            _remember(self._locals, bits, found)
        return found

    def _sum_program(self, bits: int) -> program.Program:
        found = self._programs.get(bits)
        if found is None:
            nodes = [node for of_rank in self._nodes for node in of_rank]
            present = {
                i
                for i, node in enumerate(nodes)
                if any(bits >> leaf & 1 for leaf in self._tree.leaves(node))
            }
            found = program.program_for(self._tree, nodes, present, self._tree.root)
            _remember(self._programs, bits, found)
        return found

    def _scratch(self, dtype: np.dtype, sums: program.Program) -> Sequence[np.ndarray]:
        if not sums.num_temporaries:
            return ()
        arrays = self._temporaries.setdefault(dtype, [])
        while len(arrays) < sums.num_temporaries:
            arrays.append(np.empty(self._capacity // dtype.itemsize, dtype))
        return arrays

    def _views_of(self, number: int, call: Call, i: int) -> Views:
        """Returns the places of step i, which has this number; those of one form are the same."""
        slot = number % segment.NUM_SLOTS
        key = i * segment.NUM_SLOTS + slot
        views = call.views.get(key)
        if views is None:
            step = call.steps[i]
            form = (slot, call.together, *[(s.dtype, s.stop - s.start, s.at_byte) for s in step])
            views = self._views.get(form)
            if views is None:
                views = self._views[form] = self._make_views(number, call.together, step)
            call.views[key] = views
        return views

    def _make_views(self, number: int, together: bool, step: pieces.Step) -> Views:
        plan, rank = self._segment.plan, self._transport.rank
        world_size, slot = self._transport.world_size, number % segment.NUM_SLOTS
        views = Views([], [], [], [])
        for stretch in step:
            size, itemsize = stretch.stop - stretch.start, stretch.dtype.itemsize

            def view(start: int, size: int = size, stretch: pieces.Stretch = stretch) -> np.ndarray:
                start += stretch.at_byte
                stop = start + size * stretch.dtype.itemsize
                return self._segment.data[start:stop].view(stretch.dtype)

            lanes = [
                [view(plan.slot(r, slot) + k * self._capacity) for k in range(len(nodes))]
                for r, nodes in enumerate(self._nodes)
            ]
            result = view(plan.result(number % segment.NUM_RESULTS))
            start, stop = pieces.share(size, itemsize, world_size, rank)
            cut = slice(None) if together else slice(start, stop)
            views.own.append(lanes[rank])
            views.inputs.append([lane[cut] for of_rank in lanes for lane in of_rank])
            views.share.append(result[start:stop])
            views.result.append(result)
        return views


def _flat(array: np.ndarray) -> np.ndarray:
    if array.flags.c_contiguous:
        return array if array.ndim == 1 else array.reshape(-1)
    return np.ascontiguousarray(array).reshape(-1)


def _remember(table: dict, key: int, value: object) -> None:
    if len(table) >= _MAX_REMEMBERED:
        table.clear()
    table[key] = value
