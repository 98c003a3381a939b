"""Workers as threads of one process, for tests."""

import hashlib
import threading

import numpy as np

from distflow.comm import Communicator, InProcessHub
from distflow.distribute import MultiWorkerMirroredStrategy


def on_threads(world_size, replicas, work):
    """Returns work(strategy) of each worker; an exception of it is its result."""
    hub = InProcessHub(world_size)
    results = [None] * world_size

    def run(rank):
        try:
            with Communicator(hub.endpoint(rank), replicas, timeout_seconds=30) as communicator:
                results[rank] = work(MultiWorkerMirroredStrategy(communicator=communicator))
        except BaseException as error:  # noqa: BLE001 - a result
            results[rank] = error

    threads = [threading.Thread(target=run, args=(r,), daemon=True) for r in range(world_size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def digest(arrays):
    """Returns the SHA-256 of arrays: equal digests mean equal bits."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()
