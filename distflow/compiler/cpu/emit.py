"""A thin vocabulary over LLVM IR text: typed values, operations on vectors of 16 virtual lanes.

The IR is the same for every CPU: a vector has `LANES` elements whatever the registers hold, and
LLVM splits it. So the order of additions is the program's own.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

LANES = 16
# Two uint32 side by side, read as one: keys of random bits.
PAIR = "uint32x2"
# dtype's name -> type of a value in registers, and in memory.
REGISTER = {
    "float32": "float", "float64": "double", "bool": "i1", "bfloat16": "float", "float16": "float",
    **{f"{sign}int{bits}": f"i{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    PAIR: "i64",
}  # fmt: skip
MEMORY = {**REGISTER, "bool": "i8", "bfloat16": "i16", "float16": "i16"}
BITS = {"i8": 8, "i16": 16, "i32": 32, "i64": 64}
ITEM_BYTES = {"float": 4, "double": 8, **{kind: bits // 8 for kind, bits in BITS.items()}}
_SHORT = {"float": "f32", "double": "f64"}


class Operand(NamedTuple):
    """A value of the IR: its text, the type of one element, whether that has no sign."""

    text: str
    kind: str
    unsigned: bool = False


class Code:
    """The text of one module: functions, and what they need declared."""

    def __init__(self) -> None:
        self._count = 0
        self._tables: dict[tuple[str, tuple[float, ...]], str] = {}
        self._declared: dict[str, None] = {}
        self._internal: set[str] = set()
        self._functions: list[str] = []

    def fresh(self, prefix: str = "v") -> str:
        """Returns a name that nothing else has."""
        self._count += 1
        return f"{prefix}{self._count}"

    def declare(self, text: str) -> None:
        """Adds a declaration, once."""
        self._declared[text] = None

    def table(self, numbers: Sequence[float]) -> str:
        """Returns the name of a constant array of float64."""
        key = ("double", tuple(numbers))
        if key not in self._tables:
            self._tables[key] = f"@table{len(self._tables)}"
        return self._tables[key]

    def once(self, name: str, make: Callable[[], str]) -> None:
        """Adds the function of a name, which `make` writes, where the module lacks it."""
        if name not in self._internal:
            self._internal.add(name)
            self.add(make())

    def add(self, function: str) -> None:
        """Adds a function."""
        self._functions.append(function)

    def text(self) -> str:
        """Returns the module."""
        tables = [
            f"{name} = private unnamed_addr constant [{len(numbers)} x {kind}] ["
            + ", ".join(f"{kind} {literal(kind, v)}" for v in numbers) + "], align 64"
            for (kind, numbers), name in self._tables.items()
        ]  # fmt: skip
        return "\n".join([*tables, *self._declared, *self._functions, ""])


class Block:
    """Straight-line operations on values of `width` lanes; appends lines to `lines`."""

    def __init__(self, code: Code, lines: list[str], width: int, count: int | None = None):
        self.code = code
        self.lines = lines
        self.width = width
        self.count = width if count is None else count  # lanes that are in memory, the first ones

    def type(self, kind: str) -> str:
        """The IR type of a value of that element type."""
        return kind if self.width == 1 else f"<{self.width} x {kind}>"

    def constant(self, kind: str, value: float) -> Operand:
        """Returns the same number in all lanes."""
        return self.splat(kind, literal(kind, value))

    def splat(self, kind: str, text: str) -> Operand:
        """Returns the same literal in all lanes."""
        if self.width > 1:
            text = "<" + ", ".join([f"{kind} {text}"] * self.width) + ">"
        return Operand(text, kind)

    def op(self, name: str, x: Operand, y: Operand) -> Operand:
        """Returns `name x, y` (fadd, mul, and, shl ...)."""
        return self._let(f"{name} {self.type(x.kind)} {x.text}, {y.text}", x.kind)

    def compare(self, name: str, x: Operand, y: Operand) -> Operand:
        """Returns the truth of a comparison: `fcmp olt`, `icmp eq` ..."""
        return self._let(f"{name} {self.type(x.kind)} {x.text}, {y.text}", "i1")

    def select(self, condition: Operand, x: Operand, y: Operand) -> Operand:
        """Returns x where the condition holds, else y."""
        kind = self.type(x.kind)
        return self._let(
            f"select {self.type('i1')} {condition.text}, {kind} {x.text}, {kind} {y.text}", x.kind
        )

    def negate(self, x: Operand) -> Operand:
        """Returns -x of a floating value, the sign bit flipped."""
        return self._let(f"fneg {self.type(x.kind)} {x.text}", x.kind)

    def convert(self, name: str, x: Operand, kind: str) -> Operand:
        """Returns x in another type by `fpext`, `fptrunc`, `sitofp`, `bitcast` ..."""
        return self._let(f"{name} {self.type(x.kind)} {x.text} to {self.type(kind)}", kind)

    def intrinsic(self, name: str, x: Operand, *more: Operand) -> Operand:
        """Returns `llvm.name(x, ...)` of floating values: sqrt, fabs, floor, fma ..."""
        kind, short = self.type(x.kind), _SHORT[x.kind]
        full = f"@llvm.{name}.{short if self.width == 1 else f'v{self.width}{short}'}"
        self.code.declare(f"declare {kind} {full}({', '.join([kind] * (1 + len(more)))})")
        given = ", ".join(f"{kind} {y.text}" for y in (x, *more))
        return self._let(f"call {kind} {full}({given})", x.kind)

    def look_up(self, table: str, length: int, index: Operand) -> Operand:
        """Returns table[index] in each lane (float64; the index is an i64 inside of the table)."""
        array = f"[{length} x double]"
        result = Operand("poison", "double")
        for lane in range(self.width):
            at = index.text
            if self.width > 1:
                at = self._let(
                    f"extractelement {self.type('i64')} {index.text}, i32 {lane}", "i64"
                ).text
            place = self._let(f"getelementptr {array}, ptr {table}, i64 0, i64 {at}", "ptr").text
            one = self._let(f"load double, ptr {place}, align 8", "double")
            if self.width == 1:
                return one
            result = self._let(
                f"insertelement {self.type('double')} {result.text}, double {one.text}, i32 {lane}",
                "double",
            )
        return result

    def load(self, dtype: str, address: str, stride: int) -> Operand:
        """Returns `count` elements as they are in memory, `stride` elements apart.

        Lanes behind them hold 0, or the first element.
        """
        kind = MEMORY[dtype]
        align = 4 if dtype == PAIR else ITEM_BYTES[kind]
        if self.width == 1 or stride == 0 or (stride == 1 and self.count == 1):
            value = self._let(f"load {kind}, ptr {address}, align {align}", kind)
            if self.width > 1:
                value = self.repeat(value)
        elif stride == 1:
            few = f"<{self.count} x {kind}>"
            value = self._let(f"load {few}, ptr {address}, align {align}", kind)
            if self.count < self.width:
                mask = ", ".join(f"i32 {min(i, self.count)}" for i in range(self.width))
                value = self._let(
                    f"shufflevector {few} {value.text}, {few} zeroinitializer, "
                    f"<{self.width} x i32> <{mask}>", kind,
                )  # fmt: skip
        else:
            value = Operand("zeroinitializer", kind)
            for lane in range(self.count):
                place = self._at(kind, address, lane * stride)
                one = self._let(f"load {kind}, ptr {place}, align {align}", kind)
                value = self._let(
                    f"insertelement {self.type(kind)} {value.text}, {kind} {one.text}, i32 {lane}",
                    kind,
                )
        return value

    def store(self, value: Operand, address: str, stride: int = 1) -> None:
        """Writes the first `count` lanes, `stride` elements apart."""
        kind, align = value.kind, ITEM_BYTES[value.kind]
        if self.width == 1 or (stride == 1 and self.count > 1):
            if self.count < self.width:
                value = self.part(value, 0, self.count)
            few = kind if self.width == 1 else f"<{self.count} x {kind}>"
            self.lines.append(f"store {few} {value.text}, ptr {address}, align {align}")
            return
        for lane in range(self.count):
            one = self.part(value, lane, 1)
            place = self._at(kind, address, lane * stride)
            self.lines.append(f"store {kind} {one.text}, ptr {place}, align {align}")

    def part(self, x: Operand, start: int, count: int) -> Operand:
        """Returns the value of `count` lanes; a single one is no vector."""
        if count == 1:
            return self._let(f"extractelement {self.type(x.kind)} {x.text}, i32 {start}", x.kind)
        mask = ", ".join(f"i32 {start + i}" for i in range(count))
        return self._let(
            f"shufflevector {self.type(x.kind)} {x.text}, {self.type(x.kind)} poison, "
            f"<{count} x i32> <{mask}>", x.kind,
        )  # fmt: skip

    def first_lanes(self, count: int) -> Operand:
        """Returns the truth of: a lane is among the first `count`."""
        lanes = ", ".join(f"i1 {'true' if i < count else 'false'}" for i in range(self.width))
        return Operand(f"<{lanes}>", "i1")

    def repeat(self, one: Operand) -> Operand:
        """Returns a single value in all lanes."""
        if self.width == 1:
            return one
        kind = self.type(one.kind)
        first = self._let(f"insertelement {kind} poison, {one.kind} {one.text}, i32 0", one.kind)
        return self.shuffle(first, first, [0] * self.width)

    def shuffle(self, x: Operand, y: Operand, lanes: Sequence[int]) -> Operand:
        """Returns lanes of two vectors of this width; those of y come after those of x."""
        kind = self.type(x.kind)
        mask = ", ".join(f"i32 {lane}" for lane in lanes)
        return self._let(
            f"shufflevector {kind} {x.text}, {kind} {y.text}, <{len(lanes)} x i32> <{mask}>", x.kind
        )

    def numbers(self, kind: str, values: Sequence[int]) -> Operand:
        """Returns a number for each lane of a vector."""
        return Operand("<" + ", ".join(f"{kind} {literal(kind, v)}" for v in values) + ">", kind)

    def _at(self, kind: str, address: str, offset: int) -> str:
        if offset == 0:
            return address
        return self._let(f"getelementptr {kind}, ptr {address}, i64 {offset}", "ptr").text

    def _let(self, text: str, kind: str) -> Operand:
        name = f"%{self.code.fresh()}"
        self.lines.append(f"{name} = {text}")
        return Operand(name, kind)


def literal(kind: str, value: float) -> str:
    """Returns a number as LLVM writes it: floats by their bits (of float64, also for float)."""
    if kind in _SHORT:
        number = float(np.float32(value)) if kind == "float" else float(value)
        return f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}"
    if kind == "i1":
        return "true" if value else "false"
    return str(int(value))
