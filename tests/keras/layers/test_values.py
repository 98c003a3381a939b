"""What layers compute, against formulas in NumPy."""

import numpy as np
import pytest

import distflow as tf
from distflow.core.convert import convert_to_tensor
from distflow.keras import layers

RNG = np.random.default_rng(3)


def x(*shape):
    return RNG.normal(size=shape).astype("float32")


def test_dense_is_a_matrix_product_plus_bias():
    layer, inputs = layers.Dense(3, bias_initializer="ones"), x(2, 4)
    output = layer(inputs)
    kernel, bias = layer.get_weights()
    np.testing.assert_allclose(output, inputs @ kernel + bias, rtol=1e-5, atol=1e-6)


def test_dense_takes_integers():
    assert layers.Dense(2)(np.ones((3, 4), "uint8")).shape == (3, 2)


def test_convolution_of_the_seed_accepts_images_of_any_size():
    layer = layers.Conv2D(16, [3, 3], activation="relu", input_shape=(None, None, 1))
    assert layer(x(1, 28, 28, 1)).shape == (1, 26, 26, 16)
    assert layer(x(2, 12, 9, 1)).shape == (2, 10, 7, 16)


def test_convolution_is_a_sum_over_the_window():
    layer, inputs = layers.Conv2D(2, 3, use_bias=False), x(1, 4, 4, 2)
    output = layer(inputs).numpy()
    (kernel,) = layer.get_weights()
    for i in range(2):
        for j in range(2):
            window = inputs[0, i : i + 3, j : j + 3]
            expected = np.tensordot(window, kernel, 3)
            np.testing.assert_allclose(output[0, i, j], expected, rtol=1e-4, atol=1e-5)


def test_channels_first_is_the_transposed_convolution():
    first = layers.Conv2D(3, 3, data_format="channels_first", bias_initializer="ones")
    last = layers.Conv2D(3, 3)
    inputs = x(2, 5, 5, 2)
    expected = last(inputs)
    first.build((None, 2, 5, 5))
    first.set_weights(last.get_weights())
    output = first(inputs.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(output.numpy().transpose(0, 2, 3, 1), expected, rtol=1e-5, atol=1e-6)


def test_batch_normalization_uses_the_batch_in_training():
    layer, inputs = layers.BatchNormalization(), x(64, 3) * 2 + 5
    output = layer(inputs, training=True).numpy()
    np.testing.assert_allclose(output.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(output.var(0), 1, rtol=1e-2)


def test_moving_statistics_keep_the_momentum():
    layer, inputs = layers.BatchNormalization(momentum=0.9), x(64, 3)
    layer(inputs, training=True)
    np.testing.assert_allclose(layer.moving_mean.numpy(), 0.1 * inputs.mean(0), rtol=1e-4)
    expected = 0.9 + 0.1 * inputs.var(0)
    np.testing.assert_allclose(layer.moving_variance.numpy(), expected, rtol=1e-5)


def test_moving_statistics_stay_outside_training():
    layer = layers.BatchNormalization()
    layer(x(8, 3), training=False)
    np.testing.assert_array_equal(layer.moving_mean.numpy(), np.zeros(3))


def test_a_frozen_batch_normalization_does_not_move():
    layer = layers.BatchNormalization()
    layer.build((None, 3))
    layer.trainable = False
    layer(x(8, 3), training=True)
    np.testing.assert_array_equal(layer.moving_mean.numpy(), np.zeros(3))


def test_batch_normalization_leaves_masked_steps_out_of_the_statistics():
    layer, inputs = layers.BatchNormalization(momentum=0.0), x(2, 3, 2)
    mask = np.array([[True, True, False], [True, False, False]])
    layer(inputs, training=True, mask=mask)
    np.testing.assert_allclose(layer.moving_mean.numpy(), inputs[mask].mean(0), rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance.numpy(), inputs[mask].var(0), rtol=1e-4)


def test_batch_normalization_updates_inside_a_function():
    layer = layers.BatchNormalization(momentum=0.5)
    layer.build((None, 2))
    step = tf.function(lambda v: layer(v, training=True))
    inputs = x(16, 2)
    step(convert_to_tensor(inputs))
    np.testing.assert_allclose(layer.moving_mean.numpy(), 0.5 * inputs.mean(0), rtol=1e-4)


def test_layer_normalization_normalises_rows():
    output = layers.LayerNormalization(epsilon=1e-6)(x(4, 50)).numpy()
    np.testing.assert_allclose(output.mean(1), 0, atol=1e-6)
    np.testing.assert_allclose(output.var(1), 1, rtol=1e-4)


def test_dropout_does_nothing_outside_training():
    inputs = x(4, 5)
    np.testing.assert_array_equal(layers.Dropout(0.5)(inputs), inputs)


def test_dropout_keeps_the_mean():
    output = layers.Dropout(0.3, seed=1)(np.ones((1000, 20), "float32"), training=True).numpy()
    np.testing.assert_allclose(np.unique(output), [0, 1 / 0.7], rtol=1e-6)
    assert (output == 0).mean() == pytest.approx(0.3, abs=0.01)


def test_dropout_draws_a_new_mask_in_each_call_and_repeats_with_its_seed():
    inputs = np.ones((4, 50), "float32")
    first, second = layers.Dropout(0.5, seed=7), layers.Dropout(0.5, seed=7)
    a, b = first(inputs, training=True).numpy(), first(inputs, training=True).numpy()
    assert (a != b).any()
    np.testing.assert_array_equal(a, second(inputs, training=True))
    np.testing.assert_array_equal(b, second(inputs, training=True))


def test_dropout_draws_a_new_mask_in_each_run_of_a_function():
    layer = layers.Dropout(0.5, seed=7)
    step = tf.function(lambda v: layer(v, training=True))
    inputs = convert_to_tensor(np.ones((4, 50), "float32"))
    assert (step(inputs).numpy() != step(inputs).numpy()).any()
    np.testing.assert_array_equal(layer.seed_generator.state.numpy(), [7, 2])


def test_noise_shape_makes_rows_share_their_mask():
    layer = layers.Dropout(0.5, noise_shape=(None, 1), seed=1)
    output = layer(np.ones((20, 5), "float32"), training=True).numpy()
    assert (output == output[:, :1]).all()
    assert 0 < output.mean() < 2


def test_spatial_dropout_drops_whole_channels():
    output = layers.SpatialDropout2D(0.5, seed=2)(np.ones((8, 3, 3, 6), "float32"), training=True)
    output = output.numpy()
    assert (output == output[:, :1, :1]).all()
    assert len(np.unique(output)) == 2


def test_gaussian_noise_has_its_standard_deviation():
    output = layers.GaussianNoise(0.5, seed=1)(np.zeros((500, 20), "float32"), training=True)
    assert output.numpy().std() == pytest.approx(0.5, rel=0.05)


def test_embedding_hands_a_mask_to_layers_behind():
    embedding = layers.Embedding(5, 3, mask_zero=True)
    rows = embedding(np.array([[1, 2, 0, 0]]))
    mean = layers.GlobalAveragePooling1D()(rows).numpy()
    np.testing.assert_allclose(mean[0], embedding.get_weights()[0][[1, 2]].mean(0), rtol=1e-5)


def test_masking_zeroes_and_masks():
    inputs = np.array([[[1.0, 2.0], [0.0, 0.0]]], "float32")
    output = layers.Masking()(inputs)
    assert output._keras_mask.numpy().tolist() == [[True, False]]


def test_merged_masks_are_true_where_one_is():
    first, second = (convert_to_tensor(x(1, 3, 2)) for _ in range(2))
    first._keras_mask = convert_to_tensor([[True, True, False]])
    second._keras_mask = convert_to_tensor([[True, False, False]])
    assert layers.Add()([first, second])._keras_mask.numpy().tolist() == [[True, True, False]]


def test_softmax_gives_no_weight_to_what_is_masked():
    output = layers.Softmax()(np.zeros((1, 4), "float32"), mask=np.array([[1, 1, 0, 0]], bool))
    np.testing.assert_allclose(output.numpy(), [[0.5, 0.5, 0, 0]], atol=1e-7)


def test_rescaling_turns_bytes_into_floats():
    output = layers.Rescaling(1 / 255)(np.array([[0, 255]], "uint8"))
    assert output.dtype == "float32"
    np.testing.assert_allclose(output.numpy(), [[0, 1]])


def test_lambda_hands_arguments_on():
    layer = layers.Lambda(lambda v, factor: v * factor, arguments={"factor": 3.0})
    np.testing.assert_allclose(layer(np.ones((1, 2), "float32")).numpy(), [[3, 3]])


def test_max_pooling_of_padded_negative_numbers_never_gives_the_padding():
    output = layers.MaxPooling2D(3, strides=2, padding="same")(-np.ones((1, 4, 4, 1), "float32"))
    assert (output.numpy() == -1).all()


def test_average_pooling_does_not_count_the_padding():
    output = layers.AveragePooling2D(3, strides=2, padding="same")(np.ones((1, 4, 4, 1), "f"))
    np.testing.assert_allclose(output.numpy(), 1)


def test_mixed_precision_computes_in_16_bits_and_keeps_float32_weights():
    layer = layers.Dense(3, dtype="mixed_bfloat16")
    assert layer(x(2, 4)).dtype == "bfloat16"
    assert layer.kernel.numpy().dtype == np.float32
