"""The checksum of frames: of the bytes alone, and different for any likely damage."""

import zlib

import numpy as np
import pytest

from distflow.comm.transport.checksum import Checksum, checksum

RNG = np.random.default_rng(0)
SIZES = [0, 1, 7, 4095, 4096, 4097, 3 * 4096, 100_003]


def data(size):
    return RNG.integers(0, 256, size, np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cut", [1, 5, 4096, 5000])
def test_it_does_not_depend_on_how_the_bytes_are_cut(size, cut):
    x, pieces = data(size), Checksum()
    for start in range(0, size, cut):
        pieces.update(x[start : start + cut])
    assert pieces.value == checksum(x)


def test_it_is_the_crc_of_the_rest_the_sums_and_the_size():
    x = data(2 * 4096 + 5)
    with np.errstate(over="ignore"):
        sums = x[:4096].view(np.uint64) + x[4096:8192].view(np.uint64)
    crc = zlib.crc32(sums.tobytes(), zlib.crc32(x[8192:].tobytes()))
    assert checksum(x) == zlib.crc32((8197).to_bytes(8, "little"), crc)


@pytest.mark.parametrize("size", SIZES[1:])
def test_every_single_flipped_bit_changes_it(size):
    x = data(size)
    good = checksum(x)
    for position in {0, size - 1, *RNG.integers(0, size, 50).tolist()}:
        x[position] ^= 1 << (position % 8)
        assert checksum(x) != good
        x[position] ^= 1 << (position % 8)


def test_zeros_added_or_lost_change_it():
    values = {checksum(np.zeros(size, np.uint8)) for size in SIZES}
    assert len(values) == len(SIZES)


def test_memory_that_is_not_aligned_gives_the_same():
    x = data(3 * 4096 + 3)
    assert checksum(x[1:]) == checksum(x[1:].copy())


@pytest.mark.parametrize("apart", [8, 16, 4096 - 8])
def test_words_that_change_places_change_it(apart):
    x = data(3 * 4096)
    swapped = x.copy()
    swapped[:8], swapped[apart : apart + 8] = x[apart : apart + 8], x[:8]
    assert checksum(swapped) != checksum(x)
