"""One rank of a spawned MPI test: `mpirun -n N python -m tests.comm.mpi_worker FAULT`."""

import sys
import threading

import numpy as np

from distflow.base import errors
from distflow.comm import Communicator
from distflow.comm.transport import mpi
from tests.comm import battery


def main(fault: str) -> None:
    transport = mpi.MpiTransport()
    last = transport.world_size - 1
    communicator = Communicator(transport, timeout_seconds=1 if fault == "silent" else 60)
    if fault == "conformance":
        mpi.PIECE_BYTES = 100_000  # so that bodies travel in pieces
        for algorithm in battery.ALGORITHMS:
            for failure in battery.failures(transport, algorithm):
                say(f"rank {transport.rank} {algorithm}: {failure}")
        big = [np.full(3 << 20, transport.rank, np.uint8) for _ in range(transport.world_size)]
        got = communicator.all_to_all({transport.rank: big})[transport.rank]
        assert [int(x[-1]) for x in got] == list(range(transport.world_size))
        say(f"rank {transport.rank} of {transport.world_size} done")
        return
    communicator.barrier()
    if transport.rank == last:
        if fault == "raise":
            raise ValueError("a bug in the user's code")
        if fault == "leave":
            return
        threading.Event().wait(60)
    try:
        communicator.barrier("second")
    except errors.OpError as error:
        say(f"rank {transport.rank}: {type(error).__name__} about rank {error.rank}")
        raise


def say(text: str) -> None:
    """Writes a line at once and whole: mpirun may kill this process at any time."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
