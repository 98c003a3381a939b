"""The collectives that move arrays without adding them, and reduce_scatter.

Each runs in one `Round`; bodies hold the arrays' bytes, each array beginning aligned.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distflow.base import errors
from distflow.comm import buckets, reduction
from distflow.comm.algorithms import direct, partials
from distflow.comm.buckets import Layout, Spec, layout_of
from distflow.comm.group import Placement
from distflow.comm.round import Round
from distflow.comm.tree import Accumulator, Arrays, Tree


def all_gather(
    round_: Round, placement: Placement, local: Mapping[int, Arrays | None]
) -> list[list[np.ndarray] | None]:
    """Returns every replica's arrays; see `Communicator.all_gather`."""
    gathered: list[list[np.ndarray] | None] = [None] * placement.num_replicas
    sent: list[np.ndarray] = []
    extra: list[Any] = []
    for replica, arrays in sorted(local.items()):
        if arrays is None:
            continue
        gathered[replica] = [np.array(array, order="C") for array in arrays]
        sent += buckets.padded_parts(gathered[replica] or [])
        extra.append([replica, buckets.encode(buckets.specs_of(arrays))])
    for peer, arrival in round_.exchange(lambda peer: sent, extra).items():
        replicas, lists = _read_lists(round_, placement, peer, arrival.extra)
        flat = [spec for specs in lists for spec in specs]
        arrays = buckets.unpad(arrival.body, flat, functools.partial(round_.damaged, peer))
        start = 0
        for replica, specs in zip(replicas, lists, strict=True):
            gathered[replica] = arrays[start : start + len(specs)]
            start += len(specs)
    _check_ragged(round_, placement, gathered)
    return gathered


def all_to_all(
    round_: Round, placement: Placement, local: Mapping[int, Arrays | None]
) -> dict[int, list[np.ndarray]]:
    """Returns what each local replica received; see `Communicator.all_to_all`."""
    extra = [
        [sender, buckets.encode(buckets.specs_of(blocks or []))]
        for sender, blocks in sorted(local.items())
    ]

    def parts_for(peer: int) -> list[np.ndarray]:
        targets = placement.replicas_of(peer)
        return buckets.padded_parts(
            [(blocks or [])[q] for _, blocks in sorted(local.items()) for q in targets]
        )

    mine = placement.replicas_of(round_.rank)
    received: dict[int, dict[int, np.ndarray]] = {
        target: {r: np.array((b or [])[target], order="C") for r, b in local.items()}
        for target in mine
    }
    for peer, arrival in round_.exchange(parts_for, extra).items():
        senders, lists = _read_lists(round_, placement, peer, arrival.extra)
        if any(len(specs) != placement.num_replicas for specs in lists):
            raise round_.damaged(peer, "not one block for each replica")
        flat = [specs[target] for specs in lists for target in mine]
        arrays = iter(buckets.unpad(arrival.body, flat, functools.partial(round_.damaged, peer)))
        for sender in senders:
            for target in mine:
                received[target][sender] = next(arrays)
    return {target: [by[sender] for sender in sorted(by)] for target, by in received.items()}


def broadcast(round_: Round, arrays: Arrays | None, root: int) -> list[np.ndarray]:
    """Returns copies of the root's arrays; see `Communicator.broadcast`."""
    if round_.rank == root:
        mine = [np.array(array, order="C") for array in arrays or []]
        sent = buckets.padded_parts(mine)
        round_.exchange(lambda peer: sent)
        return mine
    body = round_.exchange(lambda peer: ())[root].body
    return buckets.unpad(body, round_.specs or (), functools.partial(round_.damaged, root))


def broadcast_json(round_: Round, data: bytes, root: int) -> Any:
    """Returns the value in the root's JSON text; see `Communicator.broadcast_json`."""
    sent = [np.frombuffer(data, np.uint8)]
    arrivals = round_.exchange(lambda peer: sent if round_.rank == root else ())
    if round_.rank != root:
        data = arrivals[root].body.tobytes()
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise round_.damaged(root, f"bad JSON: {error}") from error


def reduce_scatter(
    round_: Round, tree: Tree, placement: Placement, op: str, local: Mapping[int, Arrays | None]
) -> dict[int, list[np.ndarray]]:
    """Returns each local replica's rows of the reduction; see `Communicator.reduce_scatter`.

    As in `algorithms/direct.py`, but the chunks are cut where the workers' rows end.
    """
    total = Accumulator(tree, op)
    for replica in sorted(local):
        total.insert((0, replica), local[replica])
    order = [r for rank in range(placement.world_size) for r in placement.replicas_of(rank)]

    def plan() -> tuple[Layout, direct.Cuts]:
        specs = round_.specs or ()
        layout = layout_of(tuple(_row_spec(spec, r, placement) for r in order for spec in specs))
        held = [len(placement.replicas_of(rank)) for rank in range(placement.world_size)]
        return layout, layout.group_cuts([count * len(specs) for count in held])

    flats: dict[Any, partials.Flats | None] = {}
    for key, arrays in total.nodes().items():
        flats[key] = arrays and plan()[0].pack(
            [array[_rows(array.shape[0], r, placement)] for r in order for array in arrays]
        )
    chunk, _ = direct.reduce_chunk(round_, tree, op, flats, local, plan)
    mine = placement.replicas_of(round_.rank)
    specs = [_row_spec(spec, r, placement) for r in mine for spec in round_.specs or ()]
    if chunk is None:
        identity = reduction.REDUCTIONS[op].identity
        arrays = [np.full(spec.shape, identity(spec.dtype), spec.dtype) for spec in specs]
    else:
        full = plan()[0].dtypes
        own = Layout(specs)
        arrays = own.unpack([flat for flat, d in zip(chunk, full, strict=True) if d in own.dtypes])
    count = len(round_.specs or ())
    return {r: arrays[i * count : (i + 1) * count] for i, r in enumerate(mine)}


def _rows(num_rows: int, replica: int, placement: Placement) -> slice:
    total = placement.num_replicas
    return slice(num_rows * replica // total, num_rows * (replica + 1) // total)


def _row_spec(spec: Spec, replica: int, placement: Placement) -> Spec:
    rows = _rows(spec.shape[0], replica, placement)
    return Spec((rows.stop - rows.start, *spec.shape[1:]), spec.dtype)


def _read_lists(
    round_: Round, placement: Placement, peer: int, extra: Any
) -> tuple[list[int], list[tuple[Spec, ...]]]:
    try:
        replicas = [replica for replica, _ in extra]
        lists = [buckets.decode(specs) for _, specs in extra]
    except (TypeError, ValueError) as error:
        raise round_.damaged(peer, f"bad list of arrays: {error}") from error
    held = placement.replicas_of(peer)
    if len(set(replicas)) != len(replicas) or not set(replicas) <= set(held):
        raise round_.damaged(peer, f"replicas {replicas}, it holds {list(held)}")
    return replicas, lists


def _check_ragged(
    round_: Round, placement: Placement, gathered: Sequence[list[np.ndarray] | None]
) -> None:
    first: tuple[int, Any, str] | None = None
    for replica, arrays in enumerate(gathered):
        if arrays is None:
            continue
        specs = buckets.specs_of(arrays)
        alike = [(spec.dtype, len(spec.shape), spec.shape[1:]) for spec in specs]
        if first is None:
            first = (replica, alike, buckets.describe(specs))
        elif first[1] != alike:
            raise errors.CollectiveMismatchError(
                f"{round_.call}: only the first axis may differ between replicas.\n"
                f"replica {first[0]} on rank {placement.owners[first[0]]}: {first[2]}\n"
                f"replica {replica} on rank {placement.owners[replica]}: {buckets.describe(specs)}"
            )
