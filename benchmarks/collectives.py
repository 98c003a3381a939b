"""All-reduce of float32 between processes of this host: distflow beside Open MPI, MPICH and gloo.

python benchmarks/collectives.py --peer openmpi=.venv/bin/python \\
    --peer mpich=mpich-venv/bin/python --peer torch=torch-venv/bin/python
"""

import argparse
import os
import statistics
import sys

import peers
from collective.group import CONTESTANTS, COPIED, GLOO, GRPC, MPI, SHM, Group
from session import ContestantError

OURS = (SHM, COPIED, GRPC, MPI)
# name, elements, repeats of a round
SIZES = {
    "1 KB": (256, 1000),
    "64 KB": (16384, 400),
    "1 MB": (262144, 150),
    "16.8 MB": (4_200_000, 8),
    "105 MB": (26_250_000, 3),
}
# (contestant, sizes, of what, at most): "best" is the fastest peer, "us" microseconds.
BARS = (
    (SHM, ("16.8 MB", "105 MB"), "best", 0.5),
    (SHM, ("1 MB",), "best", 0.8),
    (SHM, ("1 KB",), "us", 20),
    (GRPC, ("1 MB", "16.8 MB", "105 MB"), GLOO, 1.0),
)


def main():
    arguments = parse()
    interpreters = {"distflow": sys.executable, **dict(arguments.peer)}
    entered = [one for one in CONTESTANTS if one.peer in interpreters]
    if arguments.only:
        entered = [one for one in entered if one.name in arguments.only]
    print(f"{len(os.sched_getaffinity(0))} processors, {arguments.rounds} rounds, ", end="")
    print(f"load {os.getloadavg()[0]:.1f} before")
    for workers in arguments.workers:
        print_results(workers, compare(workers, entered, interpreters, arguments))
        sys.stdout.flush()


def compare(workers, entered, interpreters, arguments):
    """Returns {contestant: {size: [seconds], "version": ..., "trouble": ...}}, taking turns."""
    groups, results = {}, {}
    try:
        for one in entered:
            row = results[one.name] = {size: [] for size in arguments.sizes}
            try:
                # Started together, asked one after another: libraries join at the first question.
                groups[one.name] = Group(one, interpreters[one.peer], workers)
            except OSError as error:
                row["trouble"] = str(error)
        expected = workers * (workers + 1) / 2
        for name in list(groups):
            _turn(groups, results, name, lambda group, row: _check(group, row, expected))
        for _ in range(arguments.rounds):
            for size in arguments.sizes:
                for name in list(groups):
                    _turn(groups, results, name, lambda group, row, s=size: _time(group, row, s))
    finally:
        for group in groups.values():
            group.close()
    return results


def _turn(groups, results, name, action):
    try:
        action(groups[name], results[name])
    except ContestantError as error:
        results[name]["trouble"] = str(error)
        groups.pop(name).close()


def _check(group, row, expected):
    for elements in (1, 1000, 300_000):
        for answer in group.ask("sum", elements=elements):
            if answer["sum"] != expected:
                raise ContestantError(f"the sum is {answer['sum']}, not {expected}")
            row["version"] = answer["version"]


def _time(group, row, size):
    elements, repeats = SIZES[size]
    of_ranks = group.ask("time", elements=elements, repeats=repeats)
    # A reduction is over when its slowest rank has it.
    row[size] += [max(samples) for samples in zip(*of_ranks, strict=True)]


def medians(results, size):
    """Returns {contestant: microseconds} of those that were timed."""
    timed = {name: row[size] for name, row in results.items() if row.get(size)}
    return {name: statistics.median(samples) * 1e6 for name, samples in timed.items()}


def print_results(workers, results):
    """Prints the table of one number of workers, and the verdict on the bars."""
    sizes = [size for size in SIZES if any(row.get(size) for row in results.values())]
    print(f"\n## {workers} processes, median of an all-reduce, us (ratio to the fastest peer)\n")
    print("| | " + " | ".join(sizes) + " |\n| --- |" + " --- |" * len(sizes))
    for name in results:
        cells = []
        for size in sizes:
            found = medians(results, size)
            best = best_peer(found)
            cell = f"{found[name]:.4g}" if name in found else ""
            cells.append(cell + (f" ({found[name] / best:.2f})" if cell and best else ""))
        print(f"| {name} | " + " | ".join(cells) + " |")
    for name, row in results.items():
        if "trouble" in row:
            print(f"\n- {name}: {row['trouble']}")
    lines = list(verdict(results, sizes))
    if lines:
        print("\n| bar | measured | at most | |\n| --- | --- | --- | --- |")
        for what, value, most in lines:
            print(f"| {what} | {value:.3g} | {most:g} | {'met' if value <= most else 'MISSED'} |")
    print(
        "\n" + ", ".join(sorted({row["version"] for row in results.values() if "version" in row}))
    )


def best_peer(found):
    """Returns the microseconds of the fastest contestant that is not distflow's, or None."""
    return min((time for name, time in found.items() if name not in OURS), default=None)


def verdict(results, sizes):
    """Yields (what, measured, at most) for each bar that can be judged."""
    for name, of_sizes, what, most in BARS:
        for size in of_sizes:
            found = medians(results, size) if size in sizes else {}
            against = {"best": best_peer(found), "us": 1.0}.get(what, found.get(what))
            if name in found and against is not None:
                unit = "us" if what == "us" else f"/ {'fastest peer' if what == 'best' else what}"
                yield f"{name}, {size}, {unit}", found[name] / against, most


def parse():
    parser = peers.parser(__doc__.splitlines()[0])
    numbers = lambda text: [int(number) for number in text.split(",")]
    parser.add_argument("--workers", default=[2, 4], type=numbers, help="processes (2,4)")
    parser.add_argument("--sizes", default=list(SIZES), type=_sizes, help=f"of {list(SIZES)} (all)")
    parser.add_argument("--only", type=lambda text: text.split(","), help="contestants by name")
    return parser.parse_args()


def _sizes(text):
    names = text.split(",")
    for name in names:
        if name not in SIZES:
            raise argparse.ArgumentTypeError(f"not a size: {name!r}; there are {list(SIZES)}")
    return names


if __name__ == "__main__":
    main()
