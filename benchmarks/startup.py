"""Import, first trained step after the start of the process, and peak memory, side by side.

python benchmarks/startup.py --peer tensorflow=tf-venv/bin/python --peer torch=...
"""

import sys
import tempfile
from pathlib import Path

import field
import peers
from session import Session

IMPORT = """
import importlib, json, sys, time
import numpy
start = time.perf_counter()
importlib.import_module(sys.argv[1])
print(json.dumps(time.perf_counter() - start))
"""
MODEL = "cnn"
WARM_UP = {"steps": 10, "seconds": 10}
WAYS = {
    "distflow": "distflow",
    "tensorflow": "TF function",
    "torch": "torch eager",
    "jax": "JAX jit",
}
BARS = "Bars: import at most 0.3 s, first trained step at most 1/3 of TensorFlow's, memory 0.6."


def main():
    contestants, rounds = peers.parse(__doc__.splitlines()[0])
    ways = {one.name: one for one in field.CONTESTANTS}
    peers.byte_compile(sys.executable, "distflow")
    peers.table(
        peers.alternate(contestants, rounds, lambda name, python: measure(python, ways[WAYS[name]]))
    )
    print(BARS)


def measure(python, contestant):
    """Returns the quantities of one start without and one with a cache of compiled code."""
    row = {"import beyond numpy, s": peers.run(python, IMPORT, contestant.framework)}
    with tempfile.TemporaryDirectory() as cache:
        for state in ("cold", "warm"):
            session = Session(python, contestant, MODEL, cache=Path(cache))
            try:
                row[f"start to trained {state}, s"] = session.ask("first")["first_trained"]
                row["memory, MiB"] = session.ask("warm_up", **WARM_UP)["memory"]
            finally:
                session.close()
    return row


if __name__ == "__main__":
    main()
