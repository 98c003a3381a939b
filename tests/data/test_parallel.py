import gc
import threading

import pytest

from distflow.data import AUTOTUNE, Dataset
from distflow.data.parallel import background, ordered_map


def prefetch_threads():
    return [t for t in threading.enumerate() if t.name == "distflow-prefetch"]


@pytest.mark.parametrize("size", [0, 1, 5, AUTOTUNE])
def test_prefetch_changes_nothing(size, values):
    assert values(Dataset.range(20).prefetch(size)) == list(range(20))


def test_prefetch_reads_ahead_without_being_asked():
    third = threading.Event()

    def generate():
        for i in range(10):
            if i == 3:
                third.set()
            yield i

    iterator = background(generate, 3)
    assert next(iterator) == 0
    assert third.wait(30)


def test_prefetch_thread_ends_when_the_iterator_is_dropped():
    before = len(prefetch_threads())
    iterator = iter(Dataset.range(1000).prefetch(2).map(lambda x: x).prefetch(2))
    next(iterator)
    started = prefetch_threads()
    assert len(started) == before + 2
    del iterator
    gc.collect()
    for thread in started:
        thread.join(30)
    assert len(prefetch_threads()) <= before


def test_pool_ends_when_the_iterator_is_dropped():
    iterator = iter(Dataset.range(1000).map(lambda x: x, num_parallel_calls=3))
    next(iterator)
    started = [t for t in threading.enumerate() if t.name.startswith("distflow-data")]
    assert started
    del iterator
    gc.collect()
    for thread in started:
        thread.join(30)
    assert not any(thread.is_alive() for thread in started)


def test_close_ends_the_pass():
    iterator = iter(Dataset.range(1000).prefetch(2))
    next(iterator)
    iterator.close()
    assert list(iterator) == []
    assert not prefetch_threads()


def test_generator_behind_a_prefetch_is_closed_in_its_own_thread():
    closed_by = []

    def generate():
        try:
            yield from range(1000)
        finally:
            closed_by.append(threading.current_thread().name)

    iterator = iter(Dataset.from_generator(generate, output_types="int32").prefetch(1))
    next(iterator)
    iterator.close()
    assert closed_by == ["distflow-prefetch"]


def test_exception_travels_through_prefetch_after_the_elements_before_it():
    def function(x):
        if int(x) == 2:
            raise KeyError("two")
        return x

    iterator = iter(Dataset.range(5).map(function).prefetch(4))
    assert [int(next(iterator)), int(next(iterator))] == [0, 1]
    with pytest.raises(KeyError, match="two"):
        next(iterator)
    assert list(iterator) == []


def test_error_of_the_source_comes_after_the_results_before_it():
    def items():
        yield 1
        raise OSError("disk")

    results = ordered_map(lambda x: x, items(), 4)
    assert next(results) == 1
    with pytest.raises(OSError, match="disk"):
        next(results)


def test_prefetch_buffer_must_not_be_negative():
    with pytest.raises(ValueError, match="buffer_size"):
        Dataset.range(3).prefetch(-2)
