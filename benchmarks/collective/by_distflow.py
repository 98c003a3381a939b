"""distflow's collectives, on the transport that a strategy of this job would use."""

import importlib

import numpy as np

from distflow import cluster
from distflow.comm import Communicator

VERSION = "distflow"


class Reducer:
    """The communicator of the job, over whatever DISTFLOW_BACKEND says.

    The variant "allocated" reduces arrays that the communicator has allocated, where they lie;
    the other one any arrays, into others.
    """

    version = VERSION

    def __init__(self, variant):
        environment = cluster.resolve()
        over = importlib.import_module(f"distflow.distribute.over_{environment.backend}")
        self.communicator = Communicator(over.connect(environment))
        self.rank = self.communicator.rank
        self._kind = _Allocated if variant == "allocated" else _Any

    def buffer(self, elements):
        """Returns a buffer of float32 that can be reduced."""
        return self._kind(self.communicator, elements)


class _Any:
    def __init__(self, communicator, elements):
        self._communicator = communicator
        self._source = np.zeros(elements, np.float32)
        self._target = np.empty_like(self._source)
        self._leaves = {communicator.rank: [self._source]}
        self._out = [self._target]

    def set(self, value):
        self._source[...] = value

    def all_reduce(self):
        self._communicator.all_reduce(self._leaves, name="gradients", out=self._out)

    def last(self):
        return float(self._target[-1])


class _Allocated:
    def __init__(self, communicator, elements):
        self._communicator = communicator
        self._arrays = communicator.allocate([np.empty(elements, np.float32)], name="gradients")

    def set(self, value):
        self._arrays.result[0][...] = value

    def all_reduce(self):
        self._communicator.all_reduce(self._arrays, name="gradients")

    def last(self):
        return float(self._arrays.result[0][-1])
