"""A worker's partial results: computing them, announcing them, reading those of a peer."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distflow.base import errors
from distflow.comm.buckets import Layout, layout_of, split_body
from distflow.comm.round import Arrival, Round
from distflow.comm.tree import Accumulator, Arrays, Key, Tree

Flats = list[np.ndarray]


def local_flats(
    round_: Round, tree: Tree, op: str, leaves: Mapping[int, Arrays | None]
) -> dict[Key, Flats | None]:
    """Returns this worker's maximal nodes, packed; only these travel."""
    local = Accumulator(tree, op)
    for replica in sorted(leaves):
        local.insert((0, replica), leaves[replica])
    layout = layout_of(round_.specs or ())
    return {
        key: None if value is None else layout.pack(value) for key, value in local.nodes().items()
    }


def announce(flats: Mapping[Key, Flats | None], leaves: Mapping[int, Arrays | None]) -> Any:
    """Returns what the header tells about the body: [number of replicas with data, nodes]."""
    return announce_nodes(flats, sum(leaf is not None for leaf in leaves.values()))


def announce_nodes(flats: Mapping[Key, Flats | None], num_present: int) -> Any:
    """Returns the announcement of nodes that stand for so many replicas with data."""
    return [num_present, [[*key, int(flat is not None)] for key, flat in flats.items()]]


def announce_absent(leaves: Mapping[int, Arrays | None]) -> Any:
    """Returns the announcement of a worker that has no data and knows no shapes."""
    return [0, [[0, replica, 0] for replica in sorted(leaves)]]


def read_nodes(
    round_: Round, tree: Tree, peer: int, extra: Any
) -> tuple[int, list[Key], list[bool]]:
    """Returns a peer's announcement: number of replicas with data, nodes, which have data."""
    try:
        num_present, nodes = extra
        keys = [(int(level), int(index)) for level, index, _ in nodes]
        present = [bool(flag) for _, _, flag in nodes]
        if not (type(num_present) is int and 0 <= num_present <= tree.num_leaves):
            raise ValueError(f"{num_present} replicas")
    except (TypeError, ValueError) as error:
        raise round_.damaged(peer, f"bad list of partial results: {error}") from error
    return num_present, keys, present


def insert_all(
    round_: Round,
    tree: Tree,
    into: Accumulator,
    peer: int,
    arrival: Arrival,
    layout: Layout,
    sizes: Sequence[int],
) -> int:
    """Inserts a peer's nodes, `sizes` elements per dtype; returns how many replicas had data."""
    num_present, keys, present = read_nodes(round_, tree, peer, arrival.extra)
    count = sum(present)
    # Dtype by dtype, node by node: see `ordered_parts`.
    wanted = [item for item in zip(layout.dtypes, sizes, strict=True) for _ in range(count)]
    views = split_body(arrival.body, wanted, functools.partial(round_.damaged, peer))
    position = 0
    for key, has_data in zip(keys, present, strict=True):
        value = None
        if has_data:
            value = views[position::count]
            position += 1
        try:
            into.insert(key, value, owned=True)
        except errors.InvalidArgumentError as error:
            raise round_.damaged(peer, str(error)) from error
    return num_present


def ordered_parts(flats: Sequence[Flats]) -> list[np.ndarray]:
    """Returns the buffers in the order of the body: dtype by dtype, node by node.

    Dtypes come by falling item size, so every part of the body is aligned.
    """
    return [flat for same_dtype in zip(*flats, strict=True) for flat in same_dtype]
