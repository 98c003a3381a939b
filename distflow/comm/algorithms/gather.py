"""Sends every worker's partial results to everyone, and each adds the tree itself: one round.

For small buffers, where latency counts more than bytes.
"""

from __future__ import annotations

from collections.abc import Mapping

from distflow.comm.algorithms import partials
from distflow.comm.buckets import layout_of
from distflow.comm.round import Round
from distflow.comm.tree import Accumulator, Arrays, Tree


def all_reduce(
    round_: Round, tree: Tree, op: str, leaves: Mapping[int, Arrays | None]
) -> tuple[Arrays | None, int]:
    """Returns the reduction of all leaves and how many have data."""
    flats = partials.local_flats(round_, tree, op, leaves)
    present = [flat for flat in flats.values() if flat is not None]
    sent = partials.ordered_parts(present)
    arrivals = round_.exchange(lambda peer: sent, partials.announce(flats, leaves))
    layout = layout_of(round_.specs or ())
    total = Accumulator(tree, op)
    for key, flat in flats.items():
        total.insert(key, flat)
    num_present = sum(leaf is not None for leaf in leaves.values())
    for peer, arrival in arrivals.items():
        num_present += partials.insert_all(round_, tree, total, peer, arrival, layout, layout.sizes)
    root = total.root()
    return (None if root is None else layout.unpack(root)), num_present
