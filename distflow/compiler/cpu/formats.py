"""From memory to registers and back: bools are bytes in memory, 16-bit floats float32 in registers.

Floats of 16 bits are rounded to the nearest, ties to even; NaN stays NaN. Written out in integer
operations, because the conversions that some CPUs have (and the library calls of those that have
none) need not be there.
"""

from __future__ import annotations

from distflow.compiler.cpu.emit import Block, Operand

NARROW_FLOATS = ("bfloat16", "float16")


def to_register(b: Block, dtype: str, x: Operand) -> Operand:
    """Returns what was read from memory as it is in registers."""
    if dtype == "bool":
        return b.compare("icmp ne", x, b.constant("i8", 0))
    if dtype in NARROW_FLOATS:
        return widen(b, dtype, x)
    return x._replace(unsigned=dtype.startswith("uint"))


def to_memory(b: Block, dtype: str, x: Operand) -> Operand:
    """Returns a value as it is written to memory."""
    if dtype == "bool":
        return b.convert("zext", x, "i8")
    return narrow(b, dtype, x) if dtype in NARROW_FLOATS else x


def widen(b: Block, dtype: str, x: Operand) -> Operand:
    """Returns the float32 of 16 bits."""
    bits = b.convert("zext", x, "i32")
    if dtype == "bfloat16":
        return b.convert("bitcast", b.op("shl", bits, _integer(b, 16)), "float")
    size = b.op("and", bits, _integer(b, 0x7FFF))
    # Exponents are off by 112; the product makes subnormal numbers ordinary ones.
    moved = b.op("shl", size, _integer(b, 13))
    scaled = b.op("fmul", b.convert("bitcast", moved, "float"), b.constant("float", 2.0**112))
    infinite = b.op("or", moved, _integer(b, 0x7F800000))
    huge = b.compare("icmp uge", size, _integer(b, 0x7C00))
    result = b.select(huge, infinite, b.convert("bitcast", scaled, "i32"))
    sign = b.op("shl", b.op("and", bits, _integer(b, 0x8000)), _integer(b, 16))
    return b.convert("bitcast", b.op("or", result, sign), "float")


def narrow(b: Block, dtype: str, x: Operand) -> Operand:
    """Returns the 16 bits of a float32, rounded."""
    bits = b.convert("bitcast", x, "i32")
    result = _bfloat16(b, bits) if dtype == "bfloat16" else _float16(b, bits)
    return b.convert("trunc", result, "i16")


def rounded(b: Block, dtype: str, x: Operand) -> Operand:
    """Returns the result of a step as its dtype holds it."""
    if dtype in NARROW_FLOATS:
        return widen(b, dtype, narrow(b, dtype, x))
    return x._replace(unsigned=dtype.startswith("uint"))


def _bfloat16(b: Block, bits: Operand) -> Operand:
    high = b.op("lshr", bits, _integer(b, 16))
    even = b.op("add", b.op("and", high, _integer(b, 1)), _integer(b, 0x7FFF))
    nearest = b.op("lshr", b.op("add", bits, even), _integer(b, 16))
    size = b.op("and", bits, _integer(b, 0x7FFFFFFF))
    nan = b.compare("icmp ugt", size, _integer(b, 0x7F800000))
    return b.select(nan, b.op("or", high, _integer(b, 0x40)), nearest)


def _float16(b: Block, bits: Operand) -> Operand:
    size = b.op("and", bits, _integer(b, 0x7FFFFFFF))
    # Ordinary results: the exponent moved by 112, rounded at bit 13.
    odd = b.op("and", b.op("lshr", size, _integer(b, 13)), _integer(b, 1))
    moved = b.op("add", b.op("add", size, odd), _integer(b, 0xFFF - (112 << 23)))
    result = b.op("lshr", moved, _integer(b, 13))
    # Small ones: the sum with 1/2 has the last place that they have.
    magic = b.op("fadd", b.convert("bitcast", size, "float"), b.constant("float", 0.5))
    small = b.op("sub", b.convert("bitcast", magic, "i32"), _integer(b, 0x3F000000))
    result = b.select(b.compare("icmp ult", size, _integer(b, 0x38800000)), small, result)
    large = b.compare("icmp uge", size, _integer(b, 0x477FF000))
    result = b.select(large, _integer(b, 0x7C00), result)
    nan = b.compare("icmp ugt", size, _integer(b, 0x7F800000))
    payload = b.op("lshr", b.op("and", size, _integer(b, 0x7FFFFF)), _integer(b, 13))
    result = b.select(nan, b.op("or", payload, _integer(b, 0x7E00)), result)
    sign = b.op("and", b.op("lshr", bits, _integer(b, 16)), _integer(b, 0x8000))
    return b.op("or", result, sign)


def _integer(b: Block, value: int) -> Operand:
    return b.constant("i32", value)
