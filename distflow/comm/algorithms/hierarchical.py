"""Reduction over hosts with several workers each: memory inside a host, the network between hosts.

The buffer is cut in as many chunks as the smallest host has workers. Worker c of a host combines
chunk c of all partial results of its host; the workers c of all hosts combine these over the
network, each a part, and exchange the parts; then the workers of a host exchange the chunks. A host
sends (p + 1) N (H-1)/H bytes over the network, where p is the number of the tree's nodes that its
replicas make, instead of that for each of its workers. All combining is the tree's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from distflow.comm.algorithms import direct, partials
from distflow.comm.buckets import Layout, Spec, layout_of
from distflow.comm.round import Round, SpecMemory
from distflow.comm.transport.base import Transport
from distflow.comm.transport.subgroup import HostsTransport, Subgroup
from distflow.comm.tree import Arrays, Key, Tree


class Hierarchy:
    """The groups that a worker belongs to: its host, and its counterparts on the other hosts."""

    def __init__(self, transport: HostsTransport, timeout_seconds: float):
        self._timeout = timeout_seconds
        self._num_chunks = min(map(len, transport.hosts))
        mine = next(host for host in transport.hosts if transport.rank in host)
        self._within: Transport = transport.within or Subgroup(transport, mine)
        self._members = {"within": mine}
        index = self._within.rank
        self._across: Transport | None = None
        if index < self._num_chunks:
            self._members["across"] = [host[index] for host in transport.hosts]
            self._across = Subgroup(transport, self._members["across"])
        self._memories = {"within": SpecMemory(), "across": SpecMemory()}

    def all_reduce(
        self, round_: Round, tree: Tree, op: str, leaves: Mapping[int, Arrays | None]
    ) -> tuple[Arrays | None, int]:
        """Returns the reduction of all leaves and how many have data."""
        flats = partials.local_flats(round_, tree, op, leaves)
        count = sum(leaf is not None for leaf in leaves.values())
        # All ranks compare what they do before any data moves, as in every collective.
        arrivals = round_.exchange(lambda peer: (), partials.announce_nodes(flats, count))
        num_present = count
        for peer, arrival in arrivals.items():
            num_present += partials.read_nodes(round_, tree, peer, arrival.extra)[0]
        if not num_present:
            return None, 0
        layout = layout_of(round_.specs or ())
        within = self._group(round_, self._within, "within")
        cuts = self._cuts(layout, within.world_size)
        collected, inside = direct.collect_chunk(
            within, tree, op, flats, count, lambda: (layout, cuts)
        )
        within.finish()
        sizes = [cut[within.rank + 1] - cut[within.rank] for cut in cuts]
        mine = self._reduce_across(round_, tree, op, collected.nodes(), inside, layout, sizes)
        within = self._group(round_, self._within, "within")
        gathered = direct.gather_chunks(within, layout, cuts, mine)
        within.finish()
        return layout.unpack(gathered), num_present

    def _reduce_across(
        self,
        round_: Round,
        tree: Tree,
        op: str,
        nodes: Mapping[Key, partials.Flats | None],
        count: int,
        layout: Layout,
        sizes: list[int],
    ) -> partials.Flats:
        """Returns this worker's chunk of the whole reduction; empty buffers if it has none."""
        if self._across is None:
            return [np.empty(0, dtype) for dtype in layout.dtypes]
        across = self._group(round_, self._across, "across")
        pairs = zip(sizes, layout.dtypes, strict=True)
        part = layout_of(tuple(Spec((size,), dtype) for size, dtype in pairs))
        cuts = part.even_cuts(across.world_size)
        total, _ = direct.collect_chunk(across, tree, op, nodes, count, lambda: (part, cuts))
        root = total.root()
        assert root is not None
        result = direct.gather_chunks(across, part, cuts, root)
        across.finish()
        return result

    def _group(self, round_: Round, transport: Transport, name: str) -> Round:
        call = dataclasses.replace(round_.call, kind=f"{round_.call.kind} {name}")
        memory = self._memories[name]
        links = round_.links.of_group(transport.rank, self._members[name], name)
        return Round(transport, call, round_.specs, memory, self._timeout, links)

    def _cuts(self, layout: Layout, world_size: int) -> direct.Cuts:
        chunks = self._num_chunks
        return [
            [size * min(c, chunks) // chunks for c in range(world_size + 1)]
            for size in layout.sizes
        ]
