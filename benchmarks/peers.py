"""Runs snippets in the interpreters of several frameworks, in turn, and prints a table."""

import argparse
import json
import statistics
import subprocess
import sys


def parse(description):
    """Returns [(name, python)], distflow first, from `--peer name=python` arguments."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--peer", action="append", default=[], metavar="NAME=PYTHON",
        help="another framework (tensorflow) and the interpreter that has it; repeatable",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds (5)")
    arguments = parser.parse_args()
    peers = [("distflow", sys.executable)]
    for item in arguments.peer:
        name, found, python = item.partition("=")
        if not found:
            parser.error(f"--peer needs NAME=PYTHON; received {item!r}")
        peers.append((name, python))
    return peers, arguments.rounds


def run(python, code, *arguments):
    """Returns the JSON that a snippet prints as its last line."""
    done = subprocess.run(
        [python, "-c", code, *arguments], capture_output=True, text=True, timeout=600, check=True
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def alternate(peers, rounds, measure):
    """Returns {name: {quantity: median}} of measure(name, python), one peer after another."""
    samples = {name: [] for name, _ in peers}
    for _ in range(rounds):
        for name, python in peers:
            samples[name].append(measure(name, python))
    return {
        name: {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        for name, rows in samples.items()
    }


def table(results):
    """Prints medians, and the ratio of each to distflow's."""
    keys = list(next(iter(results.values())))
    own = results["distflow"]
    print("| | " + " | ".join(keys) + " |")
    print("| --- |" + " --- |" * len(keys))
    for name, row in results.items():
        cells = [
            f"{row[key]:.4g}" + ("" if name == "distflow" else f" ({row[key] / own[key]:.2f} x)")
            for key in keys
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")
