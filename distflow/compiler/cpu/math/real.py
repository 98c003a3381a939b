"""Floating-point arithmetic on a block's values, so that formulas read as such."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from distflow.compiler.cpu.emit import Block, Operand

# Of each element type: the integer of its width, the sign's bit in it, bits of the fraction.
_INTEGER = {"float": "i32", "double": "i64"}
_SIGN = {"float": -(1 << 31), "double": -(1 << 63)}
_FRACTION_BITS = {"float": 23, "double": 52}


class Real:
    """A float32 or float64 in each lane; numbers beside it become constants of its type."""

    def __init__(self, block: Block, value: Operand):
        self.block = block
        self.value = value

    @property
    def is_single(self) -> bool:
        """Whether it is a float32."""
        return self.value.kind == "float"

    @property
    def fraction_bits(self) -> int:
        """Bits after the leading one: 23 or 52."""
        return _FRACTION_BITS[self.value.kind]

    @property
    def magic(self) -> float:
        """Adding it rounds to an integer, held in the low bits of the sum."""
        return 1.5 * 2.0**self.fraction_bits

    def __add__(self, other: Real | float) -> Real:
        return self._with("fadd", other)

    def __sub__(self, other: Real | float) -> Real:
        return self._with("fsub", other)

    def __rsub__(self, other: float) -> Real:
        return self.like(other) - self

    def __mul__(self, other: Real | float) -> Real:
        return self._with("fmul", other)

    def __truediv__(self, other: Real | float) -> Real:
        return self._with("fdiv", other)

    def __rtruediv__(self, other: float) -> Real:
        return self.like(other) / self

    def __neg__(self) -> Real:
        return Real(self.block, self.block.negate(self.value))

    def __abs__(self) -> Real:
        return Real(self.block, self.block.intrinsic("fabs", self.value))

    def like(self, number: Real | float) -> Real:
        """Returns a number as a constant of this type; a value as it is."""
        if isinstance(number, Real):
            return number
        return Real(self.block, self.block.constant(self.value.kind, number))

    def fma(self, y: Real | float, z: Real | float) -> Real:
        """Returns self * y + z, rounded once."""
        operands = (self.value, self.like(y).value, self.like(z).value)
        return Real(self.block, self.block.intrinsic("fma", *operands))

    def floor(self) -> Real:
        """Returns the largest integer that is not above."""
        return Real(self.block, self.block.intrinsic("floor", self.value))

    def sqrt(self) -> Real:
        """Returns the square root."""
        return Real(self.block, self.block.intrinsic("sqrt", self.value))

    def compare(self, name: str, other: Real | float) -> Operand:
        """Returns the truth of `fcmp name`."""
        return self.block.compare(f"fcmp {name}", self.value, self.like(other).value)

    def where(self, condition: Operand, other: Real | float) -> Real:
        """Returns `other` where the condition holds, else itself."""
        return Real(self.block, self.block.select(condition, self.like(other).value, self.value))

    def at_least(self, low: float) -> Real:
        """Returns the larger; NaN stays."""
        return self.where(self.compare("olt", low), low)

    def at_most(self, high: float) -> Real:
        """Returns the smaller; NaN stays."""
        return self.where(self.compare("ogt", high), high)

    def polynomial(self, coefficients: Sequence[Real | float]) -> Real:
        """Returns c0 + c1 x + c2 x^2 ... by Horner's rule."""
        *others, last = coefficients
        result = self.like(last)
        for c in reversed(others):
            result = result.fma(self, c)
        return result

    def _with(self, name: str, other: Real | float) -> Real:
        return Real(self.block, self.block.op(name, self.value, self.like(other).value))

    # -- bits ------------------------------------------------------------------------------

    def bits(self) -> Bits:
        """Returns its bits as an integer of the same width."""
        kind = _INTEGER[self.value.kind]
        return Bits(self.block, self.block.convert("bitcast", self.value, kind), self.value.kind)

    def signed_as(self, other: Real) -> Real:
        """Returns itself, at least 0, with the sign of another."""
        return (self.bits() | (other.bits() & _SIGN[self.value.kind])).real()

    # -- types -----------------------------------------------------------------------------

    def wide(self) -> Real:
        """Returns a float32 as float64."""
        return Real(self.block, self.block.convert("fpext", self.value, "double"))

    def narrow(self) -> Real:
        """Returns a float64 rounded to float32."""
        return Real(self.block, self.block.convert("fptrunc", self.value, "float"))


class Bits:
    """An integer in each lane that was, or will be, the bits of a floating-point number."""

    def __init__(self, block: Block, value: Operand, kind: str):
        self.block = block
        self.value = value
        self.kind = kind

    def _with(self, name: str, other: Bits | int) -> Bits:
        if isinstance(other, int):
            given = self.block.constant(self.value.kind, other)
        else:
            given = other.value
        return Bits(self.block, self.block.op(name, self.value, given), self.kind)

    def __add__(self, other: Bits | int) -> Bits:
        return self._with("add", other)

    def __sub__(self, other: Bits | int) -> Bits:
        return self._with("sub", other)

    def __and__(self, other: Bits | int) -> Bits:
        return self._with("and", other)

    def __or__(self, other: Bits | int) -> Bits:
        return self._with("or", other)

    def __xor__(self, other: Bits | int) -> Bits:
        return self._with("xor", other)

    def __lshift__(self, places: int) -> Bits:
        return self._with("shl", places)

    def __rshift__(self, places: int) -> Bits:
        return self._with("lshr", places)

    def compare(self, name: str, other: int) -> Operand:
        """Returns the truth of `icmp name`."""
        return self.block.compare(
            f"icmp {name}", self.value, self.block.constant(self.value.kind, other)
        )

    def real(self) -> Real:
        """Returns the floating-point number of these bits."""
        return Real(self.block, self.block.convert("bitcast", self.value, self.kind))

    def to_real(self) -> Real:
        """Returns the integer as a floating-point number."""
        return Real(self.block, self.block.convert("sitofp", self.value, self.kind))

    def where(self, condition: Operand, other: int) -> Bits:
        """Returns `other` where the condition holds, else itself."""
        number = self.block.constant(self.value.kind, other)
        return Bits(self.block, self.block.select(condition, number, self.value), self.kind)

    def look_up(self, table: Sequence[float]) -> Real:
        """Returns the entries of a table of float64 at these (64-bit) places."""
        name = self.block.code.table(table)
        return Real(self.block, self.block.look_up(name, len(table), self.value))


def rarely(
    condition: Operand, value: Real, name: str, function: Callable[[Real], Real], x: Real
) -> Real:
    """Returns `function(x)` where the condition holds, else `value`.

    The function is code of its own, by the name, that runs only if the condition holds somewhere.
    """
    block = x.block
    kind = block.type(x.value.kind)
    name = f"{name}_{block.width}"

    def make() -> str:
        lines: list[str] = []
        result = function(Real(Block(block.code, lines, block.width), Operand("%x", x.value.kind)))
        body = "\n".join([*lines, f"ret {kind} {result.value.text}"])
        return f"define internal {kind} @{name}({kind} %x) noinline cold {{\n{body}\n}}"

    block.code.once(name, make)
    label = block.code.fresh("rare")
    anywhere = condition.text
    lines = [f"br label %{label}", f"{label}:"]
    if block.width > 1:
        reduce = f"@llvm.vector.reduce.or.v{block.width}i1"
        block.code.declare(f"declare i1 {reduce}({block.type('i1')})")
        lines.append(f"%{label}.any = call i1 {reduce}({block.type('i1')} {anywhere})")
        anywhere = f"%{label}.any"
    block.code.declare("declare i1 @llvm.expect.i1(i1, i1)")
    block.lines += [
        *lines,
        f"%{label}.hint = call i1 @llvm.expect.i1(i1 {anywhere}, i1 false)",
        f"br i1 %{label}.hint, label %{label}.call, label %{label}.end",
        f"{label}.call:",
        f"%{label}.made = call {kind} @{name}({kind} {x.value.text})",
        f"%{label}.all = select {block.type('i1')} {condition.text}, {kind} %{label}.made, "
        f"{kind} {value.value.text}",
        f"br label %{label}.end",
        f"{label}.end:",
        f"%{label}.result = phi {kind} [ {value.value.text}, %{label} ], "
        f"[ %{label}.all, %{label}.call ]",
    ]
    return Real(block, Operand(f"%{label}.result", x.value.kind))
