"""Gathers every leaf to everyone and adds in tree order: the definition and the test oracle.

Written by recursion, apart from `tree.Accumulator`, so that the two check each other.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from distflow.comm import reduction
from distflow.comm.algorithms import partials
from distflow.comm.buckets import layout_of, split_body
from distflow.comm.round import Round
from distflow.comm.tree import Arrays, Tree


def tree_reduce(leaves: Sequence[Arrays | None], op: str) -> Arrays | None:
    """Returns the reduction of the leaves in tree order; None where no leaf has data.

    A tree over n leaves splits them at the largest power of two below n.
    """
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << ((len(leaves) - 1).bit_length() - 1)
    left = tree_reduce(leaves[:half], op)
    right = tree_reduce(leaves[half:], op)
    if left is None or right is None:
        return right if left is None else left
    return reduction.combine(op, left, right, None)


def define(leaves: Sequence[Arrays | None], op: str) -> Arrays | None:
    """Returns what every algorithm must give, in arrays of its own."""
    root = tree_reduce(leaves, op)
    if root is None:
        return None
    root = [np.array(array, order="C") for array in root]
    reduction.settle_nans(root)
    return root


def all_reduce(
    round_: Round, tree: Tree, op: str, leaves: Mapping[int, Arrays | None]
) -> tuple[Arrays | None, int]:
    """Returns the reduction of all leaves and how many have data."""
    everything: list[Arrays | None] = [None] * tree.num_leaves
    sent: list[np.ndarray] = []
    for replica, leaf in sorted(leaves.items()):
        everything[replica] = leaf
        if leaf is not None:
            assert round_.specs is not None
            sent += layout_of(round_.specs).pack(leaf)
    nodes = [[0, replica, int(leaf is not None)] for replica, leaf in sorted(leaves.items())]
    num_present = sum(leaf is not None for leaf in everything)
    arrivals = round_.exchange(lambda peer: sent, [num_present, nodes])
    layout = layout_of(round_.specs or ())
    for peer, (extra, body) in arrivals.items():
        _, keys, present = partials.read_nodes(round_, tree, peer, extra)
        replicas = [index for (_, index), flag in zip(keys, present, strict=True) if flag]
        if not all(0 <= r < tree.num_leaves and everything[r] is None for r in replicas):
            raise round_.damaged(peer, f"bad list of replicas {replicas}")
        wanted = list(zip(layout.dtypes, layout.sizes, strict=True)) * len(replicas)
        flats = split_body(body, wanted, functools.partial(round_.damaged, peer))
        step = len(layout.dtypes)
        for i, replica in enumerate(replicas):
            everything[replica] = layout.unpack(flats[i * step : (i + 1) * step])
    return define(everything, op), sum(leaf is not None for leaf in everything)
