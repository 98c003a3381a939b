"""One gRPC worker of a spawned test: `python -m tests.comm.grpc_worker RANK FAULT TIMEOUT`.

Prints its port, reads the JSON list of addresses, then sums until something happens, and prints
that as JSON. Lines on stdout are the test's only view of it.
"""

import json
import os
import signal
import sys

import numpy as np

from distflow.base import errors
from distflow.comm import Communicator
from distflow.comm.transport.grpc import GrpcServer

STEPS_BEFORE_FAULT = 3


def main(rank: int, fault: str, timeout: float) -> None:
    silence = 3.0 if fault == "stop-heartbeat" else 30.0
    server = GrpcServer(token="secret", silence_seconds=silence)
    print(server.port, flush=True)
    addresses = json.loads(sys.stdin.readline())
    transport = server.connect(rank, addresses, connect_timeout_seconds=30)
    communicator = Communicator(transport, timeout_seconds=timeout)
    arrays = [np.ones(300_000, np.float32)]
    step = 0
    try:
        while fault != "none" or step < STEPS_BEFORE_FAULT:
            if step == STEPS_BEFORE_FAULT:
                print("running", flush=True)
                if rank == 2 and fault == "raise":
                    raise ValueError("a bug in the user's code")
                if rank == 2 and fault == "exit":
                    os._exit(3)
                if rank == 2 and fault.startswith("stop"):
                    os.kill(os.getpid(), signal.SIGSTOP)
            communicator.all_reduce({rank: arrays}, name="g")
            step += 1
        outcome = {"kind": "finished", "rank": None, "text": ""}
    except errors.OpError as error:
        lost = getattr(error, "rank", None)
        outcome = {"kind": type(error).__name__, "rank": lost, "text": str(error)}
    print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
