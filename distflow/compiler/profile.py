"""Where the time of a step goes: cycles of each operation, measured by the native worker itself.

A recorder stands in for the loop over segments (`program.recorder`); while nobody measures there
is none, and a step is not slower for it.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Sequence
from ctypes import c_int64
from dataclasses import dataclass, field
from typing import Any

from distflow.base import errors, flags
from distflow.compiler.cpu import describe, jit, program, threads
from distflow.compiler.cpu.operations import Host, Operation
from distflow.compiler.cpu.plan import Plan

_WARM_UP = 2
# Regions with a smaller share of a step are shown as one, and lines are cut.
_LEAST_SHARE = 0.001
_WIDTH = 120
_CLOCK = """
declare i64 @llvm.readcyclecounter()

define i64 @now() {
  %now = call i64 @llvm.readcyclecounter()
  ret i64 %now
}
"""


@dataclass
class Row:
    """Equal regions of a step, on one thread.

    Attributes:
      label: what runs.
      calls: how often in a step.
      ms: milliseconds in a step, all calls together.
      flops: of contractions, in a step.
      num_bytes: of operands and results, in a step.
    """

    label: str
    calls: float = 0
    ms: float = 0
    flops: float = 0
    num_bytes: float = 0

    @property
    def gflops(self) -> float:
        """Thousand millions of floating-point operations a second; 0: not a contraction."""
        return self.flops / self.ms / 1e6 if self.ms else 0.0

    @property
    def gbytes(self) -> float:
        """Thousand millions of bytes a second."""
        return self.num_bytes / self.ms / 1e6 if self.ms else 0.0


@dataclass
class Profile:
    """The regions of a step.

    Attributes:
      rows: the longest first; the last is what no region has: Python, and waiting.
      ms: mean of a step on one thread.
      threads: number of threads that a step usually has.
      threads_ms: mean of a step on so many, not measured otherwise.
    """

    rows: list[Row] = field(default_factory=list)
    ms: float = 0
    threads: int = 1
    threads_ms: float = 0

    @property
    def summary(self) -> str:
        """The total, in one line."""
        gflops = sum(r.flops for r in self.rows) / 1e6
        one = f"{self.ms:.3f} ms on 1 thread ({gflops / self.ms:.0f} GFLOP/s)"
        if self.threads == 1:
            return one
        many = f"{self.threads_ms:.3f} ms on {self.threads} ({gflops / self.threads_ms:.0f})"
        return f"{one}, {many}"

    def __str__(self) -> str:
        lines = ["{:>7} {:>6} {:>9} {:>8} {:>6}  {}".format(*row) for row in self.table()]
        return "\n".join(line[:_WIDTH].rstrip() for line in [*lines, self.summary])

    def table(self) -> list[tuple[str, str, str, str, str, str]]:
        """Returns the heads of the columns, and the rows as text; short ones are one."""
        shown = [r for r in self.rows[:-1] if r.ms >= _LEAST_SHARE * self.ms]
        small = self.rows[len(shown) : -1]
        if small:
            label, calls = f"{len(small)} regions below 0.1 %", sum(r.calls for r in small)
            shown.append(Row(label, calls, sum(r.ms for r in small)))
        heads = ("calls", "share", "ms", "GFLOP/s", "GB/s", "region")
        return [heads, *((
            f"{r.calls:g}" if r.calls else "",
            f"{r.ms / self.ms:.1%}",
            f"{r.ms:.3f}",
            f"{r.gflops:.1f}" if r.flops else "",
            f"{r.gbytes:.1f}" if r.num_bytes else "",
            r.label,
        ) for r in (*shown, *self.rows[-1:]))]  # fmt: skip


class Watch:
    """Runs the segments of programs in their place, while it is `program.recorder`."""

    def __enter__(self) -> Any:
        program.recorder = self
        return self

    def __exit__(self, *exception: object) -> None:
        program.recorder = None

    def run(self, one: Any, arrays: Any, inputs: Any, done: list[Host]) -> None:
        """Runs all segments of a program."""
        for segment, hosts in zip(one._segments, one._host):
            if segment is not None:
                programs, alone, (_, labels, _, _, in_one), shares = segment
                words, address = threads.aligned_words(max(len(labels), len(in_one)) + 1)
                start = time.perf_counter()
                threads.run(programs, alone, address, shares)
                self.native(one.plan, start, list(zip(labels, words.tolist())))
            for host, call in hosts:
                done.append(host)
                self.host(one.plan, host, functools.partial(call, arrays, inputs))

    def native(self, plan: Plan, start: float, cycles: list[tuple[Operation | None, int]]) -> None:
        """Notes what the first thread did: cycles of each record in order, None at barriers."""
        raise AssertionError("subclasses note what ran")

    def host(self, plan: Plan, host: Host, call: Callable[[], None]) -> None:
        """Calls an operation on the host."""
        raise AssertionError("subclasses call it")


class Recorder(Watch):
    """Adds up the time of operations.

    Attributes:
      cycles: of each native operation.
      seconds: of each operation on the host, without the programs that it ran.
      runs: how often each plan ran.
    """

    def __init__(self) -> None:
        self.cycles: dict[Operation, int] = {}
        self.seconds: dict[Host, float] = {}
        self.runs: dict[Plan, int] = {}
        self._nested = 0.0

    def run(self, one: Any, arrays: Any, inputs: Any, done: list[Host]) -> None:
        """Runs all segments, and notes their time as that of something nested."""
        self.runs[one.plan] = self.runs.get(one.plan, 0) + 1
        outer, start = self._nested, time.perf_counter()
        super().run(one, arrays, inputs, done)
        self._nested = outer + time.perf_counter() - start

    def native(self, plan: Plan, start: float, cycles: list[tuple[Operation | None, int]]) -> None:
        """Adds up cycles."""
        for operation, count in cycles:
            if operation is not None:
                self.cycles[operation] = self.cycles.get(operation, 0) + count

    def host(self, plan: Plan, host: Host, call: Callable[[], None]) -> None:
        """Adds up seconds."""
        self._nested, start = 0.0, time.perf_counter()
        call()
        own = time.perf_counter() - start - self._nested
        self.seconds[host] = self.seconds.get(host, 0.0) + own


class Clock:
    """Counts the cycles of a millisecond, from when it is made to when it is asked."""

    def __init__(self) -> None:
        self._now = jit.compile_module(_CLOCK, "clock").function("now", c_int64)
        self._start = self._now(), time.perf_counter()

    def rate(self) -> float:
        """Returns the cycles of a millisecond."""
        cycles, start = self._start
        return float((self._now() - cycles) / (time.perf_counter() - start) / 1e3)


def measure(f: Callable[..., Any], args: Sequence[Any], kwargs: Any, steps: int) -> Profile:
    """Runs `f(*args, **kwargs)` many times and returns where its time goes.

    Raises:
      InvalidArgumentError: if it runs nothing that is compiled.
    """
    if steps < 1:
        raise errors.invalid("profile", "steps must be 1 at least", str(steps))
    count = threads.num_threads()
    together = _milliseconds(f, args, kwargs, steps)
    with flags.override(DISTFLOW_THREADS=1):
        for _ in range(_WARM_UP):
            f(*args, **kwargs)
        with Recorder() as recorder:
            clock = Clock()
            alone = _milliseconds(f, args, kwargs, steps, warm_up=0)
            rate = clock.rate()
    if not recorder.runs:
        raise errors.invalid(
            "profile", "the function must run something that is compiled", repr(f),
            "Make it with tf.function, and use the executor cpu (DISTFLOW_EXECUTOR).",
        )  # fmt: skip
    rows = _rows(recorder, rate, steps)
    rest = Row("Python, and waiting", ms=max(alone - sum(r.ms for r in rows), 0.0))
    return Profile([*rows, rest], alone, count, together)


def _milliseconds(
    f: Callable[..., Any], args: Sequence[Any], kwargs: Any, steps: int, warm_up: int = _WARM_UP
) -> float:
    for _ in range(warm_up):
        f(*args, **kwargs)
    found = []
    for _ in range(steps):
        start = time.perf_counter()
        f(*args, **kwargs)
        found.append(time.perf_counter() - start)
    return 1e3 * statistics.fmean(found)


def _rows(recorder: Recorder, rate: float, steps: int) -> list[Row]:
    """Returns a row for each title, the longest first.

    Args:
      rate: cycles in a millisecond.
    """
    rows: dict[str, Row] = {}
    for plan, runs in recorder.runs.items():
        for operation, where, times in describe.operations(plan):
            if isinstance(operation, Host):
                ms = 1e3 * recorder.seconds.get(operation, 0.0)
            else:
                ms = recorder.cycles.get(operation, 0) / rate
            label = describe.title(operation, where)
            row = rows.setdefault(label, Row(label))
            calls = runs * times / steps
            row.calls += calls
            row.ms += ms / steps
            row.flops += calls * describe.num_flops(operation, where)
            row.num_bytes += calls * describe.num_bytes(operation, where)
    return sorted(rows.values(), key=lambda r: -r.ms)
