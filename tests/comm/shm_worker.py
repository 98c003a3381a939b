"""One worker of a spawned test: `python -m tests.comm.shm_worker RANK FAULT TIMEOUT WAY`.

Rank 0 prints the ticket of the segment, the others read it from stdin. Then all sum, in lanes, in
place or by frames (WAY), until something happens, and print that as JSON.
"""

import json
import os
import signal
import sys

import numpy as np

from distflow.base import errors
from distflow.comm import Communicator
from distflow.comm.transport.segment import Plan, Segment
from distflow.comm.transport.shm import ShmTransport

STEPS_BEFORE_FAULT = 3
WORLD_SIZE = 3


def main(rank: int, fault: str, timeout: float, way: str) -> None:
    if rank == 0:
        segment = Segment.make(Plan.for_workers(WORLD_SIZE))
        print(json.dumps(segment.ticket), flush=True)
    else:
        segment = Segment.join(json.loads(sys.stdin.readline()))
    transport = ShmTransport(segment, rank, join_timeout_seconds=20)
    algorithm = "direct" if way == "frames" else "auto"
    communicator = Communicator(transport, timeout_seconds=timeout, algorithm=algorithm)
    leaves = {rank: [np.ones(300_000, np.float32)]}
    if way == "in_place":
        leaves = communicator.allocate(leaves[rank])
    step = 0
    try:
        while fault != "none" or step < STEPS_BEFORE_FAULT:
            if step == STEPS_BEFORE_FAULT:
                print("running", flush=True)
                if rank == 2 and fault == "raise":
                    raise ValueError("a bug in the user's code")
                if rank == 2 and fault == "exit":
                    os._exit(3)
                if rank == 2 and fault == "leave":
                    transport.close()
                    return
                if rank == 2 and fault == "stop":
                    os.kill(os.getpid(), signal.SIGSTOP)
            communicator.all_reduce(leaves, name="g")
            step += 1
        outcome = {"kind": "finished", "rank": None, "text": ""}
    except errors.OpError as error:
        lost = getattr(error, "rank", None)
        outcome = {"kind": type(error).__name__, "rank": lost, "text": str(error)}
    print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4])
