"""Control flow and integers of one function written as LLVM IR text: loops, divisions, bounds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from distflow.compiler.cpu.emit import Code

# Loops that LLVM need not spend its time on: it neither unrolls nor vectorises them.
_PLAIN = "!0"
METADATA = """!0 = distinct !{!0, !1, !2}
!1 = !{!"llvm.loop.vectorize.enable", i1 false}
!2 = !{!"llvm.loop.unroll.disable"}"""


class Flow:
    """The lines of a function; `entry` comes before them all."""

    def __init__(self, code: Code):
        self.code = code
        self.lines: list[str] = []
        self.entry: list[str] = []

    def let(self, text: str) -> str:
        """Returns the name of a new value."""
        name = f"%{self.code.fresh()}"
        self.lines.append(f"{name} = {text}")
        return name

    def plus(self, x: str, y: str) -> str:
        """Returns x + y."""
        if "0" in (x, y):
            return y if x == "0" else x
        if _number(x) and _number(y):
            return str(int(x) + int(y))
        return self.let(f"add nsw i64 {x}, {y}")

    def times(self, x: str, by: int) -> str:
        """Returns x times a number."""
        if _number(x):
            return str(int(x) * by)
        return x if by == 1 else self.let(f"mul nsw i64 {x}, {by}")

    def divide(self, x: str, by: int) -> tuple[str, str]:
        """Returns quotient and remainder of a number that is not negative."""
        if by == 1:
            return x, "0"
        return self.let(f"udiv i64 {x}, {by}"), self.let(f"urem i64 {x}, {by}")

    def minimum(self, x: str, limit: int) -> str:
        """Returns the lesser of x and a number."""
        if _number(x):
            return str(min(int(x), limit))
        less = self.let(f"icmp slt i64 {x}, {limit}")
        return self.let(f"select i1 {less}, i64 {x}, i64 {limit}")

    def maximum(self, x: str, limit: int) -> str:
        """Returns the greater of x and a number."""
        if _number(x):
            return str(max(int(x), limit))
        more = self.let(f"icmp sgt i64 {x}, {limit}")
        return self.let(f"select i1 {more}, i64 {x}, i64 {limit}")

    def part(self, index: str, size: int, total: int) -> tuple[str, str]:
        """Returns where the part `index` of size `size` begins and ends, cut at the total."""
        begin = self.times(index, size)
        return begin, self.minimum(self.plus(begin, str(size)), total)

    @contextlib.contextmanager
    def loop(self, begin: str, end: str, step: int = 1) -> Iterator[str]:
        """Writes a loop around what the `with` block writes; gives its index."""
        if _number(begin) and _number(end) and int(begin) + step >= int(end):
            # Once: no loop is needed. (Never does not occur with numbers.)
            assert int(begin) < int(end)
            yield begin
            return
        label = self.code.fresh("loop")
        self.entry.append(f"%{label}.i = alloca i64, align 8")
        self.lines += [f"store i64 {begin}, ptr %{label}.i", f"br label %{label}", f"{label}:"]
        index = self.let(f"load i64, ptr %{label}.i")
        more = self.let(f"icmp slt i64 {index}, {end}")
        self.lines += [f"br i1 {more}, label %{label}.body, label %{label}.end", f"{label}.body:"]
        yield index
        after = self.let(f"add nsw i64 {index}, {step}")
        self.lines += [
            f"store i64 {after}, ptr %{label}.i",
            f"br label %{label}, !llvm.loop {_PLAIN}",
            f"{label}.end:",
        ]

    def function(self, name: str) -> str:
        """Returns the text of `void name(ptr pointers, i64 begin, i64 end)`."""
        return (
            f"define void @{name}(ptr %pointers, i64 %begin, i64 %end) {{\n"
            + "\n".join(["entry:", *self.entry, *self.lines, "ret void"])
            + "\n}"
        )


def _number(text: str) -> bool:
    return not text.startswith("%")
