"""Philox 4x32-10 in loops: the bits of `ops.prims.philox`, computed where they are used.

Element i of the result is word i mod 4 of block i / 4. Where 16 neighbouring elements begin at a
multiple of 4, their four blocks are computed once each; else every lane computes a block.
"""

from __future__ import annotations

from distflow.compiler.cpu.emit import LANES, Block, Operand

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF
_ROUNDS = 10


def words(b: Block, first: str, key: str, stream: str, stride: int, aligned: bool) -> Operand:
    """Returns 32 random bits for each lane.

    Args:
      b: a block of any width.
      first: i64, position of the first lane.
      key, stream: i64 (no vectors): the second word above the first.
      stride: of positions from lane to lane.
      aligned: whether `first` is a multiple of 4.
    """
    together = aligned and stride == 1 and b.width == LANES
    inner = Block(b.code, b.lines, LANES // 4) if together else b
    position = inner.repeat(Operand(first, "i64"))
    if together:
        block = inner.op("lshr", position, inner.constant("i64", 2))
        block = inner.op("add", block, inner.numbers("i64", range(LANES // 4)))
        four = _rounds(inner, block, key, stream)
        return b.convert("trunc", _interleaved(inner, four), "i32")
    if inner.width > 1:
        position = inner.op(
            "add", position, inner.numbers("i64", [i * stride for i in range(inner.width)])
        )
    block = inner.op("lshr", position, inner.constant("i64", 2))
    four = _rounds(inner, block, key, stream)
    word = inner.op("and", position, inner.constant("i64", 3))
    chosen = four[3]
    for i in (2, 1, 0):
        here = inner.compare("icmp eq", word, inner.constant("i64", i))
        chosen = inner.select(here, four[i], chosen)
    return inner.convert("trunc", chosen, "i32")


def _rounds(b: Block, block: Operand, key: str, stream: str) -> list[Operand]:
    def halves(text: str) -> tuple[Operand, Operand]:
        both = b.repeat(Operand(text, "i64"))
        return low(both), b.op("lshr", both, b.constant("i64", 32))

    def low(x: Operand) -> Operand:
        return b.op("and", x, b.constant("i64", _LOW))

    c0, c1 = low(block), b.op("lshr", block, b.constant("i64", 32))
    c2, c3 = halves(stream)
    k0, k1 = halves(key)
    for _ in range(_ROUNDS):
        # Both factors have 32 bits: `low` says so, and the product is one instruction.
        product0 = b.op("mul", low(c0), b.constant("i64", _MULTIPLIERS[0]))
        product1 = b.op("mul", low(c2), b.constant("i64", _MULTIPLIERS[1]))
        high0, high1 = (b.op("lshr", p, b.constant("i64", 32)) for p in (product0, product1))
        c0, c1, c2, c3 = (
            b.op("xor", b.op("xor", high1, c1), k0), low(product1),
            b.op("xor", b.op("xor", high0, c3), k1), low(product0),
        )  # fmt: skip
        k0 = low(b.op("add", k0, b.constant("i64", _WEYL[0])))
        k1 = low(b.op("add", k1, b.constant("i64", _WEYL[1])))
    return [c0, c1, c2, c3]


def _interleaved(b: Block, four: list[Operand]) -> Operand:
    """Returns lane 4 i + j = lane i of vector j."""
    n = b.width
    pairs = [b.shuffle(x, y, [i // 2 + (i % 2) * n for i in range(2 * n)]) for x, y in
             ((four[0], four[2]), (four[1], four[3]))]  # fmt: skip
    wide = Block(b.code, b.lines, 2 * n)
    return wide.shuffle(pairs[0], pairs[1], [i // 2 + (i % 2) * 2 * n for i in range(4 * n)])
