"""16-bit floats to float32 and back, element by element, as LLVM IR.

bfloat16 is shifted and rounded by integers on every level. float16 is converted by LLVM where the
CPU can; elsewhere LLVM would call into a compiler's runtime library, so that integers do it too.
Both round to nearest, ties to even; a NaN stays a NaN.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from distflow.compiler.cpu.isa import Target

I16, I32, F32 = ir.IntType(16), ir.IntType(32), ir.FloatType()
_TYPES = {"float32": F32, "float64": ir.DoubleType(), "float16": I16, "bfloat16": I16}
ITEM_BYTES = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2}
# Levels whose every CPU converts float16.
_CONVERTING = ("avx2", "avx512")


def element_of(dtype: str) -> Any:
    """Returns the type that elements of a dtype are loaded and stored as."""
    return _TYPES[dtype]


def convert(builder: Any, value: Any, source: str, to: str, target: Target) -> Any:
    """Returns a loaded element of dtype `source` as one of dtype `to`."""
    if source == to:
        return value
    if to == "float32":
        return _WIDEN[source](builder, value, target)
    assert source == "float32", f"no conversion from {source} to {to}"
    return _NARROW[to](builder, value, target)


def _widen_bfloat16(builder: Any, value: Any, target: Target) -> Any:
    return builder.bitcast(builder.shl(builder.zext(value, I32), I32(16)), F32)


def _narrow_bfloat16(builder: Any, value: Any, target: Target) -> Any:
    bits = builder.bitcast(value, I32)
    high = builder.lshr(bits, I32(16))
    even = builder.and_(high, I32(1))
    rounded = builder.lshr(builder.add(bits, builder.add(even, I32(0x7FFF))), I32(16))
    quiet = builder.or_(high, I32(0x40))
    is_nan = builder.fcmp_unordered("uno", value, value)
    return builder.trunc(builder.select(is_nan, quiet, rounded), I16)


def _widen_float16(builder: Any, value: Any, target: Target) -> Any:
    if target.level in _CONVERTING:
        return builder.fpext(builder.bitcast(value, ir.HalfType()), F32)
    wide = builder.zext(value, I32)
    sign = builder.shl(builder.and_(wide, I32(0x8000)), I32(16))
    rest = builder.shl(builder.and_(wide, I32(0x7FFF)), I32(13))
    # As a float32 this is 2^-112 of the value, denormals included; the product is exact.
    scaled = builder.fmul(builder.bitcast(rest, F32), F32(2.0**112))
    special = builder.or_(rest, I32(0x7F800000))
    is_special = builder.icmp_unsigned(">=", rest, I32(0x7C00 << 13))
    bits = builder.select(is_special, special, builder.bitcast(scaled, I32))
    return builder.bitcast(builder.or_(bits, sign), F32)


def _narrow_float16(builder: Any, value: Any, target: Target) -> Any:
    if target.level in _CONVERTING:
        return builder.bitcast(builder.fptrunc(value, ir.HalfType()), I16)
    bits = builder.bitcast(value, I32)
    sign = builder.and_(builder.lshr(bits, I32(16)), I32(0x8000))
    rest = builder.and_(bits, I32(0x7FFFFFFF))
    odd = builder.and_(builder.lshr(rest, I32(13)), I32(1))
    # Exponents differ by 112; a carry out of the fraction moves into the exponent, up to infinity.
    moved = builder.sub(rest, I32(112 << 23))
    normal = builder.lshr(builder.add(moved, builder.add(odd, I32(0xFFF))), I32(13))
    # Below 2^-14 the addition of 0.5 lets the unit in the last place be that of float16.
    tiny = builder.fadd(builder.bitcast(rest, F32), F32(0.5))
    denormal = builder.sub(builder.bitcast(tiny, I32), I32(0x3F000000))
    huge = builder.select(
        builder.icmp_unsigned(">", rest, I32(0x7F800000)), I32(0x7E00), I32(0x7C00)
    )
    is_huge = builder.icmp_unsigned(">=", rest, I32(0x477FF000))
    is_tiny = builder.icmp_unsigned("<", rest, I32(0x38800000))
    result = builder.select(is_huge, huge, builder.select(is_tiny, denormal, normal))
    return builder.trunc(builder.or_(result, sign), I16)


_WIDEN = {"float16": _widen_float16, "bfloat16": _widen_bfloat16}
_NARROW = {"float16": _narrow_float16, "bfloat16": _narrow_bfloat16}
