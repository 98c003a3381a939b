"""Fingerprint64 and its concatenation against values of TensorFlow 2.21."""

import numpy as np
import pytest

from distflow.ops import farmhash

TEXT = "the quick brown fox jumps over a lazy dog; " * 8

# length of the prefix of TEXT -> tf.strings.to_hash_bucket_fast(prefix, 2**62), TF 2.21
BUCKETS = {
    0: 1936946117179621455, 1: 2347136789225993817, 2: 2062431265022373352,
    3: 2392203249141657450, 4: 1001158104500252861, 7: 1772533008485499016,
    8: 3589619361798732030, 9: 1526998095982044762, 15: 984528316878273624,
    16: 1440586843996968230, 17: 2098926860416782725, 24: 1221041626265744025,
    32: 2351428977568060603, 33: 1597124692922233618, 48: 409935239205830241,
    63: 2810613729971823358, 64: 1096889886593509996, 65: 2498020960042363102,
    100: 697278255848174265, 127: 2802088502618111649, 128: 4445773353269719852,
    129: 4594445480612425586, 192: 2141303623961714406, 200: 4530882121589442571,
    256: 4476702983457369751, 300: 38238768650325121,
}  # fmt: skip


@pytest.mark.parametrize("length", BUCKETS)
def test_fingerprint_equals_tensorflows(length):
    assert farmhash.fingerprint64(TEXT[:length].encode()) % 2**62 == BUCKETS[length]


def test_fingerprints_of_an_array_keep_its_shape():
    words = np.array([[b"a", b"b"], [b"a", b""]], object)
    result = farmhash.fingerprints(words)
    assert result.shape == (2, 2)
    assert result.dtype == np.uint64
    assert result[0, 0] == result[1, 0] == farmhash.fingerprint64(b"a")


def test_concatenation_equals_tensorflows_sparse_cross():
    # tf.sparse.cross_hashed([[["a", "b"]], [[1, 2]]], num_buckets=10**9), TF 2.21
    words = farmhash.fingerprints(np.array([b"a", b"a", b"b", b"b"], object))
    numbers = np.array([1, 2, 1, 2], np.uint64)
    key = np.array([956888297470], np.uint64)
    crossed = farmhash.concatenate(farmhash.concatenate(key, words), numbers)
    assert (crossed % np.uint64(10**9)).tolist() == [153663485, 693475987, 179021983, 618309357]
