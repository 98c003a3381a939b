"""Reduction over wires, block by block in tree order: bytes are added while they come.

As in `direct.py` each worker owns a share of the elements, gets everybody's partial results for it,
adds them, and sends the finished share to all. But nothing waits for whole messages: when a block
has come from everybody it is added at once, in cache, straight to its place in the result, and
leaves again. A connection carries this worker's partial results for the peer's share, block by
block, node by node, and behind each of these blocks a finished one of this worker's own share, the
one that is `_LAG` numbers older; then a checksum. No rank waits in a circle: block i of anybody
needs only blocks before i, or before i - _LAG finished ones, of the others.

The additions of a block are the tree's (`program.py`): the bytes are those of every other
algorithm. Before, the workers compare what they are doing, as ever (`Round`).
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from distflow.comm import reduction
from distflow.comm.algorithms import partials, pieces, program
from distflow.comm.buckets import Layout, Spec, layout_of
from distflow.comm.group import Placement
from distflow.comm.round import Round
from distflow.comm.transport.wires import BLOCK_BYTES, WiredTransport
from distflow.comm.tree import Arrays, Key, Tree
from distflow.telemetry import timeline

# Blocks of each peer that may have come before they are added: one comes while one is added.
_SLOTS = 4
_LAG = 2
_BLOCKS_OF_SHARE = 2  # 1 MB between 2 processes: 1.04 ms with 4, 0.87 with 2, 0.86 with 1
_MIN_BLOCK_BYTES = 32 << 10
_PHASE = 1  # of the round, for the timeline


class _Block(NamedTuple):
    """Elements [start, stop) of the flat buffer number `flat`."""

    flat: int
    start: int
    stop: int


class Streams:
    """The streamed reductions of one worker.

    Args:
      transport: connects the workers.
      placement: which worker holds which replicas.
      timeout_seconds: longest time without progress.
    """

    def __init__(self, transport: WiredTransport, placement: Placement, timeout_seconds: float):
        self._transport = transport
        self._placement = placement
        self._timeout = timeout_seconds
        self._scratch: dict[tuple[int, int], np.ndarray] = {}
        self._temporaries: dict[np.dtype, list[np.ndarray]] = {}

    def all_reduce(
        self, round_: Round, tree: Tree, op: str, leaves: Mapping[int, Arrays | None],
        out: Sequence[np.ndarray] | None = None,
    ) -> tuple[Arrays | None, int]:  # fmt: skip
        """Returns the reduction of all leaves and how many have data.

        The arrays are those of `out` if it has one array for each dtype. They are being sent until
        the end of the round.
        """
        flats = partials.local_flats(round_, tree, op, leaves)
        arrivals = round_.exchange(lambda peer: (), partials.announce(flats, leaves))
        nodes: dict[int, list[tuple[Key, bool]]] = {
            round_.rank: [(key, flat is not None) for key, flat in flats.items()]
        }
        num_present = sum(leaf is not None for leaf in leaves.values())
        for peer, arrival in arrivals.items():
            count, keys, present = partials.read_nodes(round_, tree, peer, arrival.extra)
            wanted = tree.maximal_nodes(self._placement.replicas_of(peer))
            if not any(present):  # one that knows no shapes tells no more than that
                keys, present = wanted, [False] * len(wanted)
            elif keys != wanted:
                raise round_.damaged(peer, f"partial results {keys}")
            nodes[peer] = list(zip(keys, present, strict=True))
            num_present += count
        if not num_present:
            return None, 0
        layout = layout_of(round_.specs or ())
        targets: Arrays
        if out is not None and len(out) == len(layout.dtypes):
            targets = layout.pack(out)
        else:
            out, targets = None, list(map(np.empty, layout.sizes, layout.dtypes))
        call = _Reduction(self, round_, tree, op, layout, nodes, flats, targets)
        with np.errstate(all="ignore"):
            call.run(self._transport, self._timeout)
        return layout.unpack(targets) if out is None else list(out), num_present

    def scratch(self, number: int, slot: int, dtype: np.dtype, size: int) -> np.ndarray:
        """Returns memory for a block of an input of the program, by the input's number."""
        key = (number, slot)
        if key not in self._scratch:
            self._scratch[key] = np.empty(BLOCK_BYTES, np.uint8)
        return self._scratch[key][: size * dtype.itemsize].view(dtype)

    def temporaries(self, dtype: np.dtype, count: int) -> Sequence[np.ndarray]:
        """Returns memory for so many sums of blocks that others are added to."""
        arrays = self._temporaries.setdefault(dtype, [])
        while len(arrays) < count:
            arrays.append(np.empty(BLOCK_BYTES // dtype.itemsize, dtype))
        return arrays


class _Reduction:
    """One of them, under way."""

    def __init__(
        self, streams: Streams, round_: Round, tree: Tree, op: str, layout: Layout,
        nodes: Mapping[int, list[tuple[Key, bool]]],
        flats: Mapping[Key, partials.Flats | None], targets: Arrays,
    ):  # fmt: skip
        self._streams = streams
        self._what = f"{round_.call}, stream"
        self._links, self._start = round_.links, timeline.now()
        self._tag = round_.call.sequence << 8 | _PHASE
        self._ufunc = reduction.REDUCTIONS[op].ufunc
        self._layout = layout
        self._targets = targets
        self._rank, self._world_size = round_.rank, round_.world_size
        order = [(rank, key, has_data) for rank in sorted(nodes) for key, has_data in nodes[rank]]
        present = {i for i, (_, _, has_data) in enumerate(order) if has_data}
        keys = [key for _, key, _ in order]
        self._program = program.program_for(tree, keys, present, tree.root)
        # Where the inputs of the program come from; -1: without data, no addition reads it.
        self._owners = [rank if has_data else -1 for rank, _, has_data in order]
        self._own = {i: flats[key] or [] for i, (rank, key, _) in enumerate(order)
                     if rank == self._rank and i in present}  # fmt: skip
        blocks = blocks_of(layout.specs, self._world_size)
        self._blocks = blocks[self._rank]
        self._peers = {
            peer: _Peer(blocks[peer], len(self._blocks)) for peer in nodes if peer != self._rank
        }
        from_peers = sum(owner >= 0 and owner != self._rank for owner in self._owners)
        self._missing = [from_peers] * len(self._blocks)  # arrays that each block still lacks
        self._inputs: dict[int, list[np.ndarray]] = {}
        self._added = 0  # blocks, in their order

    def run(self, transport: WiredTransport, timeout_seconds: float) -> None:
        """Moves and adds everything; what this rank has finished may still be on its way."""
        self._wires = transport.wires
        for peer, there in self._peers.items():
            parts = [part for block in there.blocks for part in self._own_parts(block)]
            parts += [self._at(self._targets, block) for block in self._blocks]
            self._links.sent(peer, self._tag, self._start, parts)
        self._add_complete()
        self._feed()
        transport.move_until(self._waits_for, timeout_seconds, self._what)

    def _waits_for(self) -> int | None:
        return next((peer for peer, there in self._peers.items() if not there.ended), None)

    def _own_parts(self, block: _Block) -> list[np.ndarray]:
        return [self._at(flats, block) for flats in self._own.values()]

    @staticmethod
    def _at(flats: Sequence[np.ndarray], block: _Block) -> np.ndarray:
        return flats[block.flat][block.start : block.stop]

    def _feed(self) -> None:
        """Gives the wires all that can leave, and the places for all that may come."""
        for peer, there in self._peers.items():
            wire = self._wires[peer]
            while there.to_send:
                is_finished, number = there.to_send[0]
                if is_finished and number >= self._added:
                    break
                there.to_send.popleft()
                if is_finished:
                    wire.put(self._at(self._targets, self._blocks[number]))
                else:
                    for part in self._own_parts(there.blocks[number]):
                        wire.put(part)
            if not (there.to_send or there.sent):
                there.sent = True
                wire.seal()
            while there.to_come:
                is_finished, number = there.to_come[0]
                if not is_finished and number >= self._added + _SLOTS:
                    break
                there.to_come.popleft()
                if is_finished:
                    wire.expect(self._at(self._targets, there.blocks[number]))
                else:
                    self._expect_partials(peer, number)
            if not (there.to_come or there.placed):
                there.placed = True
                wire.expect_seal(functools.partial(self._end, peer))

    def _expect_partials(self, peer: int, number: int) -> None:
        arrived = functools.partial(self._arrived, number)
        inputs = self._inputs_of(number)
        for i, owner in enumerate(self._owners):
            if owner == peer:
                self._wires[peer].expect(inputs[i], arrived)

    def _inputs_of(self, number: int) -> list[np.ndarray]:
        """Returns the operands of a block: this rank's own, and places for those of peers."""
        if number not in self._inputs:
            block = self._blocks[number]
            dtype, slot = self._layout.dtypes[block.flat], number % _SLOTS
            inputs = []
            for i, owner in enumerate(self._owners):
                if i in self._own:
                    inputs.append(self._at(self._own[i], block))
                else:
                    size = block.stop - block.start if owner >= 0 else 0
                    inputs.append(self._streams.scratch(i, slot, dtype, size))
            self._inputs[number] = inputs
        return self._inputs[number]

    def _arrived(self, number: int) -> None:
        self._missing[number] -= 1
        if number == self._added and not self._missing[number]:
            self._add_complete()
            self._feed()

    def _add_complete(self) -> None:
        """Adds the blocks of which everything is there, in their order."""
        while self._added < len(self._blocks) and not self._missing[self._added]:
            inputs = self._inputs_of(self._added)
            del self._inputs[self._added]
            target = self._at(self._targets, self._blocks[self._added])
            scratch = self._streams.temporaries(target.dtype, self._program.num_temporaries)
            program.run(self._program, self._ufunc, inputs, target, scratch)
            reduction.settle_nans([target])
            self._added += 1

    def _end(self, peer: int) -> None:
        there = self._peers[peer]
        there.ended = True
        size = sum(owner == peer for owner in self._owners) * self._num_bytes(self._blocks)
        size += self._num_bytes(there.blocks)
        self._links.received(peer, self._tag, self._start, size)

    def _num_bytes(self, blocks: Sequence[_Block]) -> int:
        return sum((b.stop - b.start) * self._layout.dtypes[b.flat].itemsize for b in blocks)


class _Peer:
    """What is still to be exchanged with a peer: the blocks of its share, and of this rank's."""

    def __init__(self, blocks: list[_Block], num_own: int):
        self.blocks = blocks
        self.to_send = deque(schedule(len(blocks), num_own))
        self.to_come = deque(schedule(num_own, len(blocks)))
        self.sent = self.placed = self.ended = False


@functools.lru_cache(maxsize=64)
def blocks_of(specs: tuple[Spec, ...], world_size: int) -> list[list[_Block]]:
    """Returns the blocks of each rank's share: a few at least, and not too large for caches."""
    layout = layout_of(specs)
    part = sum(spec.num_bytes for spec in specs) // world_size // _BLOCKS_OF_SHARE
    num_bytes = max(_MIN_BLOCK_BYTES, min(part & -_MIN_BLOCK_BYTES, BLOCK_BYTES))
    found: list[list[_Block]] = []
    for rank in range(world_size):
        found.append([])
        for number, (dtype, size) in enumerate(zip(layout.dtypes, layout.sizes, strict=True)):
            first, last = pieces.share(size, dtype.itemsize, world_size, rank)
            step = num_bytes // dtype.itemsize
            starts = range(first, last, step)
            found[-1] += [_Block(number, at, min(at + step, last)) for at in starts]
    return found


@functools.lru_cache(maxsize=64)
def schedule(num_partial: int, num_finished: int) -> tuple[tuple[bool, int], ...]:
    """Returns what passes from one rank to another, in order: (is finished, number of the block).

    Args:
      num_partial: blocks of the receiver's share, of which the sender has partial results.
      num_finished: blocks of the sender's share.
    """
    found = []
    for number in range(max(num_partial, num_finished + _LAG)):
        if number < num_partial:
            found.append((False, number))
        if 0 <= number - _LAG < num_finished:
            found.append((True, number - _LAG))
    return tuple(found)
