"""Attention in blocks of queries: equal to attention at once, and without the whole scores."""

import numpy as np
import pytest

import distflow as tf
from distflow.base import flags
from distflow.keras import layers, ops
from distflow.keras.query_blocks import block_rows

LENGTH, HEADS, SIZE = 1100, 2, 8  # not a multiple of a block


def numbers(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_only_long_sequences_are_cut():
    assert block_rows(512, 512, None) is None
    assert block_rows(1024, 1024, None) == 256
    assert block_rows(16384, 16384, None) == 512
    assert block_rows(64, 64, True) is None  # one block holds them
    assert block_rows(4096, 4096, False) is None
    assert block_rows(None, 4096, None) is None


def reference(q, k, v, hidden):
    scores = np.einsum("bqhd,bkhd->bhqk", q.astype(float), k.astype(float)) / np.sqrt(SIZE)
    scores = np.where(hidden, -np.inf, scores)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("bhqk,bkhd->bqhd", weights, v.astype(float))


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_result_and_gradients_equal_those_of_numpy_and_of_all_at_once(compiled):
    q, k, v = (tf.constant(numbers(1, LENGTH, HEADS, SIZE)[:, ::s]) for s in (1, 2, 2))
    k, v = k * 0.5, v + 1.0
    slope = tf.constant(numbers(1, LENGTH, HEADS, SIZE))
    bias = tf.constant(numbers(1, 1, 1, LENGTH // 2))

    def run(flash):
        with tf.GradientTape() as tape:
            tape.watch([q, k, v, bias])
            result = ops.dot_product_attention(q, k, v, bias, flash_attention=flash)
        return result, *tape.gradient(result, [q, k, v, bias], output_gradients=slope)

    run = tf.function(run) if compiled else run
    blocks, whole = run(True), run(False)
    for one, other in zip(blocks, whole):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)
    shifted = reference(q.numpy(), k.numpy(), v.numpy(), np.zeros((1, 1, 1, 1), bool))
    plain = ops.dot_product_attention(q, k, v, flash_attention=True)
    np.testing.assert_allclose(plain, shifted, rtol=1e-4, atol=1e-5)


def test_causal_attention_sees_no_later_key():
    q, k, v = (tf.constant(numbers(1, LENGTH, HEADS, SIZE)) for _ in range(3))
    found = ops.dot_product_attention(q, k, v, is_causal=True)
    hidden = np.triu(np.ones((LENGTH, LENGTH), bool), 1)
    np.testing.assert_allclose(
        found, reference(q.numpy(), k.numpy(), v.numpy(), hidden), rtol=1e-4, atol=1e-5
    )


def step_of(layer, x):
    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x, x, use_causal_mask=True, training=True) ** 2)
        return tape.gradient(loss, layer.trainable_variables)

    return step


@pytest.mark.parametrize("kind", ["multi", "grouped"])
def test_a_layers_gradients_do_not_depend_on_the_blocks(kind):
    x, found = tf.constant(numbers(1, LENGTH, 12)), []
    for flash in (None, False):
        tf.keras.utils.set_random_seed(3)
        if kind == "multi":
            layer = layers.MultiHeadAttention(2, 6, flash_attention=flash)
        else:
            layer = layers.GroupQueryAttention(6, 4, 2, flash_attention=flash)
        layer(x, x)
        found.append(step_of(layer, x)(x))
    largest = max(np.abs(other).max() for other in found[1])
    for one, other in zip(*found):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * largest)


@pytest.fixture
def arenas(monkeypatch):
    """Bytes of memory for values between, of each program that is made."""
    program = pytest.importorskip("distflow.compiler.cpu.program")
    made, make = [], program.Program.__init__

    def noting(self, plan, count):
        make(self, plan, count)
        made.append(plan.arena_bytes)

    monkeypatch.setattr(program.Program, "__init__", noting)
    with flags.override(DISTFLOW_EXECUTOR="cpu"):
        yield made


def test_the_scores_are_never_stored_whole(arenas):
    x = tf.constant(numbers(1, 2048, 12))
    scores = 2 * 2048 * 2048 * 4
    peak = {}
    for flash in (None, False):
        layer = layers.MultiHeadAttention(2, 6, flash_attention=flash)
        layer(x, x)
        arenas.clear()
        step_of(layer, x)(x)
        peak[flash] = max(arenas)
    assert peak[False] > scores
    assert peak[None] < scores / 2


def test_dropout_in_blocks_has_the_gradient_of_what_it_dropped():
    """Both passes draw the same mask: the slope along a direction is that of the loss."""
    tf.keras.utils.set_random_seed(5)
    layer = layers.MultiHeadAttention(1, 4, dropout=0.5, seed=1)
    x = tf.constant(numbers(1, LENGTH, 4))
    layer(x, x)
    generator = layer._dropout_layer.seed_generator
    state = generator.state.numpy()
    direction = tf.constant(numbers(1, LENGTH, 4)[:, ::-1])

    @tf.function
    def loss(x):
        return tf.reduce_sum(layer(x, x, training=True) * slope)

    slope = tf.constant(numbers(1, LENGTH, 4)) / LENGTH
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(x)
    expected = float(tf.reduce_sum(tape.gradient(value, x) * direction))
    step, values = 1e-2, []
    for sign in (1, -1):
        generator.state.assign(state)
        values.append(float(loss(x + sign * step * direction)))
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(expected, rel=2e-2)
    assert values[0] != float(loss(x + step * direction))  # another mask


def test_flash_attention_refuses_dropout():
    with pytest.raises(ValueError, match="dropout"):
        layers.MultiHeadAttention(2, 4, dropout=0.1, flash_attention=True)
