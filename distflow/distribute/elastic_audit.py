"""Audits of an elastic job: some steps are computed twice, each replica on two workers.

A processor that computes wrong now and then says nothing of it. In an audited step the replicas are
placed anew, one worker further, and computed again from the same state; as bits depend on no
placement, any difference is a fault of a worker. Which steps are audited follows from their number,
so that all workers agree.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distflow.base import errors
from distflow.comm import Placement
from distflow.distribute import elastic_codec as codec
from distflow.distribute.elastic_state import digest


def is_due(position: int, rate: float) -> bool:
    """Whether the event at a position is audited, where a share `rate` of them is."""
    number = hashlib.blake2b(position.to_bytes(8, "little"), digest_size=7).digest()
    return int.from_bytes(number, "little") < rate * (1 << 56)


def moved_on(placement: Placement) -> Placement:
    """Returns the placement with every replica at the next worker."""
    owners = tuple((owner + 1) % placement.world_size for owner in placement.owners)
    return dataclasses.replace(placement, owners=owners)


def of_results(results: Mapping[int, Any]) -> dict[int, list[np.ndarray[Any, Any]]]:
    """Returns a digest of what each replica returned, ready to be gathered."""
    found = {}
    for replica, result in results.items():
        arrays: list[np.ndarray[Any, Any]] = []
        codec.describe(result, arrays)
        text = bytes.fromhex(digest(arrays))
        found[replica] = [np.frombuffer(text, np.uint8)]
    return found


def compare(
    position: int,
    first: Sequence[Any],
    second: Sequence[Any],
    variables: tuple[Sequence[tuple[str, str]], Sequence[tuple[str, str]]],
    placements: tuple[Placement, Placement],
    names: Sequence[str],
) -> None:
    """Raises if the two computations of a step differ.

    Args:
      position: of the event.
      first, second: for each replica what `of_results` gave, gathered.
      variables: what `State.mirrored_digests` gave after each.
      placements: who computed which replica in each.
      names: of the workers, by rank.

    Raises:
      NumericMismatchError: names the step, the replicas and their workers, and the variables.
    """
    wrong = [r for r, (a, b) in enumerate(zip(first, second)) if not np.array_equal(a[0], b[0])]
    changed = [name for (name, a), (_, b) in zip(*variables) if a != b]
    if not wrong and not changed:
        return
    who = [
        f"replica {replica} by {names[placements[0].owners[replica]]} and by "
        f"{names[placements[1].owners[replica]]}"
        for replica in wrong
    ] or [f"one of its replicas, by one of {', '.join(names)}"]
    raise errors.NumericMismatchError(
        errors.message(
            "audit",
            f"event {position}, computed twice on different workers, to give the same bits",
            f"others for {'; '.join(who)}; variables that differ: "
            f"{', '.join(map(repr, changed[:8])) or 'none'}",
            "One of these hosts computes wrong now and then (processor, memory): leave it out.",
        )
    )
