"""One rank of a contestant: answers commands of group.py, a line of JSON each.

Started by the contestant's launcher as `python rank.py LIBRARY VARIANT`, with host and port where
group.py listens in COLLECTIVE_CONTROL. Between two commands a rank sleeps in a read, so the
contestants do not disturb each other.
"""

import importlib
import json
import os
import socket
import sys
import time
from pathlib import Path

LIBRARIES = {
    "distflow": "collective.by_distflow",
    "mpi4py": "collective.by_mpi4py",
    "gloo": "collective.by_gloo",
}


def main(library, variant):
    sys.path.insert(0, str(Path(__file__).parents[1]))
    host, _, port = os.environ["COLLECTIVE_CONTROL"].rpartition(":")
    with socket.create_connection((host, int(port))) as link, link.makefile("rw") as lines:
        reducer = None
        for line in lines:
            command = json.loads(line)
            try:
                reducer = reducer or importlib.import_module(LIBRARIES[library]).Reducer(variant)
                answer = {"answer": {"sum": sum_of_ranks, "time": times}[command.pop("do")](
                    reducer, **command
                )}  # fmt: skip
            except Exception as error:  # noqa: BLE001 - whatever a library raises is its answer
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=lines, flush=True)
    os._exit(0)  # libraries wait for their peers as they end; nobody measures that


def sum_of_ranks(reducer, elements):
    """Returns the version and the sum over ranks of (rank + 1), from the last element."""
    buffer = reducer.buffer(elements)
    buffer.set(reducer.rank + 1)
    buffer.all_reduce()
    return {"version": reducer.version, "sum": buffer.last()}


def times(reducer, elements, repeats):
    """Returns the seconds of each of so many reductions, after some that are not timed."""
    buffer = reducer.buffer(elements)
    buffer.set(0)
    for _ in range(max(2, repeats // 10)):
        buffer.all_reduce()
    samples = []
    for _ in range(repeats):
        start = time.perf_counter()
        buffer.all_reduce()
        samples.append(time.perf_counter() - start)
    return samples


if __name__ == "__main__":
    main(*sys.argv[1:])
