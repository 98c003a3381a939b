"""The numeric fingerprint of a host: what it computes, operation by operation, and with what.

Workers of one job must compute the same bits. Each hashes the results of a small battery on fixed
inputs: NumPy's functions and BLAS, the kernels of the executor, sums, denormal numbers, random
words. Equal ones belong together: in an elastic job the coordinator compares them before a worker
is let in, elsewhere the workers do when they have joined (`compare`).
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import socket
import sys
from collections.abc import Callable, Iterable
from importlib import metadata
from typing import Any

import numpy as np
import threadpoolctl

from distflow.base import errors, flags
from distflow.cluster import fingerprints
from distflow.comm import Communicator
from distflow.core import convert
from distflow.function import function
from distflow.ops import array, conv, math, matmul, reduce
from distflow.random import stateless

_FUNCTIONS = ("exp", "log", "sin", "tanh", "sqrt", "power", "reciprocal")
_ROWS = 48


def fingerprint() -> str:
    """Returns the fingerprint as JSON: [[what, digest or version], ...], the same list anywhere."""
    return json.dumps([[name, value] for name, value in _battery()], separators=(",", ":"))


def compare(communicator: Communicator, mine: str) -> None:
    """Returns when all workers have shown equal fingerprints; every worker must call it.

    Raises:
      NumericMismatchError: on every worker, if one computes other bits than the chief; it names
        both, the first operation that differs, and what that usually comes from.
    """
    name = f"rank {communicator.rank} ({socket.gethostname()}, process {os.getpid()})"
    texts = [np.frombuffer(text.encode(), np.uint8) for text in (name, mine)]
    rows = communicator.all_gather(
        {replica: None for replica in communicator.local_replicas}  # noqa: C420 - of its type
        | {communicator.local_replicas[0]: texts},
        name="numeric fingerprints",
    )
    told = [[array.tobytes().decode() for array in row] for row in rows if row is not None]
    (chief, expected), *others = told
    for worker, found in others:
        if found != expected:
            raise errors.NumericMismatchError(
                fingerprints.difference(chief, expected, worker, found)
            )


def _battery() -> Iterable[tuple[str, str]]:
    yield "version of Python", f"{sys.version_info.major}.{sys.version_info.minor}"
    for package in ("distflow", "numpy", "llvmlite", "ml_dtypes"):
        yield f"version of {package}", _version(package)
    yield "machine", platform.machine()
    yield "executor", flags.executor()
    x = _numbers((_ROWS, 96))
    with np.errstate(all="ignore"):
        for name in _FUNCTIONS:
            arguments = {"power": (np.abs(x), x), "log": (np.abs(x) + 1,)}.get(name, (x,))
            yield f"NumPy's {name}", _digest(getattr(np, name)(*arguments))
        yield "NumPy's sum", _digest(x.sum(0), x.sum(1), x.mean(), x.std(0))
        with threadpoolctl.threadpool_limits(1, "blas"):
            yield "BLAS", _digest(x @ x.T, x.T @ x, x[:, 0] @ x)
        yield "denormal numbers", _digest(np.float32(1e-41) * np.float32(0.5))
    for name, run in _KERNELS.items():
        yield f"kernel {name}", _digest(*run(convert.constant(x)))
    yield "random words", _digest(_random())


def _kernel(body: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    """Runs it as a compiled function, as training steps do."""

    def run(x: Any) -> list[Any]:
        results = function(body, autograph=False)(x)
        return [tensor.numpy() for tensor in results]

    return run


def _elementwise(x: Any) -> Any:
    return math.exp(x * 0.01), math.tanh(x), math.sigmoid(x), math.log(math.abs(x) + 1.0)


def _products(x: Any) -> Any:
    return (matmul.matmul(x, x, transpose_b=True), matmul.matmul(x, x, transpose_a=True))


def _convolutions(x: Any) -> Any:
    images = array.reshape(x, (2, 24, 24, 4))
    filters = array.reshape(x[:3], (3, 3, 4, 8))
    return (conv.conv2d(images, filters, strides=1, padding="SAME"),)


def _sums(x: Any) -> Any:
    return (reduce.reduce_sum(x, 0), reduce.reduce_mean(x, 1), reduce.reduce_sum(x))


_KERNELS = {
    "element-wise": _kernel(_elementwise),
    "matmul": _kernel(_products),
    "conv2d": _kernel(_convolutions),
    "sums": _kernel(_sums),
}


def _random() -> Any:
    return stateless.stateless_normal((64,), (1, 2)).numpy()


def _numbers(shape: tuple[int, ...]) -> Any:
    """Numbers of mixed magnitude and sign from a formula: no generator that may change."""
    count = int(np.prod(shape))
    words = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(6364136223846793005)
    small = (words >> np.uint64(40)).astype(np.float32) / np.float32(1 << 23) - np.float32(1)
    scale = np.float32(2) ** ((words >> np.uint64(32)) % np.uint64(12)).astype(np.float32)
    return (small * scale).reshape(shape)


def _digest(*arrays: Any) -> str:
    sha = hashlib.blake2b(digest_size=8)
    for values in arrays:
        sha.update(np.ascontiguousarray(values).view(np.uint8).reshape(-1).data)
    return sha.hexdigest()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"
