"""Wrong settings and inputs of layers: one clear error each."""

import numpy as np
import pytest

import distflow as tf
from distflow.keras import layers


def built(layer):
    layer.build((None, 4))
    return layer


def zeros(*shape):
    return np.zeros(shape, "float32")


CASES = [
    (lambda: layers.Dense(-1), "expected a positive integer"),
    (lambda: layers.Dense("a"), "expected a positive integer"),
    (lambda: layers.Dense(3)(zeros(2)), "min_ndim=2"),
    (lambda: layers.Dense(3, activation="rleu"), "Did you mean 'relu'"),
    (lambda: layers.Dense(3, kernel_initializer="glorot"), "initializer"),
    (lambda: layers.Conv2D(3, 3)(zeros(2, 4, 4)), "min_ndim=4"),
    (lambda: layers.Conv2D(3, (3, 3, 3)), "kernel_size"),
    (lambda: layers.Conv2D(3, 0), "kernel_size"),
    (lambda: layers.Conv2D(0, 3), "filters"),
    (lambda: layers.Conv2D(3, 3, strides=2, dilation_rate=2), "not supported in conjunction"),
    (lambda: layers.Conv2D(3, 3, groups=2), "evenly divisible"),
    (lambda: layers.Conv2D(4, 3, groups=2)(zeros(2, 4, 4, 3)), "evenly divisible"),
    (lambda: layers.Conv2D(4, 5)(zeros(2, 4, 4, 3)), "zero or negative"),
    (lambda: layers.Conv2D(4, 5, padding="foo"), "padding"),
    (lambda: layers.Conv2D(4, 5, padding="causal"), "padding"),
    (lambda: layers.MaxPooling2D(5)(zeros(2, 4, 4, 3)), "must fit"),
    (lambda: layers.Reshape((5,))(zeros(2, 4)), "total size"),
    (lambda: layers.Reshape((-1, -1)), "at most one"),
    (lambda: layers.Permute((1, 3)), "consecutive"),
    (lambda: layers.Dropout(1.5), "between 0 and 1"),
    (lambda: layers.BatchNormalization(axis=4)(zeros(2, 4)), "axis"),
    (lambda: layers.Embedding(3, 2)(np.array([[5]])), "received 5"),
    (lambda: layers.Add()(zeros(2, 4)), "list of inputs"),
    (lambda: layers.Add()([zeros(2, 4), zeros(2, 3)]), "incompatible shapes"),
    (lambda: layers.Concatenate()([zeros(2, 4), zeros(3, 3)]), "matching shapes"),
    (lambda: layers.Subtract()([zeros(2, 4)] * 3), "exactly 2"),
    (lambda: layers.Dot(1)([zeros(2, 4), zeros(2, 3)]), "axis values 4"),
    (lambda: layers.ZeroPadding2D((1, 2, 3)), "padding"),
    (lambda: layers.ReLU(max_value=-1), "negative"),
    (lambda: layers.LeakyReLU(None), "negative_slope"),
    (lambda: layers.GaussianNoise(-1), "between 0 and 1"),
    (lambda: layers.Cropping1D(3)(zeros(1, 5, 2)), "must leave something"),
    # Units and weights
    (lambda: layers.Dense(3, lora_rank=0), "positive integer"),
    (lambda: layers.Dense(3).enable_lora(2), "isn't yet built"),
    (lambda: built(layers.Dense(3, kernel_constraint="max_norm")).enable_lora(2), "incompatible"),
    (lambda: built(layers.Dense(3, lora_rank=1)).enable_lora(2), "already enabled"),
    (lambda: layers.EinsumDense("ab,bc", 3)(zeros(2, 4)), "Invalid einsum equation"),
    (lambda: layers.EinsumDense("ab,bc->ac", 3)(zeros(2, 4, 5)), "a label for each dimension"),
    (lambda: layers.EinsumDense("ab,bc->ac", (3, 4))(zeros(2, 4)), "output dimensions"),
    (lambda: layers.EinsumDense("ab,bc->ac", 3, bias_axes="d")(zeros(2, 4)), "Bias dimension 'd'"),
    (lambda: layers.EinsumDense("ab,cd->ad", 3)(zeros(2, 4)), "Weight dimension 'c'"),
    (lambda: layers.EinsumDense("ab,bc->ab", 3)(zeros(2, 4)), "do not match"),
    (lambda: layers.Embedding(0, 2), "input_dim"),
    (lambda: layers.Embedding(2, -1), "output_dim"),
    (lambda: layers.ReversibleEmbedding(3, 2, logit_soft_cap=-1.0), "logit_soft_cap"),
    (lambda: layers.PReLU(shared_axes=[5])(zeros(2, 4)), "shared_axes"),
    (lambda: layers.Dense(3, foo=1), "Unrecognized keyword"),
    (lambda: layers.Dense(3, name="a/b"), "cannot contain character"),
    (lambda: layers.Dense(3, dtype="float23"), "dtype"),
    # Convolutions and pooling
    (lambda: layers.Conv1D(3, 3, padding="foo"), "padding"),
    (lambda: layers.Conv2D(3, 3, data_format="channels_middle"), "data_format"),
    (lambda: layers.Conv2D(3, 3, groups=0), "groups"),
    (lambda: layers.Conv2DTranspose(3, 3, padding="causal"), "padding"),
    (lambda: layers.SeparableConv2D(3, 3)(zeros(2, 4, 4)), "min_ndim=4"),
    (lambda: layers.MaxPooling2D(0), "pool_size"),
    (lambda: layers.MaxPooling2D(2)(zeros(2, 4, 4)), "ndim=4"),
    (lambda: layers.AdaptiveMaxPooling2D(0), "output_size"),
    (lambda: layers.AdaptiveAveragePooling2D((1, 2, 3)), "must be a tuple of 2"),
    (lambda: layers.GlobalMaxPooling2D()(zeros(2, 4)), "ndim=4"),
    # Attention
    (lambda: layers.Attention(score_mode="cosine"), "score_mode"),
    (lambda: layers.Attention()(zeros(2, 3, 4)), "list of inputs"),
    (lambda: layers.Attention()([zeros(2, 3, 4)]), "list of inputs"),
    (lambda: layers.MultiHeadAttention(0, 3), "num_heads"),
    (lambda: layers.MultiHeadAttention(2, 0), "key_dim"),
    (lambda: layers.MultiHeadAttention(2, 3, dropout=2.0), "dropout"),
    (lambda: layers.MultiHeadAttention(2, 3, output_shape="a"), "output_shape"),
    (lambda: layers.MultiHeadAttention(2, 3, sliding_window=0), "sliding_window"),
    (lambda: layers.MultiHeadAttention(2, 3)(zeros(2, 3, 4), zeros(2, 3, 3, 4)), "same rank"),
    (
        lambda: layers.MultiHeadAttention(2, 3)(zeros(2, 3, 4), zeros(2, 5, 4), zeros(2, 6, 4)),
        "except the last one",
    ),
    (lambda: layers.GroupQueryAttention(3, 5, 2), "divisible"),
    (lambda: layers.GroupQueryAttention(3, 4, 2)(zeros(2, 3), zeros(2, 3)), "rank 3"),
    # Normalisation and noise
    (lambda: layers.GroupNormalization(groups=8)(zeros(2, 4)), "cannot be more than"),
    (lambda: layers.GroupNormalization(groups=3)(zeros(2, 4)), "divisor"),
    (lambda: layers.GroupNormalization(axis=5)(zeros(2, 4)), "axis"),
    (lambda: layers.LayerNormalization(axis=[3])(zeros(2, 4)), "axis"),
    (lambda: layers.RMSNormalization(axis=3)(zeros(2, 4)), "axis"),
    (lambda: layers.SpectralNormalization(layers.Dense(3), power_iterations=0), "greater than"),
    (lambda: layers.SpectralNormalization(layers.ReLU())(zeros(2, 4)), "'kernel' or 'embeddings'"),
    (lambda: layers.SpectralNormalization("dense"), "must be a Keras layer"),
    (lambda: layers.AlphaDropout(-0.1), "between 0 and 1"),
    (lambda: layers.Dropout("a"), "between 0 and 1"),
    (lambda: layers.SpatialDropout2D(0.5)(zeros(2, 4)), "ndim=4"),
    # Numbers, categories, text
    (lambda: layers.Normalization(mean=1.0), "both `mean` and `variance`"),
    (lambda: layers.Normalization(axis=3).build((2, 3)), "axis"),
    (lambda: layers.Normalization(mean=1.0, variance=1.0).adapt(zeros(2, 2)), "fixed ones"),
    (lambda: layers.Discretization(), "num_bins` or `bin_boundaries"),
    (lambda: layers.Discretization([1.0], num_bins=2), "should not be set"),
    (lambda: layers.Discretization(num_bins=-1), "num_bins"),
    (lambda: layers.Discretization([1.0], output_mode="foo"), "output_mode"),
    (lambda: layers.CategoryEncoding(), "num_tokens"),
    (lambda: layers.CategoryEncoding(3, output_mode="int"), "output_mode"),
    (lambda: layers.CategoryEncoding(3)(np.array([[-1]])), "0 <= values < num_tokens"),
    (
        lambda: layers.CategoryEncoding(3)(np.array([[1]]), count_weights=zeros(1, 1)),
        "count_weights",
    ),
    (lambda: layers.Hashing(0), "non-positive"),
    (lambda: layers.Hashing(3, salt="a"), "salt"),
    (lambda: layers.HashedCrossing(3)(np.array([1])), "list or tuple of inputs"),
    (lambda: layers.HashedCrossing(3)([np.array([1])]), "at least two"),
    (lambda: layers.HashedCrossing(3)([np.array([1]), np.array([1, 2])]), "equal shape"),
    (lambda: layers.HashedCrossing(3)([np.array([1]), np.array([1.5])]), "integer or string"),
    (lambda: layers.StringLookup(max_tokens=1), "greater than 1"),
    (lambda: layers.StringLookup(num_oov_indices=-1), "num_oov_indices"),
    (lambda: layers.StringLookup(vocabulary=[]), "empty vocabulary"),
    (lambda: layers.StringLookup(vocabulary=["a", "a"]), "repeated"),
    (lambda: layers.StringLookup(vocabulary=["a", "b"], max_tokens=2), "at most 2"),
    (lambda: layers.StringLookup(vocabulary="nowhere.txt"), "does not exist"),
    (lambda: layers.StringLookup(invert=True, output_mode="count"), "must be 'int'"),
    (lambda: layers.StringLookup(vocabulary=["a"], output_mode="tf_idf"), "idf_weights"),
    (lambda: layers.StringLookup(vocabulary=["a"], idf_weights=[1.0]), "tf_idf"),
    (lambda: layers.StringLookup(vocabulary=["a"], num_oov_indices=0)(["b"]), "in vocabulary"),
    (lambda: layers.IntegerLookup(vocabulary=["a"]), "integers"),
    (lambda: layers.IntegerLookup(oov_method="foo"), "oov_method"),
    (lambda: layers.IntegerLookup(vocabulary_dtype="float32"), "vocabulary_dtype"),
    (lambda: layers.TextVectorization(standardize="foo"), "standardize"),
    (lambda: layers.TextVectorization(split="foo"), "split"),
    (lambda: layers.TextVectorization(ngrams="a"), "ngrams"),
    (lambda: layers.TextVectorization(output_sequence_length=-1), "output_sequence_length"),
    (lambda: layers.TextVectorization(output_mode="count", output_sequence_length=3), "not 'int'"),
    (lambda: layers.TextVectorization(vocabulary=["a"])([["a", "b"]]), "input rank"),
    # Images
    (lambda: layers.Resizing(0, 3), "height"),
    (lambda: layers.Resizing(3, 3, interpolation="foo"), "interpolation"),
    (
        lambda: layers.Resizing(3, 3, crop_to_aspect_ratio=True, pad_to_aspect_ratio=True),
        "only one",
    ),
    (lambda: layers.Resizing(3, 3)(zeros(3, 3)), "rank 3"),
    (lambda: layers.RandomFlip("diagonal"), "mode"),
    (lambda: layers.RandomRotation(0.1, fill_mode="foo"), "fill_mode"),
    (lambda: layers.RandomRotation("a"), "factor"),
    (lambda: layers.RandomTranslation(2, 0.1), "height_factor"),
    (lambda: layers.RandomBrightness(2), "factor"),
    (lambda: layers.RandomBrightness(0.1, value_range=1), "value_range"),
    (lambda: layers.RandomBrightness(0.1, value_range=(1, 0)), "ascending"),
    (lambda: layers.RandomContrast(-1), "factor"),
    (lambda: layers.RandomGrayscale(2), "between 0 and 1"),
    (lambda: layers.RandomCrop(3, 3, seed="a"), "seed"),
    (lambda: layers.RandomShear(x_factor=3), "x_factor"),
    # Wrappers and merging
    (lambda: layers.TimeDistributed("dense"), "layer"),
    (lambda: layers.Bidirectional(layers.Dense(3)), "go_backwards"),
    (lambda: layers.Wrapper(3), "must be a Keras layer"),
    (lambda: layers.Average()([]), "list of inputs"),
    (lambda: layers.UpSampling2D((1, 2, 3)), "size"),
    (lambda: layers.Cropping2D(((1, 2, 3), 1)), "cropping"),
]


@pytest.mark.parametrize(("call", "message"), CASES)
def test_mistake_is_one_clear_error(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value).split(".")[0]


def test_the_table_is_long():
    assert len(CASES) >= 100


OTHER_KINDS = [
    (lambda: layers.StringLookup()(["a"]), tf.errors.FailedPreconditionError, "adapt"),
    (
        lambda: layers.Discretization(num_bins=3)(zeros(2)),
        tf.errors.FailedPreconditionError,
        "adapt",
    ),
    (lambda: layers.TextVectorization()(["a"]), tf.errors.FailedPreconditionError, "adapt"),
    (lambda: layers.StringLookup(vocabulary=["a"])([1]), TypeError, "expected strings"),
    (lambda: layers.IntegerLookup(vocabulary=[1])(["a"]), TypeError, "expected integers"),
    (lambda: layers.StringLookup(vocabulary=[1]), TypeError, "vocabulary of strings"),
    (lambda: layers.TextVectorization(vocabulary=["a"])([1]), TypeError, "expected strings"),
    (lambda: layers.TextVectorization(ragged=True), tf.errors.UnimplementedError, "ragged"),
    (lambda: layers.CategoryEncoding(3, sparse=True), tf.errors.UnimplementedError, "sparse"),
    (lambda: layers.Dense(3, quantization_config=3), ValueError, "QuantizationConfig"),
    (
        lambda: layers.MultiHeadAttention(1, 1, dropout=0.1, flash_attention=True),
        ValueError,
        "flash_attention",
    ),
    (
        lambda: layers.RandomFlip()(
            {"images": zeros(1, 2, 2, 3), "bounding_boxes": zeros(1, 1, 4)}
        ),
        tf.errors.UnimplementedError,
        "bounding boxes",
    ),
    (lambda: layers.Dot("a"), TypeError, "axes"),
    (lambda: layers.UnitNormalization("a"), TypeError, "axis"),
    (lambda: layers.LayerNormalization(axis="a"), TypeError, "axis"),
]


@pytest.mark.parametrize(("call", "kind", "message"), OTHER_KINDS)
def test_other_mistakes_have_their_own_class(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_channels_are_checked_against_those_of_the_first_call():
    layer = layers.Conv2D(2, 1)
    layer(zeros(1, 3, 3, 3))
    with pytest.raises(ValueError, match="value 3"):
        layer(zeros(1, 3, 3, 4))


def test_repeat_vector_needs_an_int():
    with pytest.raises(TypeError, match="integer"):
        layers.RepeatVector("a")
