"""What can be read by now from a descriptor that does not block."""

import os

from launcher.reading import read_now


def test_what_has_come_by_now_nothing_yet_and_the_end_are_three_things():
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    try:
        assert read_now(reader, 10) is None
        os.write(writer, b"abcdef")
        assert read_now(reader, 4) == b"abcd"
        assert read_now(reader, 4) == b"ef"
        assert read_now(reader, 4) is None
    finally:
        os.close(writer)
    assert read_now(reader, 4) == b""
    os.close(reader)
