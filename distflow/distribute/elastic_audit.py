"""Audits of an elastic job: some steps are computed twice, each replica on two workers.

A processor that computes wrong now and then says nothing of it. In an audited step the replicas are
placed anew, one worker further, and computed again from the same state; as bits depend on no
placement, any difference is a fault of a worker. Which steps are audited follows from their number,
so that all workers agree. Where the two differ a third worker computes too, and the odd one out is
named.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from distflow.base import errors
from distflow.comm import Communicator, Placement
from distflow.distribute import elastic_codec as codec
from distflow.distribute.elastic_state import digest

_DIGEST_BYTES = 16


def is_due(position: int, rate: float) -> bool:
    """Whether the event at a position is audited, where a share `rate` of them is."""
    number = hashlib.blake2b(position.to_bytes(8, "little"), digest_size=7).digest()
    return int.from_bytes(number, "little") < rate * (1 << 56)


def moved_on(placement: Placement, places: int = 1) -> Placement:
    """Returns the placement with every replica some workers further."""
    owners = tuple((owner + places) % placement.world_size for owner in placement.owners)
    return dataclasses.replace(placement, owners=owners)


class Witness:
    """What the replicas of this worker gave in one computation of a step, in its order."""

    def __init__(self) -> None:
        self._given: dict[int, list[str]] = collections.defaultdict(list)

    def note(self, replicas: Iterable[int], rows: Sequence[Any]) -> None:
        """Notes what each of these replicas brings to a collective: arrays, one, or None."""
        for replica, row in zip(replicas, rows):
            arrays = [] if row is None else row if isinstance(row, list | tuple) else [row]
            self._given[replica].append(digest([np.asarray(array) for array in arrays]))

    def of(self, replica: int, result: Any) -> np.ndarray[Any, Any]:
        """Returns digests of all that a replica gave, its result last: uint8 [stages, 16]."""
        arrays: list[np.ndarray[Any, Any]] = []
        codec.describe(result, arrays)
        return _table([*self._given[replica], digest(arrays)])


@dataclasses.dataclass(frozen=True)
class Computation:
    """One computation of a step, as all workers know it.

    Attributes:
      placement: who computed which replica.
      stages: by replica what `Witness.of` gave.
      variables: by rank the digests of the variables after it, uint8 [variables, 16].
    """

    placement: Placement
    stages: Sequence[np.ndarray[Any, Any]]
    variables: Sequence[np.ndarray[Any, Any]]

    def stage(self, number: int, replica: int) -> bytes:
        """Returns what a replica gave at a stage, nothing if it has not come so far."""
        return self.stages[replica][number : number + 1].tobytes()


def gather(
    communicator: Communicator,
    witness: Witness,
    results: Mapping[int, Any],
    variables: Sequence[tuple[str, str]],
    what: str,
) -> Computation:
    """Returns a computation of a step to all workers, each of which gives its part.

    Args:
      communicator: with the placement under which it was computed.
      witness: of this worker.
      results: of its replicas.
      variables: what `State.mirrored_digests` gave after it.
      what: name of the collective.
    """
    placement, first = communicator.placement, min(results)
    after = _table([found for _, found in variables])
    given = {r: [witness.of(r, result), after[: len(after) * (r == first)]]
             for r, result in results.items()}  # fmt: skip
    stages, by_rank = [], [_table([])] * placement.world_size
    for owner, parts in zip(placement.owners, communicator.all_gather(given, name=what)):
        assert parts is not None
        stages.append(parts[0])
        by_rank[owner] = parts[1] if len(parts[1]) else by_rank[owner]
    return Computation(placement, stages, by_rank)


def agree(computations: Sequence[Computation]) -> bool:
    """Whether all computations of a step gave the same bits, everywhere."""
    same = all(not wrong for _, wrong in _differing_stages(computations))
    tables = [table for one in computations for table in one.variables]
    return same and all(np.array_equal(table, tables[0]) for table in tables)


def suspects(computations: Sequence[Computation]) -> set[int]:
    """Returns the ranks whose bits differ from those of most others; none where nobody can tell.

    What a wrong number has led to later differs everywhere, so that only the first difference
    counts: of what was brought to the same collective, or of the variables in the end.
    """
    for number, replicas in _differing_stages(computations):
        if replicas:
            found: set[int] = set()
            for replica in replicas:
                found |= _odd({c.placement.owners[replica]: c.stage(number, replica)
                               for c in computations})  # fmt: skip
            return found
    found = set()
    for computation in computations:
        found |= _odd({rank: t.tobytes() for rank, t in enumerate(computation.variables)})
    return found


def difference(
    step: int,
    position: int,
    computations: Sequence[Computation],
    variables: Sequence[str],
    workers: Sequence[str],
) -> errors.NumericMismatchError:
    """Returns the error for computations that differ.

    Args:
      step: number of the step, from 1.
      position: of its event.
      computations: of it.
      variables: their names.
      workers: what they are called, by rank.
    """
    guilty = sorted(suspects(computations))
    if guilty:
        who = f"others from {' and '.join(workers[rank] for rank in guilty)} alone"
        hint = "That host computes wrong now and then (processor, memory): leave it out."
    else:
        why = "there are two" if len(workers) == 2 else "no two of them agree"
        who = f"others; which worker is wrong cannot be told, as {why} ({', '.join(workers)})"
        hint = "One of these hosts computes wrong now and then (processor, memory): leave it out."
    wrong = sorted({r for _, found in _differing_stages(computations) for r in found})
    tables = [table for one in computations for table in one.variables]
    changed = [
        repr(name)
        for index, name in enumerate(variables)
        if len({table[index : index + 1].tobytes() for table in tables}) > 1
    ]
    return errors.NumericMismatchError(
        errors.message(
            "audit",
            f"step {step} (event {position}), computed again on other workers, to give the same "
            "bits",
            f"{who}; replicas that differ: {', '.join(map(str, wrong)) or 'none'}; variables that "
            f"differ: {', '.join(changed[:8]) or 'none'}",
            hint,
        )
    )


def _differing_stages(computations: Sequence[Computation]) -> Iterator[tuple[int, list[int]]]:
    """Yields (stage, replicas that gave different bits there)."""
    for number in range(max(len(table) for one in computations for table in one.stages)):
        yield (
            number,
            [
                replica
                for replica in range(len(computations[0].stages))
                if len({one.stage(number, replica) for one in computations}) > 1
            ],
        )


def _odd(given: Mapping[int, bytes]) -> set[int]:
    """Returns who gave something else than the majority, if there is one."""
    value, count = collections.Counter(given.values()).most_common(1)[0]
    if 2 * count <= len(given):
        return set()
    return {rank for rank, other in given.items() if other != value}


def _table(digests: Sequence[str]) -> np.ndarray[Any, Any]:
    return np.frombuffer(bytes.fromhex("".join(digests)), np.uint8).reshape(-1, _DIGEST_BYTES)
