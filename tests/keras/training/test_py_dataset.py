import threading

import numpy as np
import pytest

import distflow as tf

X = np.arange(24, dtype=np.float32).reshape(12, 2)


class Rows(tf.keras.utils.PyDataset):
    """Three batches of four rows; notes who made which, and the ends of passes."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.asked, self.threads, self.events = [], set(), []

    def __len__(self):
        return 3

    def __getitem__(self, index):
        self.asked.append(index)
        self.threads.add(threading.current_thread().name)
        part = slice(4 * index, 4 * index + 4)
        return X[part], X[part].sum(1, keepdims=True)

    def on_epoch_begin(self):
        self.events.append("begin")

    def on_epoch_end(self):
        self.events.append("end")


def compiled():
    model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def test_fit_asks_for_batches_in_order_and_ends_each_pass():
    data = Rows()
    compiled().fit(data, epochs=2, shuffle=False, verbose=0)
    assert data.asked == [0, 1, 2, 0, 1, 2]
    assert data.events == ["begin", "end"] * 2


def test_fit_shuffles_the_order_of_batches():
    tf.keras.utils.set_random_seed(3)
    data = Rows()
    compiled().fit(data, epochs=8, verbose=0)
    passes = [tuple(data.asked[i : i + 3]) for i in range(0, 24, 3)]
    assert all(sorted(p) == [0, 1, 2] for p in passes)
    assert len(set(passes)) > 1


def test_threads_make_batches_in_order():
    data = Rows(workers=3, max_queue_size=2)
    out = compiled().predict(data, verbose=0)
    assert out.shape == (12, 1)
    assert sorted(data.asked) == [0, 1, 2]
    assert all(name.startswith("PyDataset") for name in data.threads)


def test_predictions_of_threads_are_those_of_one():
    model = compiled()
    np.testing.assert_array_equal(
        model.predict(Rows(workers=2), verbose=0), model.predict(X, batch_size=4, verbose=0)
    )


def test_an_endless_data_set_stops_after_its_steps():
    class Endless(tf.keras.utils.PyDataset):
        num_batches = None

        def __getitem__(self, index):
            return X[:4], X[:4, :1]

    history = compiled().fit(Endless(), epochs=2, steps_per_epoch=3, verbose=0)
    assert len(history.history["loss"]) == 2


def test_an_error_of_a_worker_reaches_fit():
    class Broken(Rows):
        def __getitem__(self, index):
            raise KeyError("nothing here")

    with pytest.raises(KeyError, match="nothing here"):
        compiled().fit(Broken(workers=2), verbose=0)


def test_a_data_set_without_a_length_says_what_is_missing():
    class Short(tf.keras.utils.PyDataset):
        def __getitem__(self, index):
            return X

    with pytest.raises(NotImplementedError, match="implement the `num_batches` property"):
        compiled().fit(Short(), verbose=0)


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"max_queue_size": "many"}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be an int >= 1"):
        Rows(**wrong)


def test_a_limit_of_the_process_ends_fit_early():
    tf.keras.config.set_max_epochs(2)
    tf.keras.config.set_max_steps_per_epoch(1)
    try:
        data = Rows()
        assert len(compiled().fit(data, epochs=5, shuffle=False, verbose=0).epoch) == 2
        # Two steps of one pass: fit goes on where the last epoch ended.
        assert data.asked == [0, 1]
    finally:
        tf.keras.config.set_max_epochs(None)
        tf.keras.config.set_max_steps_per_epoch(None)


@pytest.mark.spawn
@pytest.mark.slow
def test_processes_make_the_same_batches():
    from tests.keras.training.process_rows import ProcessRows

    out = compiled().predict(ProcessRows(workers=2, use_multiprocessing=True), verbose=0)
    assert out.shape == (8, 1)
