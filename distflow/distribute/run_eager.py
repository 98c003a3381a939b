"""strategy.run outside of tf.function: one call a local replica, in threads that take turns.

The compiled way is `run_graph.py`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from distflow.core import context as core_context
from distflow.distribute import context
from distflow.distribute.lockstep import Aborted, Lockstep
from distflow.distribute.replica import ReplicaContext
from distflow.distribute.threads import ReplicaThreads
from distflow.distribute.uncaught import told_to_others

# How long a replica may go on after another one has failed, before it is left behind.
STOP_SECONDS = 1.0


def run_bodies(
    strategy: Any, bodies: Sequence[Callable[[], Any]], absent: Sequence[bool],
    allow_mean_loss: bool, creator: Callable[..., Any], idle: list[ReplicaThreads],
) -> list[Any]:  # fmt: skip
    """Calls one function a replica of this worker, each in its replica context.

    Args:
      strategy: whose replicas they are; its other workers hear of an error at once.
      bodies, absent, allow_mean_loss: as for `Strategy.run_replicas`.
      creator: the strategy's creator of variables, inherited by the threads inside of its scope.
      idle: threads of earlier calls, to be used again.
    """
    lockstep = strategy.make_lockstep()
    contexts = [
        ReplicaContext(strategy, replica, position, lockstep, absent[position])
        for position, replica in enumerate(strategy.replicas_here())
    ]
    for replica in contexts:
        replica.allow_mean_loss = allow_mean_loss
    if len(bodies) == 1:
        with context.in_replica(contexts[0]), told_to_others(strategy):
            return [bodies[0]()]
    results: list[Any] = [None] * len(bodies)
    inherited = [creator] if creator in core_context.state.creators else []

    def work(position: int) -> None:
        core_context.state.creators = list(inherited)
        core_context.state.replica = contexts[position]
        try:
            with context.entered(strategy):
                lockstep.take_turn(position)
                results[position] = bodies[position]()
            lockstep.finish(position)
        except Aborted:
            lockstep.end_turn(position)
        except BaseException as error:  # noqa: BLE001 - raised again by the caller
            lockstep.fail(error)
            lockstep.end_turn(position)
        finally:
            # The thread stays; what it holds must not.
            core_context.state.creators, core_context.state.replica = [], None

    # Calls from several threads at once get threads of their own.
    threads = idle.pop() if idle else ReplicaThreads(lockstep.names)
    if _have_ended(threads.start(work), lockstep):
        idle.append(threads)
    else:
        threads.close()
    if lockstep.failure is not None:
        with told_to_others(strategy):
            raise lockstep.failure
    return results


def _have_ended(done: threading.Semaphore, lockstep: Lockstep) -> bool:
    """Waits for all replicas; after a failure only briefly, as user code may hang in one."""
    left, over = len(lockstep.names), float("inf")
    while left:
        if done.acquire(timeout=0.1):
            left -= 1
        elif time.monotonic() > over:
            return False
        elif lockstep.failure is not None:
            over = min(over, time.monotonic() + STOP_SECONDS)
    return True
