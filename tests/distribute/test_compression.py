"""Gradients in fewer bits: the same bits for any number of workers, and others than without."""

import pytest

import distflow as tf
from distflow.base import errors
from distflow.comm import Communicator, InProcessHub
from distflow.comm.compression import Compressor
from tests.comm.groups import run_threads, values
from tests.distribute import golden_job

Options = tf.distribute.experimental.CommunicationOptions
STEPS = 6


def train(world_size, method, run_eagerly=False):
    hub = InProcessHub(world_size)

    def fn(rank):
        c = Communicator(hub.endpoint(rank), golden_job.REPLICAS, timeout_seconds=60)
        strategy = tf.distribute.MultiWorkerMirroredStrategy(communicator=c)
        if method is not None:
            strategy.compressor = Compressor(c, method)
        return golden_job.digest(golden_job.trained(strategy, STEPS, run_eagerly))

    return values(run_threads(world_size, fn))


@pytest.mark.parametrize("run_eagerly", [False, True])
@pytest.mark.parametrize("method", ["bf16", "int8"])
def test_compressed_gradients_give_the_bits_of_one_worker(method, run_eagerly):
    one = train(1, method, run_eagerly)
    assert train(2, method, run_eagerly) == one * 2
    assert one != train(1, None, run_eagerly)


def test_the_option_reaches_the_strategy(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    strategy = tf.distribute.MultiWorkerMirroredStrategy(
        communication_options=Options(compression="bf16")
    )
    assert strategy.compressor.method == "bf16"


@pytest.mark.parametrize("method", ["int8", "fp16", True])
def test_other_methods_are_refused(method):
    with pytest.raises(errors.InvalidArgumentError, match="compression must be None"):
        Options(compression=method)
