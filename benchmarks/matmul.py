"""GFLOP/s of matrix products as training has them, beside the fused multiply-adds a core can do.

    python benchmarks/matmul.py [--threads 1,2] [--seconds 0.2] [--only mlp] [--cpu-time]

Prints for each product the shortest of many runs, and its fraction of the peak of as many cores
(measured by a loop that touches registers only).
"""

from __future__ import annotations

import argparse
import ctypes
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from distflow.compiler.cpu import isa, jit, matmul, task, threads
from distflow.compiler.cpu.vectors import I64, PTR, Vectors, declare, loop

# Chains of multiply-adds: more than two units of four cycles need, few enough for registers.
_CHAINS, _STEPS = 10, 10000
_NO_BATCH: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())


class Product:
    """A matrix product [m, k] x [k, n]: its operands, in memory as training has them."""

    def __init__(self, name: str, m: int, k: int, n: int, kind: str = "plain"):
        rng = np.random.default_rng(0)
        self.name, self.flops = f"{name} {m}x{k}x{n}", 2 * m * k * n

        def normal(*shape: int) -> np.ndarray:
            x = aligned(*shape)
            x[...] = rng.standard_normal(shape, np.float32)
            return x

        self.contract, self.batch = ((1,), (0,)), _NO_BATCH
        self.a, self.b = normal(m, k), normal(k, n)
        if kind == "input gradient":  # g w^T
            self.b = normal(n, k).T
        elif kind == "filter gradient":  # x^T g
            self.a = normal(k, m).T
        elif kind == "attention":  # 8 x 4 heads, between rows of [batch, sequence, 3, heads, size]
            self.a = normal(8, m, 3, 4, k)[:, :, 0].transpose(0, 2, 1, 3)
            self.b = normal(8, n, 3, 4, k)[:, :, 1].transpose(0, 2, 3, 1)
            self.contract, self.batch = ((3,), (2,)), ((0, 1), (0, 1))
            self.flops *= 32
        elif kind == "values":
            self.a = normal(8, 4, m, k)
            self.b = normal(8, k, 3, 4, n)[:, :, 2].transpose(0, 2, 1, 3)
            self.contract, self.batch = ((3,), (2,)), ((0, 1), (0, 1))
            self.flops *= 32

    def kernel(self) -> tuple[task.Kernel, list[np.ndarray]]:
        """Returns the kernel and its arrays."""
        free = [x.shape[s] for x, s in ((self.a, -2), (self.b, -1))]
        result = aligned(*self.a.shape[:-2], *free)
        arrays = [self.a, self.b, result]
        layouts = [task.layout_of(x) for x in arrays]
        attributes = {"contract": self.contract, "batch": self.batch}
        kernel = matmul.lower(attributes, layouts[:2], layouts[2])  # type: ignore[arg-type]
        assert kernel is not None
        return kernel, arrays


def aligned(*shape: int) -> np.ndarray:
    """Returns an array that begins with a cache line, as those of a compiled step do."""
    raw = np.empty(math.prod(shape) + 16, np.float32)
    start = -raw.ctypes.data % 64 // 4
    return raw[start : start + math.prod(shape)].reshape(shape)


def layer(name: str, rows: int, fan_in: int, fan_out: int) -> list[Product]:
    """Returns the three products of training a dense layer."""
    return [
        Product(f"{name} forward", rows, fan_in, fan_out),
        Product(f"{name} input gradient", rows, fan_out, fan_in, "input gradient"),
        Product(f"{name} filter gradient", fan_in, rows, fan_out, "filter gradient"),
    ]


def products() -> list[Product]:
    """Returns what is measured."""
    return [
        *(Product("square", n, n, n) for n in (256, 512, 1024, 2048)),
        *layer("mlp", 64, 784, 512), *layer("mlp", 64, 512, 512), *layer("mlp", 64, 512, 10),
        *layer("gpt", 1024, 256, 768), *layer("gpt", 1024, 256, 1024),
        *layer("gpt", 1024, 1024, 256), *layer("gpt", 1024, 256, 256),
        Product("gpt attention scores 32x", 128, 64, 128, "attention"),
        Product("gpt attention values 32x", 128, 128, 64, "values"),
        *layer("lstm", 32, 128, 512),
        *layer("odd", 101, 103, 107), *layer("odd", 257, 255, 129),
        Product("one", 1, 784, 512), Product("one", 1, 512, 512), Product("one", 1, 512, 10),
        Product("one transposed", 1, 784, 512, "input gradient"),
        Product("column", 1024, 1024, 1),
    ]  # fmt: skip


def peak() -> float:
    """Returns the GFLOP/s of one core that multiplies and adds in registers."""
    target = isa.current()
    vectors, module = Vectors("float32", target), ir.Module("peak")
    kind = [vectors.vector] * 3
    fma = declare(module, f"llvm.fma.v{vectors.lanes}f32", vectors.vector, kind)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [PTR]), "peak")
    builder = ir.IRBuilder(function.append_basic_block("start"))
    start = [vectors.at(builder, function.args[0], i * vectors.lanes) for i in range(_CHAINS)]
    sums = [vectors.load(builder, p, vectors.lanes) for p in start]
    x = sums[0]
    sums = loop(
        builder, I64(0), I64(_STEPS), sums, lambda b, _, s: [b.call(fma, [x, x, v]) for v in s]
    )
    for pointer, value in zip(start, sums):
        vectors.store(builder, value, pointer, vectors.lanes)
    builder.ret_void()
    run = jit.compile_module(module, "peak").function("peak", None, ctypes.c_void_p)
    data = np.zeros(_CHAINS * vectors.lanes, np.float32)
    return 2 * data.size * _STEPS / shortest(lambda: run(data.ctypes.data), 0.3) / 1e9


def shortest(
    call: Callable[[], Any], seconds: float, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Returns the shortest time of repeated calls, in seconds."""
    best, end = math.inf, time.perf_counter() + seconds
    call()
    while True:
        begin = clock()
        call()
        best = min(best, clock() - begin)
        if time.perf_counter() > end:
            return best


def runner(kernel: task.Kernel, arrays: Sequence[np.ndarray]) -> Callable[[], None]:
    """Returns a function that runs a kernel on buffers that stay, as a compiled step does."""
    buffers = [aligned(-(-s.num_bytes // 4)) for s in kernel.scratch]
    for buffer in buffers:
        buffer.fill(0)
    addresses = [x.ctypes.data for x in (*arrays, *buffers)]
    calls = []
    for call in kernel.calls:
        pointers = (ctypes.c_void_p * len(call.arguments))(
            *[addresses[i] + offset for i, offset in call.arguments]
        )
        # The buffers are kept beside what points to them.
        calls.append((call, ctypes.addressof(pointers), (pointers, buffers)))

    def run() -> None:
        for call, address, _ in calls:
            threads.parallel_for(call.function, address, call.units, call.work)

    return run


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", default="1,2", help="numbers of threads")
    parser.add_argument("--seconds", type=float, default=0.2, help="for each product")
    parser.add_argument("--only", default="", help="products whose name contains this")
    parser.add_argument(
        "--cpu-time", action="store_true",
        help="time that this thread had a core: for a busy host and one thread only",
    )  # fmt: skip
    parser.add_argument("--numpy", action="store_true", help="NumPy's product too")
    options = parser.parse_args(arguments)
    clock = time.thread_time if options.cpu_time else time.perf_counter
    counts = [int(n) for n in options.threads.split(",")]
    one = peak()
    print(f"peak of one core: {one:.0f} GFLOP/s ({isa.current().level})")
    for product in products():
        if options.only not in product.name:
            continue
        line = f"{product.name:42}"
        kernel, arrays = product.kernel()
        run = runner(kernel, arrays)
        for count in counts:
            os.environ["DISTFLOW_THREADS"] = str(count)
            best = shortest(run, options.seconds, clock)
            rate = product.flops / best / 1e9
            line += f"  {count}: {best * 1e6:8.1f} us {rate:6.1f} ({rate / one / count:4.2f})"
        if options.numpy:
            a, b, c = arrays
            best = shortest(lambda: np.matmul(a, b, out=c), options.seconds)  # noqa: B023
            line += f"  numpy: {best * 1e6:8.1f} us {product.flops / best / 1e9:6.1f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
