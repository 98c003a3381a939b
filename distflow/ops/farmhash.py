"""FarmHash Fingerprint64: the hash of strings behind TensorFlow's hash buckets and crosses.

Source: Pike & Alakuijala 2014, FarmHash 1.1 (github.com/google/farmhash, MIT licence), the 64-bit
fingerprint; its values never change between versions, so hashed features keep their buckets.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

_MASK = 0xFFFFFFFFFFFFFFFF
_K0 = 0xC3A5C85C97CB3127
_K1 = 0xB492B66FBE98F273
_K2 = 0x9AE16A3B2F90404F
_CAT = 0xC6A4A7935BD1E995


def fingerprint64(data: bytes) -> int:
    """Returns the 64-bit fingerprint of a byte string, in [0, 2**64)."""
    length = len(data)
    if length <= 16:
        return _up_to_16(data)
    if length <= 32:
        return _up_to_32(data)
    if length <= 64:
        return _up_to_64(data)
    return _long(data)


def fingerprints(strings: Any) -> Any:
    """Returns the fingerprints of an object array of bytes, as uint64 of the same shape."""
    known: dict[bytes, int] = {}
    flat = strings.reshape(-1)
    result = np.empty(flat.size, np.uint64)
    for i, data in enumerate(flat.tolist()):
        value = known.get(data)
        if value is None:
            value = known[data] = fingerprint64(data)
        result[i] = value
    return result.reshape(strings.shape)


def concatenate(first: Any, second: Any) -> Any:
    """Returns the fingerprint of two fingerprints in order (uint64 arrays, which broadcast)."""
    mul = np.uint64(_CAT)
    with np.errstate(over="ignore"):
        mixed = (first ^ mul) ^ (_shift_mix_array(second * mul) * mul)
        return _shift_mix_array(_shift_mix_array(mixed * mul) * mul)


def _shift_mix_array(x: Any) -> Any:
    return x ^ (x >> np.uint64(47))


def _shift_mix(x: int) -> int:
    return x ^ (x >> 47)


def _rotate(x: int, by: int) -> int:
    x &= _MASK
    return ((x >> by) | (x << (64 - by))) & _MASK


def _word(data: bytes, at: int) -> int:
    return struct.unpack_from("<Q", data, at)[0]


def _half_word(data: bytes, at: int) -> int:
    return struct.unpack_from("<I", data, at)[0]


def _pair(u: int, v: int, mul: int) -> int:
    a = _shift_mix(((u ^ v) * mul) & _MASK)
    b = _shift_mix(((v ^ a) * mul) & _MASK)
    return (b * mul) & _MASK


def _up_to_16(s: bytes) -> int:
    n = len(s)
    if n >= 8:
        mul = _K2 + n * 2
        a, b = _word(s, 0) + _K2, _word(s, n - 8)
        c = (_rotate(b, 37) * mul + a) & _MASK
        d = ((_rotate(a, 25) + b) * mul) & _MASK
        return _pair(c, d, mul)
    if n >= 4:
        return _pair(n + (_half_word(s, 0) << 3), _half_word(s, n - 4), _K2 + n * 2)
    if n > 0:
        y, z = s[0] + (s[n >> 1] << 8), n + (s[n - 1] << 2)
        return (_shift_mix((y * _K2 ^ z * _K0) & _MASK) * _K2) & _MASK
    return _K2


def _middle(s: bytes, first: int) -> tuple[int, int, int, int]:
    """The part that lengths 17 to 64 share: (mul, a, sum of words, mixed a)."""
    n = len(s)
    mul = _K2 + n * 2
    a, b = _word(s, 0) * first & _MASK, _word(s, 8)
    c, d = _word(s, n - 8) * mul & _MASK, _word(s, n - 16) * _K2 & _MASK
    y = (_rotate(a + b, 43) + _rotate(c, 30) + d) & _MASK
    return mul, a, y, (a + _rotate(b + _K2, 18) + c) & _MASK


def _up_to_32(s: bytes) -> int:
    mul, _, y, mixed = _middle(s, _K1)
    return _pair(y, mixed, mul)


def _up_to_64(s: bytes) -> int:
    n = len(s)
    mul, a, y, mixed = _middle(s, _K2)
    z = _pair(y, mixed, mul)
    e, f = _word(s, 16) * mul & _MASK, _word(s, 24)
    g = (y + _word(s, n - 32)) * mul & _MASK
    h = (z + _word(s, n - 24)) * mul & _MASK
    left = (_rotate(e + f, 43) + _rotate(g, 30) + h) & _MASK
    return _pair(left, (e + _rotate(f + a, 18) + g) & _MASK, mul)


def _weak(s: bytes, at: int, a: int, b: int) -> tuple[int, int]:
    w, x, y, z = struct.unpack_from("<4Q", s, at)
    a = (a + w) & _MASK
    b = _rotate(b + a + z, 21)
    c = a
    a = (a + x + y) & _MASK
    b += _rotate(a, 44)
    return (a + z) & _MASK, (b + c) & _MASK


def _long(s: bytes) -> int:
    n, at = len(s), 0
    y = 81 * _K1 + 113 & _MASK
    z = _shift_mix(y * _K2 + 113 & _MASK) * _K2 & _MASK
    state = ((81 * _K2 + _word(s, 0)) & _MASK, y, z, (0, 0), (0, 0))
    end = (n - 1) // 64 * 64
    while at != end:
        state = _block(s, at, state, _K1, 1)
        at += 64
    x, y, z, v, w = state
    mul = (_K1 + ((z & 0xFF) << 1)) & _MASK
    w0 = w[0] + ((n - 1) & 63)
    v = ((v[0] + w0) & _MASK, v[1])
    w = ((w0 + v[0]) & _MASK, w[1])
    # The last 64 bytes once more, overlapping what is done already.
    x, y, z, v, w = _block(s, n - 64, (x, y, z, v, w), mul, 9)
    left = (_pair(v[0], w[0], mul) + _shift_mix(y) * _K0 + z) & _MASK
    return _pair(left, (_pair(v[1], w[1], mul) + x) & _MASK, mul)


def _block(s: bytes, at: int, state: Any, mul: int, times: int) -> Any:
    """One round over 64 bytes; the last round has another multiplier and weighs more."""
    x, y, z, v, w = state
    x = _rotate(x + y + v[0] + _word(s, at + 8), 37) * mul & _MASK
    y = _rotate(y + v[1] + _word(s, at + 48), 42) * mul & _MASK
    x ^= w[1] * times & _MASK
    y = (y + v[0] * times + _word(s, at + 40)) & _MASK
    z = _rotate(z + w[0], 33) * mul & _MASK
    v = _weak(s, at, v[1] * mul & _MASK, x + w[0])
    w = _weak(s, at + 32, z + w[1], y + _word(s, at + 16))
    return z, y, x, v, w
