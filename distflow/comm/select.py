"""Which algorithm reduces a buffer: by bytes, number of workers and topology, all to one result.

Workers that share memory use it ("shared") whenever that is possible; this table is for those that
do not, and for calls in which not everybody knows the shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from distflow.base import errors
from distflow.comm.algorithms import direct, gather, naive
from distflow.comm.round import Round
from distflow.comm.tree import Arrays, Tree

AllReduce = Callable[[Round, Tree, str, Mapping[int, Arrays | None]], tuple[Arrays | None, int]]

ALGORITHMS: dict[str, AllReduce] = {
    "naive": naive.all_reduce,
    "gather": gather.all_reduce,
    "direct": direct.all_reduce,
}

# (workers up to, bytes up to, algorithm), first row that fits. "gather" sends W-1 whole partial
# results in one round, "direct" 2/W of that in two. An estimate from message counts (64 KiB are
# about one gRPC round trip of 0.4 ms on loopback), to be replaced by measurements.
_TABLE: tuple[tuple[float, float, str], ...] = (
    (2, 128 << 10, "gather"),
    (8, 64 << 10, "gather"),
    (64, 4 << 10, "gather"),
    (float("inf"), float("inf"), "direct"),
)


# These need memory that workers share, or connections that they serve themselves, so they are no
# rows of the table.
SHARED, HIERARCHICAL, STREAMED = "shared", "hierarchical", "streamed"
NAMES = sorted([*ALGORITHMS, SHARED, HIERARCHICAL, STREAMED])


_HIERARCHICAL_BYTES = 64 << 10  # below, its additional rounds cost more than bytes do (estimate)
_STREAMED_BYTES = 128 << 10


def select(
    algorithm: str, num_bytes: int, world_size: int, *, has_hosts: bool = False,
    has_wires: bool = False,
) -> str:  # fmt: skip
    """Returns the algorithm with frames that is meant; "auto" and "shared" are in the table.

    Raises:
      InvalidArgumentError: if there is no such algorithm.
    """
    if algorithm in ("auto", SHARED):
        if has_hosts and num_bytes > _HIERARCHICAL_BYTES:
            return HIERARCHICAL
        if has_wires and num_bytes > _STREAMED_BYTES:
            return STREAMED
        return next(name for w, b, name in _TABLE if world_size <= w and num_bytes <= b)
    if algorithm not in NAMES:
        expected = f"algorithm must be 'auto' or one of {NAMES}"
        raise errors.invalid("Communicator", expected, repr(algorithm))
    return algorithm
