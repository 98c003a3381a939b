"""Where this process is in its job: what logs, events and metrics say of it.

Rooms that learn something new write it here: the strategy that joins a job its rank, an elastic job
its generation, whoever runs steps their number. Nothing decides by it.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from distflow.base import flags


@dataclass
class Place:
    """The place of this process.

    Attributes:
      rank: of this worker; None where nobody has told yet.
      world_size: number of workers.
      generation: of an elastic job, counted from 1; 0 elsewhere.
      step: training steps that this process has completed.
      host: name of the host.
    """

    rank: int | None = None
    world_size: int = 1
    generation: int = 0
    step: int = 0
    host: str = field(default_factory=socket.gethostname)

    def known_rank(self) -> int | None:
        """Returns the rank: as was told, else as the launcher has set it, else None."""
        return flags.get("DISTFLOW_RANK") if self.rank is None else self.rank

    def launched_rank(self) -> int | None:
        """Returns the rank as the launcher has set it, else as was told, else None.

        The two may differ in an elastic job; the launcher calls its workers by its own.
        """
        rank = flags.get("DISTFLOW_RANK")
        return self.rank if rank is None else rank


here = Place()
