"""Tree-ordered direct reduce-scatter and all-gather, for any number of workers and any placement.

Each worker adds its own leaves as far as the tree allows, and sends chunk c of each partial
result, named by its (level, index), to worker c. The owner of a chunk combines what arrives, in any
order, and sends the finished chunk to all. Worker w sends (p_w + 1) N (W-1)/W bytes, where p_w is
its number of partial results: 1 for aligned powers of two, at most 2 ceil(log2 V) - 2.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import numpy as np

from distflow.comm import watch
from distflow.comm.algorithms import partials
from distflow.comm.buckets import Layout, layout_of, split_body
from distflow.comm.round import Round
from distflow.comm.tree import Accumulator, Arrays, Key, Tree
from distflow.telemetry import timeline

Cuts = list[list[int]]  # per flat buffer, the world_size + 1 boundaries of the workers' chunks


def all_reduce(
    round_: Round, tree: Tree, op: str, leaves: Mapping[int, Arrays | None]
) -> tuple[Arrays | None, int]:
    """Returns the reduction of all leaves and how many have data."""
    flats = partials.local_flats(round_, tree, op, leaves)

    def plan() -> tuple[Layout, Cuts]:
        layout = layout_of(round_.specs or ())
        return layout, layout.even_cuts(round_.world_size)

    chunk, num_present = reduce_chunk(round_, tree, op, flats, leaves, plan)
    if chunk is None:  # nobody has data, and everybody knows
        return None, 0
    layout, cuts = plan()
    return layout.unpack(gather_chunks(round_, layout, cuts, chunk)), num_present


def reduce_chunk(
    round_: Round,
    tree: Tree,
    op: str,
    flats: Mapping[Key, partials.Flats | None],
    leaves: Mapping[int, Arrays | None],
    plan: Callable[[], tuple[Layout, Cuts]],
) -> tuple[partials.Flats | None, int]:
    """Returns this worker's chunk of the reduction, and how many replicas have data.

    Args:
      round_, tree, op: as ever.
      flats: this worker's partial results, packed.
      leaves: this worker's leaves.
      plan: gives layout and cuts; called again after the exchange, when a worker without data has
        learnt the shapes from the others.
    """
    count = sum(leaf is not None for leaf in leaves.values())
    total, num_present = collect_chunk(round_, tree, op, flats, count, plan)
    return total.root(), num_present


def collect_chunk(
    round_: Round,
    tree: Tree,
    op: str,
    flats: Mapping[Key, partials.Flats | None],
    count: int,
    plan: Callable[[], tuple[Layout, Cuts]],
) -> tuple[Accumulator, int]:
    """Returns what the group has of this worker's chunk: the root if the group has all leaves.

    Arguments as for `reduce_chunk`; `count` is how many of this worker's replicas have data.
    """

    def parts_for(peer: int) -> list[np.ndarray]:
        present = [flat for flat in flats.values() if flat is not None]
        if not present:
            return []
        _, cuts = plan()
        return partials.ordered_parts([_chunk_of(flat, cuts, peer) for flat in present])

    arrivals = round_.exchange(parts_for, partials.announce_nodes(flats, count))
    layout, cuts = plan()
    start = timeline.now()
    total = Accumulator(tree, op)
    for key, flat in flats.items():
        total.insert(key, None if flat is None else _chunk_of(flat, cuts, round_.rank))
    num_present = count
    sizes = [cut[round_.rank + 1] - cut[round_.rank] for cut in cuts]
    for peer, arrival in arrivals.items():
        num_present += partials.insert_all(round_, tree, total, peer, arrival, layout, sizes)
    watch.added(start)
    return total, num_present


def gather_chunks(
    round_: Round, layout: Layout, cuts: Cuts, chunk: partials.Flats
) -> partials.Flats:
    """Returns whole flat buffers from the chunks of all ranks, this one's first given."""
    arrivals = round_.exchange(lambda peer: chunk)
    result = [
        np.empty(size, dtype) for size, dtype in zip(layout.sizes, layout.dtypes, strict=True)
    ]
    for target, values in zip(_chunk_of(result, cuts, round_.rank), chunk, strict=True):
        target[...] = values
    for peer, arrival in arrivals.items():
        targets = _chunk_of(result, cuts, peer)
        wanted = [(target.dtype, target.size) for target in targets]
        views = split_body(arrival.body, wanted, functools.partial(round_.damaged, peer))
        for target, values in zip(targets, views, strict=True):
            target[...] = values
    return result


def _chunk_of(flats: partials.Flats, cuts: Cuts, rank: int) -> partials.Flats:
    return [flat[cut[rank] : cut[rank + 1]] for flat, cut in zip(flats, cuts, strict=True)]
