"""The calls and scratch buffers of a kernel, collected one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from distflow.compiler.cpu import contract, jit
from distflow.compiler.cpu.packing import Step, emit_copy, emit_zeros
from distflow.compiler.cpu.rounding import ITEM_BYTES
from distflow.compiler.cpu.task import Call, Kernel, Layout, Scratch

# (number, offset in bytes): see task.Call.
Operand = tuple[int, int]

# What one core does in a nanosecond, about: multiply-adds of float32 in vectors, elements copied
# one by one, bytes moved in vectors.
PRODUCTS, COPIES, BYTES = 96, 2, 10


class Recipe:
    """A kernel in the making.

    Args:
      num_inputs: of the kernel; its result is the operand after them.
    """

    def __init__(self, num_inputs: int):
        self.result: Operand = (num_inputs, 0)
        self._calls: list[Call] = []
        self._scratch: list[Scratch] = []
        # See `task.Kernel`.
        self.note = ""

    def kernel(self) -> Kernel:
        """Returns what was collected."""
        return Kernel(tuple(self._calls), tuple(self._scratch), note=self.note)

    def buffer(self, dtype: str, size: int) -> Operand:
        """Returns a new scratch buffer for so many elements."""
        self._scratch.append(Scratch(size * ITEM_BYTES[dtype]))
        return self.result[0] + len(self._scratch), 0

    def call(
        self, name: str, description: Sequence[Any], emit: Callable[[Any, str], None],
        writes: Sequence[Operand], reads: Sequence[Operand], units: int, work: int,
        *, explicit: bool = True,
    ) -> None:  # fmt: skip
        """Adds a call of a ranged function, which takes (*writes, *reads).

        Args:
          name: of the function.
          description: all that decides its code; its `repr` names the code in the cache.
          emit: adds the function of that name to a module; not called where the cache has it.
          writes, reads: operands.
          units, work: as in `task.Call`.
          explicit: whether its vectors are written out (see `jit`).
        """

        def make() -> Any:
            module = ir.Module(name)
            emit(module, name)
            return module

        code = jit.compile_described(repr(description), [name], make, explicit=explicit)
        function = contract.function(code, name)
        written = tuple(number for number, _ in writes)
        self._calls.append(Call(function, (*writes, *reads), written, units, work))

    def zeros(self, dtype: str, size: int, place: Operand | None = None) -> None:
        """Clears the result, or another place."""
        work = size * ITEM_BYTES[dtype] // BYTES
        place = place or self.result
        self.call(
            "zeros", [dtype], lambda m, n: emit_zeros(m, n, dtype), [place], [], size, work,
            explicit=False,
        )  # fmt: skip

    def copy(
        self, source: Layout, to: Layout, of: Operand, place: Operand | None = None
    ) -> Operand:
        """Copies an array, into a new buffer if no place is given; returns where it is."""
        if place is None:
            place = self.buffer(to.dtype, to.size)
        order = sorted(range(len(to.shape)), key=lambda i: -to.strides[i])
        steps = [Step(to.shape[i], source.strides[i], to.strides[i]) for i in order]
        steps = [step for step in steps if step.extent > 1] or [Step(1, 1, 1)]
        converts = to.dtype != source.dtype
        if converts:
            steps = _joined(steps)
        self.call(
            "copy", [to.dtype, steps, source.dtype],
            lambda m, n: emit_copy(m, n, to.dtype, steps, source=source.dtype),
            [place], [of], steps[0].extent, to.size // COPIES,
            explicit=not converts,  # element by element: LLVM makes vectors of them
        )  # fmt: skip
        return place


def _joined(steps: Sequence[Step]) -> list[Step]:
    """Returns neighbours that together are one axis as one."""
    result: list[Step] = []
    for step in steps:
        n = step.extent
        last = result[-1] if result else None
        if last and (last.source, last.target) == (n * step.source, n * step.target):
            result[-1] = Step(last.extent * n, step.source, step.target)
        else:
            result.append(step)
    return result


def in_order(x: Layout, order: Sequence[int]) -> Layout:
    """Returns x copied without gaps, its axes in memory in some order, slowest first."""
    strides, step = [0] * len(order), 1
    for i in reversed(order):
        strides[i] = step
        step *= x.shape[i]
    return Layout(x.dtype, x.shape, tuple(strides))
