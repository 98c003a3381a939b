"""Which worker holds which logical replicas.

Placement is a performance choice only: the tree (`tree.py`) makes results independent of it.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass

from distflow.base import errors


@dataclass(frozen=True)
class Placement:
    """V logical replicas over W workers, by default in contiguous runs that differ by at most one.

    The first V mod W workers hold one replica more; with W > V the surplus workers hold none.

    Args:
      num_replicas: V, at least 1.
      world_size: W, at least 1.
      owners: the rank that holds each replica (length V), for any other placement.
    """

    num_replicas: int
    world_size: int
    owners: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.num_replicas < 1 or self.world_size < 1:
            raise errors.invalid(
                "Placement",
                "num_replicas and world_size must be at least 1",
                f"{self.num_replicas} and {self.world_size}",
            )
        owners = tuple(self.owners) or self._contiguous()
        if len(owners) != self.num_replicas or not set(owners) <= set(range(self.world_size)):
            raise errors.invalid(
                "Placement",
                f"owners must be {self.num_replicas} ranks below {self.world_size}",
                str(self.owners),
            )
        object.__setattr__(self, "owners", owners)

    def _contiguous(self) -> tuple[int, ...]:
        base, extra = divmod(self.num_replicas, self.world_size)
        sizes = [base + (rank < extra) for rank in range(self.world_size)]
        return tuple(rank for rank, size in enumerate(sizes) for _ in range(size))

    def replicas_of(self, rank: int) -> tuple[int, ...]:
        """The replicas that a worker holds, ascending."""
        if not 0 <= rank < self.world_size:
            raise errors.invalid("Placement", f"rank must be 0..{self.world_size - 1}", str(rank))
        return tuple(replica for replica, owner in enumerate(self.owners) if owner == rank)

    @functools.cached_property
    def digest(self) -> str:
        """A short text that is equal on two workers only if their placements are."""
        text = f"{self.world_size}:{self.owners}"
        return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
