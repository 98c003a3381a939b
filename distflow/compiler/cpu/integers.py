"""Integers of loops: division, powers, shifts, and casts from and to them, as the references do.

LLVM leaves open what happens on division by zero, overflow and shifts by too much; here each has
one meaning on all CPUs. A divisor of 0 never gets here: the references refuse it, so loops take
only divisors that are known.
"""

from __future__ import annotations

from distflow.compiler.cpu.emit import BITS, Block, Operand


def is_unsigned(dtype: str) -> bool:
    """Whether an integer dtype has no sign."""
    return dtype.startswith("uint")


def divide(b: Block, x: Operand, y: Operand) -> Operand:
    """Returns x / y, cut towards zero."""
    zero, one, minus = (b.constant(x.kind, v) for v in (0, 1, -1))
    # Lanes without an element hold 0; the least integer / -1 traps.
    safe = b.select(b.compare("icmp eq", y, zero), one, y)
    if x.unsigned:
        return b.op("udiv", x, safe)
    negates = b.compare("icmp eq", y, minus)
    quotient = b.op("sdiv", x, b.select(negates, one, safe))
    return b.select(negates, b.op("sub", zero, x), quotient)


def floor_divide(b: Block, x: Operand, y: Operand) -> Operand:
    """Returns the greatest integer that is not above x / y."""
    quotient = divide(b, x, y)
    if x.unsigned:
        return quotient
    return b.op("add", quotient, _sext(b, _uneven(b, x, y, quotient), x.kind))


def modulo(b: Block, x: Operand, y: Operand) -> Operand:
    """Returns x - y floor(x / y): the sign is that of y."""
    return b.op("sub", x, b.op("mul", floor_divide(b, x, y), y))


def _uneven(b: Block, x: Operand, y: Operand, quotient: Operand) -> Operand:
    """Whether a quotient was cut upwards: it is inexact and below zero."""
    zero = b.constant(x.kind, 0)
    inexact = b.compare("icmp ne", b.op("mul", quotient, y), x)
    return b.op("and", inexact, b.compare("icmp slt", b.op("xor", x, y), zero))


def _sext(b: Block, truth: Operand, kind: str) -> Operand:
    return b.convert("sext", truth, kind)


def power(b: Block, x: Operand, y: Operand) -> Operand:
    """Returns x to the power y >= 0, modulo 2^bits, by squaring."""
    zero, one = b.constant(x.kind, 0), b.constant(x.kind, 1)
    result, square = one, x
    for bit in range(BITS[x.kind]):
        mask = b.constant(x.kind, 1 << bit)
        chosen = b.compare("icmp ne", b.op("and", y, mask), zero)
        result = b.select(chosen, b.op("mul", result, square), result)
        square = b.op("mul", square, square)
    return result


def shift(b: Block, name: str, x: Operand, y: Operand) -> Operand:
    """Returns x shifted; by the width or more leaves nothing (the sign, to the right)."""
    last = b.constant(x.kind, BITS[x.kind] - 1)
    far = b.compare("icmp ugt", y, last)
    shifted = b.op(name, x, b.select(far, last, y))
    return shifted if name == "ashr" else b.select(far, b.constant(x.kind, 0), shifted)


def from_float(b: Block, x: Operand, dtype: str, kind: str) -> Operand:
    """Returns a float cut to an integer.

    What does not fit (and NaN) becomes what x86 makes of it: the least signed integer of 32 bits
    (of 64 where the result has more than 31 bits of its own), cut to the result's width.
    """
    if is_unsigned(dtype) and kind == "i64":
        return _to_uint64(b, x)
    wide = "i64" if kind == "i64" or dtype == "uint32" else "i32"
    result = _to_signed(b, x, wide)
    return result if wide == kind else b.convert("trunc", result, kind)


def _to_signed(b: Block, x: Operand, kind: str) -> Operand:
    edge = 2.0 ** (BITS[kind] - 1)
    # float64 holds numbers between -2^31 - 1 and -2^31, which are cut to -2^31.
    finer = x.kind == "double" and kind == "i32"
    above = ("fcmp ogt", -edge - 1) if finer else ("fcmp oge", -edge)
    inside = b.op(
        "and",
        b.compare(above[0], x, b.constant(x.kind, above[1])),
        b.compare("fcmp olt", x, b.constant(x.kind, edge)),
    )
    safe = b.select(inside, x, b.constant(x.kind, 0))
    return b.select(inside, b.convert("fptosi", safe, kind), b.constant(kind, int(-edge)))


def _to_uint64(b: Block, x: Operand) -> Operand:
    edge = b.constant(x.kind, 2.0**63)
    high = b.compare("fcmp oge", x, edge)
    low = _to_signed(b, b.select(high, b.op("fsub", x, edge), x), "i64")
    return b.select(high, b.op("xor", low, b.constant("i64", -(2**63))), low)
