"""What tests of variables in compiled steps share."""

import numpy as np

import distflow as tf

START = np.arange(12, dtype=np.float32).reshape(3, 4)


def address(v):
    """Where a variable's value lies."""
    return v.storage.read().__array_interface__["data"][0]


def growing(v):
    """A step that adds one to a variable."""

    @tf.function
    def step():
        v.assign_add(tf.ones_like(v))

    return step
