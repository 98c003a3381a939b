"""Syntax trees are made in turn: in two threads at once CPython 3.11 may fail."""

import ast
import gc
import io
import threading
import time

import numpy as np
import pytest

from distflow.base import parsing

ROWS = repr([(i, str(i)) for i in range(60)])


@pytest.fixture
def turns(monkeypatch):
    """Whether the lock was held, for each syntax tree that was made."""
    found, own = [], ast.parse

    def parse(*args, **kwargs):
        found.append(parsing.lock._is_owned())
        return own(*args, **kwargs)

    monkeypatch.setattr(ast, "parse", parse)
    return found


def test_the_header_of_an_array_is_read_in_turn(turns):
    file = io.BytesIO()
    np.save(file, np.arange(6).reshape(2, 3))
    file.seek(0)
    # literal_eval, which NumPy calls, calls the name in its own module.
    assert parsing.read_array(file).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert turns == [True]


def test_arrays_are_never_unpickled():
    file = io.BytesIO()
    np.save(file, np.array([{}], object), allow_pickle=True)
    file.seek(0)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        parsing.read_array(file)


def test_bytes_that_are_missing_are_an_error():
    file = io.BytesIO()
    np.save(file, np.arange(100))
    with pytest.raises(ValueError, match=r"reshape|EOF|bytes"):
        parsing.read_array(io.BytesIO(file.getvalue()[:-8]))


class _Garbage:
    """Lets other threads in while the collector runs."""

    def __init__(self):
        self.own = self

    def __del__(self):
        time.sleep(0)


@pytest.mark.soak
def test_threads_that_take_turns_all_succeed():
    errors, end = [], time.monotonic() + 10

    def parse(depth):
        if depth:
            return parse(depth - 1)
        _Garbage()
        with parsing.lock:
            return ast.parse(ROWS, mode="eval")

    def work(depth):
        while time.monotonic() < end and not errors:
            try:
                parse(depth)
            except SystemError as error:
                errors.append(error)

    threads = [threading.Thread(target=work, args=(5 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    gc.collect()
    assert errors == []
