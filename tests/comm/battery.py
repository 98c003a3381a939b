"""The battery that every transport and algorithm passes, with an oracle of its own.

Data have mixed magnitudes, so that any other order of additions shows in the bytes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import ml_dtypes
import numpy as np

from distflow.comm import Communicator, Placement
from distflow.comm.transport.base import Transport

ALGORITHMS = ("naive", "gather", "direct")
DTYPES = "float32 float64 float16 bfloat16 int32 int64 bool uint8 complex64".split()
SIZES = ((0,), (1,), (), (7, 3), (1031,))
OPS = {"sum": np.add, "max": np.maximum, "min": np.minimum, "prod": np.multiply}


def dtype_of(name: str) -> np.dtype:
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def numbers(seed: Sequence[int], shape: tuple[int, ...], name: str) -> np.ndarray:
    """Values of mixed magnitude; every fifth is -0.0 on all replicas."""
    rng = np.random.default_rng(list(seed))
    dtype = dtype_of(name)
    if dtype.kind == "b":
        return rng.random(shape) < 0.3
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    spread = 3 if name == "float16" else 8
    x = rng.standard_normal(shape) * 10.0 ** rng.integers(-spread, spread, shape)
    x = np.asarray(x)
    x.reshape(-1)[::5] = -0.0
    with np.errstate(all="ignore"):
        return x.astype(dtype)


def oracle(leaves: Sequence[np.ndarray | None], op: str = "sum") -> np.ndarray | None:
    """The definition, by recursion: split at the largest power of two below the length."""
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    left, right = oracle(leaves[:half], op), oracle(leaves[half:], op)
    if left is None or right is None:
        return right if left is None else left
    with np.errstate(all="ignore"):
        return np.asarray(OPS[op](left, right))


@dataclass(frozen=True)
class Case:
    """One all_reduce: replicas, which of them have no data, and the arrays of each."""

    num_replicas: int
    absent: frozenset[int]
    arrays: tuple[tuple[str, tuple[int, ...]], ...]
    op: str = "sum"
    scattered: bool = False
    strided: bool = False
    seed: int = field(default=0)

    def leaf(self, replica: int) -> list[np.ndarray] | None:
        if replica in self.absent:
            return None
        leaf = []
        for i, (name, shape) in enumerate(self.arrays):
            x = numbers((self.seed, replica, i), shape, name)
            if self.strided and x.ndim == 1:
                room = np.zeros((x.size, 3), x.dtype)
                room[:, 1] = x
                x = room[::-1, 1][::-1]
            elif self.strided and x.ndim > 1:
                x = np.asfortranarray(x)
            leaf.append(x)
        return leaf

    def expected(self) -> list[bytes]:
        leaves = [self.leaf(r) for r in range(self.num_replicas)]
        results = [
            oracle([None if leaf is None else leaf[i] for leaf in leaves], self.op)
            for i in range(len(self.arrays))
        ]
        return [np.asarray(x).tobytes() for x in results]

    def placement(self, world_size: int) -> Placement:
        if not self.scattered:
            return Placement(self.num_replicas, world_size)
        rng = np.random.default_rng(self.seed)
        owners = rng.integers(0, world_size, self.num_replicas)
        return Placement(self.num_replicas, world_size, tuple(map(int, owners)))


def cases() -> Iterator[Case]:
    everything = tuple(itertools.product(DTYPES, SIZES))
    yield Case(8, frozenset(), everything)
    yield Case(8, frozenset({0, 3}), everything, strided=True, seed=1)
    yield Case(5, frozenset({4}), everything, scattered=True, seed=2)
    yield Case(13, frozenset(range(6)), everything, scattered=True, seed=3)
    yield Case(1, frozenset(), (("float32", (1031,)),), seed=4)
    yield Case(3, frozenset({0, 1}), (("float64", (5,)), ("int32", ()), ("float32", (9,))), seed=5)
    real = tuple((name, shape) for name, shape in everything if name != "complex64")
    for op in ("max", "min", "prod"):
        yield Case(6, frozenset({2}), real, op=op, seed=6)
    for delta in (-1, 0, 1):
        yield Case(2, frozenset(), (("uint8", ((1 << 20) + delta,)),), seed=7)


def failures(transport: Transport, algorithm: str) -> list[str]:
    """Returns what is wrong with this rank's results, case by case; [] when all is well."""
    wrong = []
    for case in cases():
        placement = case.placement(transport.world_size)
        with_timeout = {"timeout_seconds": 30, "algorithm": algorithm}
        communicator = Communicator(transport, placement=placement, **with_timeout)
        leaves = {r: case.leaf(r) for r in communicator.local_replicas}
        result = communicator.all_reduce(leaves, op=case.op, name=f"case {case.seed}")
        if result.num_present != case.num_replicas - len(case.absent):
            wrong.append(f"{case}: {result.num_present} present")
        expected = case.expected()
        for (name, shape), got, want in zip(case.arrays, result.arrays, expected, strict=True):
            if got.shape != shape or got.dtype != dtype_of(name) or got.tobytes() != want:
                wrong.append(f"{name}{shape} of {case.num_replicas} replicas, op {case.op}")
            if not got.flags.c_contiguous or not got.flags.writeable:
                wrong.append(f"{name}{shape}: not contiguous or not writable")
    return wrong
