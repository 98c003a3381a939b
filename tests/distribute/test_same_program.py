"""All workers must run one program: what differs is named; what they tell is equal to the bit."""

import json

import numpy as np
import pytest

import distflow as tf
from distflow.base import errors
from distflow.distribute import MirroredStrategy
from tests.distribute import golden_job
from tests.distribute.workers import on_threads

K = tf.keras
D = tf.distribute


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (lambda: [tf.Variable(tf.zeros(2), name="more"), tf.Variable(0.0, name="last")], "more"),
        (lambda: [tf.Variable(tf.zeros(3), name="last")], "last"),
        (lambda: [tf.Variable(tf.zeros((), tf.float64), name="last")], "last"),
    ],
    ids=["one more", "another shape", "another dtype"],
)
def test_workers_that_make_other_variables_are_told_so(other, said):
    def work(strategy):
        with strategy.scope():
            tf.Variable(tf.ones(3), name="first")
            if strategy.worker_rank == 1:
                other()
            else:
                tf.Variable(0.0, name="last")
            tf.Variable(0.0, name="end")

    found = on_threads(2, 4, work)
    text = "\n".join(str(error) for error in found)
    assert any(isinstance(error, errors.CollectiveMismatchError) for error in found), text
    assert said in text
    assert "rank 1" in text


def test_history_is_the_same_text_on_any_number_of_workers():
    images, labels = golden_job.data()
    x, y = images[:130], labels[:130]

    def work(strategy):
        with strategy.scope():
            model = golden_job.build()
            model.compile(
                K.optimizers.Adam(1e-2, name="adam"),
                K.losses.SparseCategoricalCrossentropy(from_logits=True),
                metrics=["accuracy", K.metrics.SparseTopKCategoricalAccuracy(2, name="top")],
            )
        history = model.fit(
            x, y, batch_size=24, epochs=2, shuffle=False, verbose=0,
            validation_data=(images[200:251], labels[200:251]),
        )  # fmt: skip
        return json.dumps(history.history)

    golden = work(MirroredStrategy(logical_replicas=4))
    assert len(json.loads(golden)) == 6
    for workers in 1, 2, 3, 4:
        assert on_threads(workers, 4, work) == [golden] * workers


def test_the_older_name_of_the_strategy_takes_its_older_arguments():
    older = D.experimental.MultiWorkerMirroredStrategy
    strategy = older(communication=D.experimental.CollectiveCommunication.RING)
    assert isinstance(strategy, D.MultiWorkerMirroredStrategy)
    assert strategy.num_replicas_in_sync == 1
    with pytest.raises(errors.InvalidArgumentError, match="NCCL"):
        older(D.experimental.CollectiveCommunication.NCCL)
    assert D.experimental.CollectiveHints(bytes_per_pack=3).bytes_per_pack == 3


def test_names_that_are_not_there_say_so():
    for name in "PreemptionCheckpointHandler", "CentralStorageStrategy", "rpc":
        with pytest.raises(AttributeError, match=rf"tf.distribute.experimental.{name} is part of"):
            getattr(D.experimental, name)


def test_replicas_see_different_rows():
    """A job in which all ranks read the same rows trains, and nobody notices."""

    def work(strategy):
        data = strategy.experimental_distribute_dataset(tf.data.Dataset.range(24).batch(8))
        return [
            {row for part in strategy.experimental_local_results(step) for row in part.numpy()}
            for step in data
        ]

    workers = on_threads(3, 4, work)
    for step in range(3):
        rows = [parts[step] for parts in workers]
        assert all(rows)
        assert sum(map(len, rows)) == len(set().union(*rows)) == 8
        assert set().union(*rows) == set(np.arange(8 * step, 8 * step + 8))
