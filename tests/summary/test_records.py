"""Records with checksums, as TFRecord files have them."""

import pytest

from distflow.base import errors
from distflow.summary import records


# RFC 3720, appendix B.4.
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C), (b"123456789", 0xE3069283), (b"", 0),
    ],
    ids=["zeros", "ones", "rising", "falling", "digits", "empty"],
)  # fmt: skip
def test_crc32c_gives_the_values_of_the_standard(data, expected):
    assert records.crc32c(data) == expected


def test_records_come_back():
    written = [b"", b"a", bytes(1000)]
    assert list(records.decode(b"".join(map(records.encode, written)))) == written


def test_a_record_that_is_not_complete_is_left_out():
    data = records.encode(b"one") + records.encode(b"two")
    for size in range(len(data) - 1, len(records.encode(b"one")) - 1, -1):
        assert list(records.decode(data[:size])) == [b"one"]


@pytest.mark.parametrize("at", [0, 9, 13, 16])
def test_a_changed_byte_is_an_error(at):
    data = bytearray(records.encode(b"one"))
    data[at] ^= 1
    with pytest.raises(errors.DataLossError):
        list(records.decode(bytes(data)))
