"""What a layer holds is found whenever it was put there."""

import distflow as tf


class Holder(tf.keras.layers.Layer):
    """A layer with whatever a test puts into it."""


def dense():
    layer = tf.keras.layers.Dense(2)
    layer.build((None, 3))
    return layer


def test_a_layer_set_after_the_weights_were_asked_for_is_found():
    holder = Holder()
    assert holder.weights == []
    holder.inner = dense()
    assert len(holder.weights) == 2


def test_a_layer_appended_to_a_list_is_found():
    holder = Holder()
    holder.inner = []
    assert holder.weights == []
    holder.inner.append(dense())
    assert len(holder.weights) == 2


def test_a_plain_value_that_becomes_a_layer_is_found():
    holder = Holder()
    holder.inner = None
    assert holder.weights == []
    holder.inner = dense()
    assert len(holder.weights) == 2


def test_a_layer_that_is_replaced_or_deleted_is_gone():
    holder = Holder()
    holder.inner = dense()
    first = holder.weights
    holder.inner = dense()
    assert all(v is not w for v, w in zip(holder.weights, first))
    del holder.inner
    assert holder.weights == []


def test_weights_keep_the_order_in_which_their_attributes_were_first_set():
    holder = Holder()
    holder.first, holder.second = dense(), dense()
    kernels = [holder.first.kernel, holder.second.kernel]
    assert [holder.weights[0], holder.weights[2]] == kernels
