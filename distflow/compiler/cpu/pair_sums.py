"""Sums of products of bfloat16 in the order of `pairs`, as LLVM IR: in matrix tiles or in vectors.

Either writes a block of up to 32 x 32 float32 sums into a buffer whose rows are 32 apart, from
tiles of A and B (`pair_copies`). Behind the buffer there are `spare` floats for its own use.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from distflow.compiler.cpu import amx
from distflow.compiler.cpu.isa import Target
from distflow.compiler.cpu.pair_copies import BLOCK, TILE, TILE_BYTES
from distflow.compiler.cpu.vectors import I64, PTR, Vectors, declare, loop, split

_I8, _I32, _F32, _F64 = ir.IntType(8), ir.IntType(32), ir.FloatType(), ir.DoubleType()
_VOID = ir.VoidType()
_ROW_BYTES = 64
_PITCH_BYTES = 4 * BLOCK
_PAIRS = 16
# Products of each sum in a turn of the innermost loop.
_UNROLLED = 2
# MXCSR: denormal operands are zeros, denormal results become zeros.
_DENORMALS_AS_ZEROS = 0x8040
# Doubles below this, rounded to 24 bits, are below the least normal float32.
_LEAST = 2.0**-126 - 2.0**-151


class InTiles:
    """Sums by the instruction TDPBF16PS, which knows no other modes and raises nothing."""

    spare = 0

    def __init__(self, module: Any, name: str, groups: int, target: Target):
        self._module, self._groups = module, groups
        content = list(amx.configuration())
        kind = ir.ArrayType(_I8, len(content))
        self._configuration = ir.GlobalVariable(module, kind, f"{name}_configuration")
        self._configuration.initializer = ir.Constant(kind, content)
        self._configuration.linkage = "internal"
        self._configuration.global_constant = True
        self._configuration.align = 64

    def begin(self, builder: Any) -> None:
        """Sets this thread's tiles up."""
        self._do(builder, "ldtilecfg", self._configuration)

    def end(self, builder: Any) -> None:
        """Gives the tiles back, so that the system has no state to keep."""
        self._do(builder, "tilerelease")

    def block(self, builder: Any, buffer: Any, a: Any, b: Any, rows: int, columns: int) -> None:
        """Sums a block; rows and columns that are not there are sums of zeros."""
        down, across = (-(-n // TILE) for n in (rows, columns))
        for tile in range(down * across):
            self._do(builder, "tilezero", _I8(tile))

        def group(builder: Any, g: Any, _: list[Any]) -> list[Any]:
            for first, operand, count in ((4, a, down), (6, b, across)):
                for i in range(count):
                    place = builder.add(
                        builder.mul(g, I64(count * TILE_BYTES)), I64(i * TILE_BYTES)
                    )
                    here = builder.gep(operand, [place], source_etype=_I8)
                    self._do(builder, "tileloadd64", _I8(first + i), here, I64(_ROW_BYTES))
            for i in range(down):
                for j in range(across):
                    numbers = i * across + j, 4 + i, 6 + j
                    self._do(builder, "tdpbf16ps", *map(_I8, numbers))
            return []

        loop(builder, I64(0), I64(self._groups), [], group)
        for i in range(down):
            for j in range(across):
                place = I64(i * TILE * _PITCH_BYTES + j * _ROW_BYTES)
                here = builder.gep(buffer, [place], source_etype=_I8)
                self._do(builder, "tilestored64", _I8(i * across + j), here, I64(_PITCH_BYTES))

    def _do(self, builder: Any, name: str, *operands: Any) -> None:
        kinds = [operand.type for operand in operands]
        builder.call(declare(self._module, f"llvm.x86.{name}", _VOID, kinds), list(operands))


class InVectors:
    """Sums by fused multiply-adds of float32, or by float64 where there are none.

    Products of bfloat16 are exact in float64, and so is what decides how their sum with a float32
    rounds to float32: it has 24 bits and the product 16, so that a sum that float64 cannot hold
    (they are more than 28 binary places apart) is not near the middle of two float32. Adding two
    float32 in float64 is innocuous as well (Figueroa 1995: 53 >= 2 * 24 + 2).
    """

    def __init__(self, module: Any, name: str, groups: int, target: Target):
        self._module, self._name, self._groups = module, name, groups
        self._vectors = Vectors("float32", target)
        self._lanes = self._vectors.lanes
        # Only x86 is told by a register how to treat denormals; ARM would round before it looks.
        self._fused = target.has_fma and target.triple.startswith("x86_64")
        # The sums of some rows in two vectors of columns are registers; two more hold products'
        # right sides, one a left side. The rows of a block are dealt evenly.
        most = (target.num_registers - 3) // 2
        self._rows = -(-BLOCK // -(-BLOCK // most))
        # A's rows as float32, then the even sums.
        self._held = self._rows * 2 * _PAIRS
        self.spare = self._held + self._rows * 2 * self._lanes
        self._saved: list[Any] = []

    def begin(self, builder: Any) -> None:
        """Lets this thread treat denormals as zeros. What runs until `end` has no other floats."""
        if not self._fused:
            return
        old, new = (builder.alloca(_I32) for _ in range(2))
        self._control(builder, "stmxcsr", old)
        value = builder.or_(builder.load(old, typ=_I32), _I32(_DENORMALS_AS_ZEROS))
        builder.store(value, new)
        self._control(builder, "ldmxcsr", new)
        self._saved = [old]

    def end(self, builder: Any) -> None:
        """Brings the thread's own mode back."""
        for old in self._saved:
            self._control(builder, "ldmxcsr", old)

    def _control(self, builder: Any, name: str, pointer: Any) -> None:
        builder.call(declare(self._module, f"llvm.x86.sse.{name}", _VOID, [PTR]), [pointer])

    def block(self, builder: Any, buffer: Any, a: Any, b: Any, rows: int, columns: int) -> None:
        """Sums a block, a few rows and two vectors of columns at a time."""
        down, across = (-(-n // TILE) for n in (rows, columns))
        width = min(2 * self._lanes, across * TILE)
        full, rest = divmod(rows, self._rows)

        def strip(builder: Any, j: Any, _: list[Any]) -> list[Any]:
            column = builder.mul(j, I64(width))
            tile, within = split(builder, column, TILE)
            place = builder.add(builder.mul(tile, I64(TILE_BYTES)), builder.mul(within, I64(4)))
            right = builder.gep(b, [place], source_etype=_I8)
            to = builder.gep(buffer, [column], source_etype=_F32)

            def several(builder: Any, i: Any, _: list[Any], count: int = self._rows) -> list[Any]:
                row = builder.mul(i, I64(self._rows))
                builder.call(
                    self._strip(count, width, down, across),
                    [
                        builder.gep(to, [builder.mul(row, I64(BLOCK))], source_etype=_F32),
                        builder.gep(a, [builder.mul(row, I64(_ROW_BYTES))], source_etype=_I8),
                        right,
                        builder.gep(buffer, [I64(BLOCK * BLOCK)], source_etype=_F32),
                    ],
                )
                return []

            if full:
                loop(builder, I64(0), I64(full), [], several)
            if rest:
                several(builder, I64(full), [], rest)
            return []

        loop(builder, I64(0), I64(-(-columns // width)), [], strip)

    def _strip(self, rows: int, width: int, down: int, across: int) -> Any:
        """Returns a function (buffer, A, B, spare) for some rows and columns, of all groups."""
        name = f"{self._name}_{rows}x{width}_{down}x{across}"
        if name in self._module.globals:
            return self._module.globals[name]
        kind = ir.FunctionType(_VOID, [PTR] * 4)
        function = ir.Function(self._module, kind, name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        buffer, a, b, held = function.args
        for pointer in (buffer, held):
            pointer.add_attribute("noalias")
        builder = ir.IRBuilder(function.append_basic_block("start"))
        vectors, lanes = self._vectors, self._lanes
        columns = [v // TILE * (TILE_BYTES // 4) + v % TILE for v in range(0, width, lanes)]
        zero = ir.Constant(vectors.vector, None)
        places = [
            builder.gep(buffer, [I64(row * BLOCK + j * lanes)], source_etype=_F32)
            for row in range(rows)
            for j in range(len(columns))
        ]
        for place in places:
            builder.store(zero, place, align=4)

        def group(builder: Any, g: Any, _: list[Any]) -> list[Any]:
            left, right = (
                builder.gep(p, [builder.mul(g, I64(n * TILE_BYTES))], source_etype=_I8)
                for p, n in ((a, down), (b, across))
            )
            self._widen(builder, left, held, rows)

            for half in range(2):

                def products(builder: Any, i: Any, sums: list[Any], half: int = half) -> list[Any]:
                    for n in range(_UNROLLED):
                        pair = builder.add(builder.mul(i, I64(_UNROLLED)), I64(n))
                        here = builder.gep(
                            held, [builder.add(pair, I64(half * _PAIRS))], source_etype=_F32
                        )
                        theirs = self._right(builder, right, pair, columns, half)
                        sums = self._products(builder, here, theirs, rows, sums)
                    return sums

                count = I64(_PAIRS // _UNROLLED)
                sums = loop(builder, I64(0), count, [zero] * len(places), products)
                for i, (place, value) in enumerate(zip(places, sums)):
                    first = builder.gep(held, [I64(self._held + i * lanes)], source_etype=_F32)
                    if not half:
                        builder.store(value, first, align=4)
                        continue
                    even = builder.load(first, typ=vectors.vector, align=4)
                    old = builder.load(place, typ=vectors.vector, align=4)
                    new = self._add(builder, old, self._add(builder, even, value))
                    builder.store(new, place, align=4)
            return []

        loop(builder, I64(0), I64(self._groups), [], group)
        builder.ret_void()
        return function

    def _widen(self, builder: Any, left: Any, held: Any, rows: int) -> None:
        """Writes a group of A as float32: of each row its even elements, then its odd ones."""
        kind = ir.VectorType(_I32, self._lanes)
        for start in range(0, rows * _PAIRS, self._lanes):
            row, pair = divmod(start, _PAIRS)
            here = builder.gep(left, [I64(start)], source_etype=_I32)
            both = builder.load(here, typ=kind, align=4)
            for half in range(2):
                place = I64((2 * row + half) * _PAIRS + pair)
                there = builder.gep(held, [place], source_etype=_F32)
                builder.store(self._half(builder, both, half), there, align=4)

    def _right(
        self, builder: Any, right: Any, pair: Any, columns: list[int], half: int
    ) -> list[Any]:
        """Returns the even or the odd elements of a pair of B, of some columns."""
        kind = ir.VectorType(_I32, self._lanes)
        first = builder.mul(pair, I64(_ROW_BYTES // 4))
        found = []
        for column in columns:
            here = builder.gep(right, [builder.add(first, I64(column))], source_etype=_I32)
            found.append(self._half(builder, builder.load(here, typ=kind, align=4), half))
        return found

    def _products(
        self, builder: Any, left: Any, theirs: list[Any], rows: int, sums: list[Any]
    ) -> list[Any]:
        """Adds a product to each sum."""
        result: list[Any] = []
        for row in range(rows):
            here = builder.gep(left, [I64(row * 2 * _PAIRS)], source_etype=_F32)
            mine = self._vectors.broadcast(builder, builder.load(here, typ=_F32))
            for y in theirs:
                result.append(self._multiply_add(builder, mine, y, sums[len(result)]))
        return result

    def _half(self, builder: Any, pairs: Any, half: int) -> Any:
        """Returns the even (0) or the odd (1) elements of pairs as float32."""
        kind = pairs.type

        def all_(number: int) -> Any:
            return ir.Constant(kind, [number] * self._lanes)

        bits = builder.and_(pairs, all_(0xFFFF0000)) if half else builder.shl(pairs, all_(16))
        if not self._fused:
            # No denormals: what has no exponent keeps its sign only.
            exponent = builder.and_(bits, all_(0x7F800000))
            is_small = builder.icmp_unsigned("==", exponent, all_(0))
            bits = builder.select(is_small, builder.and_(bits, all_(0x80000000)), bits)
        return builder.bitcast(bits, self._vectors.vector)

    def _multiply_add(self, builder: Any, x: Any, y: Any, old: Any) -> Any:
        if self._fused:
            vector = self._vectors.vector
            fma = declare(self._module, f"llvm.fma.v{self._lanes}f32", vector, [vector] * 3)
            return builder.call(fma, [x, y, old])
        x, y, old = (self._wide(builder, value) for value in (x, y, old))
        return self._narrow(builder, builder.fadd(builder.fmul(x, y), old))

    def _add(self, builder: Any, x: Any, y: Any) -> Any:
        if self._fused:
            return builder.fadd(x, y)
        x, y = self._wide(builder, x), self._wide(builder, y)
        return self._narrow(builder, builder.fadd(x, y))

    def _wide(self, builder: Any, value: Any) -> Any:
        return builder.fpext(value, ir.VectorType(_F64, self._lanes))

    def _narrow(self, builder: Any, value: Any) -> Any:
        """Returns doubles as float32, those that round to denormals as zeros."""
        kind, bits = value.type, ir.VectorType(ir.IntType(64), self._lanes)
        sign = ir.Constant(bits, [1 << 63] * self._lanes)
        plain = ir.Constant(bits, [(1 << 63) - 1] * self._lanes)
        held = builder.bitcast(value, bits)
        zero = builder.bitcast(builder.and_(held, sign), kind)
        size = builder.bitcast(builder.and_(held, plain), kind)
        least = ir.Constant(kind, [_LEAST] * self._lanes)
        kept = builder.select(builder.fcmp_ordered("<", size, least), zero, value)
        return builder.fptrunc(kept, self._vectors.vector)
