"""Runs snippets in the interpreters of several frameworks, in turn, and prints a table."""

import argparse
import json
import statistics
import subprocess
import sys


def parser(description):
    """Returns the parser of the options that all scripts have: --peer and --rounds."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--peer", action="append", default=[], metavar="NAME=PYTHON", type=_peer,
        help="a framework (tensorflow, torch, jax) and the interpreter that has it; repeatable",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds (5)")
    return parser


def parse(description):
    """Returns ([(name, python)], rounds), distflow first, from the command line."""
    arguments = parser(description).parse_args()
    return [("distflow", sys.executable), *arguments.peer], arguments.rounds


# What pip does for packages that it installs; a source tree is compiled when it is first imported.
BYTE_COMPILE = """
import compileall, importlib.util, json, sys
folders = importlib.util.find_spec(sys.argv[1]).submodule_search_locations
print(json.dumps(all([compileall.compile_dir(folder, quiet=2) for folder in folders])))
"""


def byte_compile(python, package):
    """Writes the bytecode of a package, so that no start is charged for it."""
    run(python, BYTE_COMPILE, package)


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


def _peer(text):
    name, found, python = text.partition("=")
    if not found:
        raise argparse.ArgumentTypeError(f"expected NAME=PYTHON; received {text!r}")
    return name, python
