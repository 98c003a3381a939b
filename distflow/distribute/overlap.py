"""Whether buckets of gradients leave while backward still runs, or when it is done."""

from __future__ import annotations

import os

from distflow.base import flags, local_world
from distflow.comm import Communicator
from distflow.compiler.cpu import threads


def is_worth_it(communicator: Communicator, wanted: bool | None = None) -> bool:
    """Returns what was asked for, else whether moving buckets takes no core from computing them.

    Args:
      communicator: between the workers.
      wanted: as the options of a strategy say; None: DISTFLOW_OVERLAP, else it depends.
    """
    if communicator.world_size == 1:
        return False
    if wanted is None:
        wanted = flags.get("DISTFLOW_OVERLAP")
    if wanted is not None:
        return wanted
    workers = local_world.local_world_size()
    if workers == communicator.world_size:
        # Nothing has to travel: the cores themselves move the bytes.
        return threads.num_threads() * workers < (os.cpu_count() or 1)
    return True
