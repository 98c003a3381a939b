import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.logs import MAX_LINE_CHARACTERS, LineAssembler


def lines_of(*chunks):
    assembler = LineAssembler()
    lines = [line for chunk in chunks for line in assembler.feed(chunk)]
    return lines + assembler.finish()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"a\nb\n", ["a", "b"]),
        (b"a\n\nb", ["a", "", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"1%\r2%\r3%\n", ["3%"]),
        (b"\r1%\r2%", ["2%"]),
        (b"1%\r2%\r", ["2%"]),
        (b"1%\r2%\r\n", ["2%"]),
        ("é\n".encode(), ["é"]),
        (b"\xff\n", ["\ufffd"]),
        (b"\xc3", ["\ufffd"]),
    ],
)
def test_streams_are_cut_into_lines_in_their_final_form(data, expected):
    assert lines_of(data) == expected


@given(
    st.lists(st.sampled_from(["a", "é", "\r", "\n", "\r\n", "漢", " "]), max_size=30).map("".join),
    st.lists(st.integers(1, 5), max_size=40),
)
def test_how_the_bytes_are_cut_does_not_matter(text, sizes):
    data, chunks, start = text.encode(), [], 0
    for size in sizes:
        chunks.append(data[start : start + size])
        start += size
    chunks.append(data[start:])
    assert lines_of(*chunks) == lines_of(data)


def test_a_line_without_end_is_shown_in_pieces_and_not_kept():
    assembler = LineAssembler()
    shown = [line for _ in range(100) for line in assembler.feed(b"x" * 10_000)]
    shown += assembler.finish()
    assert max(map(len, shown)) == MAX_LINE_CHARACTERS
    assert "".join(shown) == "x" * 1_000_000


def test_a_progress_bar_keeps_its_present_form_only():
    assembler = LineAssembler()
    for step in range(100_000):
        assert assembler.feed(b"\r%d%%" % step) == []
    assert assembler.rewritten == "99999%"
    assert assembler.finish() == ["99999%"]
