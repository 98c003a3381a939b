"""One worker of `distflow bench-comm`: measures a collective by size, and rank 0 prints the table.

Run as `python -m distflow_launcher.bench_worker OPERATION SECONDS BYTES...`.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

OPERATIONS = ("all_reduce", "all_gather", "reduce_scatter", "broadcast", "all_to_all")
WARM_UP_CALLS = 3
MOST_CALLS = 2000


def bus_factor(operation: str, workers: int) -> float:
    """Returns the least that each worker must send, in parts of its array's bytes.

    Source: nccl-tests, doc/PERFORMANCE.md; sizes are those of each worker's own array there for
    all_reduce and broadcast, and here for all.
    """
    if operation == "all_reduce":
        return 2 * (workers - 1) / workers
    if operation == "all_gather":
        return float(workers - 1)
    return 1.0 if operation == "broadcast" else (workers - 1) / workers


def fit(points: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Returns (alpha, beta) of seconds = alpha + beta * bytes with the least relative errors."""
    weights = [1 / seconds**2 for _, seconds in points]
    total = sum(weights)
    mean_x = sum(w * size for w, (size, _) in zip(weights, points)) / total
    mean_y = sum(w * seconds for w, (_, seconds) in zip(weights, points)) / total
    spread = sum(w * (size - mean_x) ** 2 for w, (size, _) in zip(weights, points))
    if spread == 0:
        return mean_y, 0.0
    slope = (
        sum(w * (size - mean_x) * (s - mean_y) for w, (size, s) in zip(weights, points)) / spread
    )
    return max(mean_y - slope * mean_x, 0.0), max(slope, 0.0)


def table(operation: str, workers: int, points: Sequence[tuple[int, float]]) -> str:
    """Returns the table with its head and the fit."""
    lines = [f"{'bytes':>12} {'time us':>12} {'algbw GB/s':>12} {'busbw GB/s':>12}"]
    for size, seconds in points:
        speed = size / seconds / 1e9
        bus = speed * bus_factor(operation, workers)
        lines.append(f"{size:>12} {seconds * 1e6:>12.1f} {speed:>12.3f} {bus:>12.3f}")
    if len(points) > 1:
        alpha, beta = fit(points)
        asymptote = f"{1e-9 / beta:.2f} GB/s" if beta else "no limit seen"
        lines.append(f"fit: alpha {alpha * 1e6:.1f} us, 1 / beta {asymptote}")
    return "\n".join(lines)


def main(operation: str, seconds: float, sizes: list[int]) -> None:
    """Measures each size on all workers; each call is as slow as its slowest worker."""
    import numpy as np  # by workers alone: the launcher reads OPERATIONS and needs no arrays

    import distflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    group, points = strategy.communicator, []
    for size in sizes:
        call = _calls(np, group, size)[operation]
        times = _times(group, call, seconds)
        gathered = group.all_gather({group.rank: [np.array(times)]}, name="times")
        slowest = np.max([row[0] for row in gathered], axis=0)
        points.append((size, float(statistics.median(slowest))))
    if group.rank == 0:
        backend = type(group._transport).__name__
        print(f"{operation}, {group.world_size} workers, float32, over {backend}")
        print(table(operation, group.world_size, points))


def _times(group: Any, call: Callable[[], object], seconds: float) -> list[float]:
    start = time.perf_counter()
    for _ in range(WARM_UP_CALLS):
        call()
    each = (time.perf_counter() - start) / WARM_UP_CALLS
    wanted = int(min(max(seconds / max(each, 1e-9), 3), MOST_CALLS))
    count = int(group.broadcast_json(wanted, name="calls"))
    found = []
    for _ in range(count):
        group.barrier("bench")
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return found


def _calls(np: Any, group: Any, size: int) -> dict[str, Callable[[], object]]:
    """Returns the operations on an array of so many bytes; buffers as training has them."""
    rank, workers = group.rank, group.world_size
    elements = max(size // 4, 1)
    own = np.zeros(elements, np.float32)
    shared = group.allocate([own], name="bench")
    blocks = [own[rank::workers].copy() for rank in range(workers)]
    return {
        "all_reduce": lambda: group.all_reduce(shared, name="bench"),
        "all_gather": lambda: group.all_gather({rank: [own]}, name="bench"),
        "reduce_scatter": lambda: group.reduce_scatter({rank: [own]}, name="bench"),
        "broadcast": lambda: group.broadcast([own] if rank == 0 else None, name="bench"),
        "all_to_all": lambda: group.all_to_all({rank: blocks}, name="bench"),
    }


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), [int(word) for word in sys.argv[3:]])
