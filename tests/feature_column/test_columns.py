"""Columns one by one. Ids and numbers are those of tf.feature_column in TensorFlow 2.21."""

import numpy as np
import pytest

from distflow import feature_column as fc
from distflow.autodiff import GradientTape
from distflow.base import dtypes, errors
from distflow.core.variable import Variable
from distflow.feature_column.column import Features
from distflow.feature_column.serialization import deserialize, serialize

AGE = fc.numeric_column("age")
AGE_BUCKETS = fc.bucketized_column(AGE, boundaries=[18, 25, 30, 35, 40, 45, 50, 55, 60, 65])
THAL = fc.categorical_column_with_vocabulary_list("thal", ["fixed", "normal", "reversible"])
CROSS = fc.crossed_column([AGE_BUCKETS, THAL], hash_bucket_size=1000)
PATIENTS = {
    "age": [17, 18, 24, 25, 65, 70, 44],
    "thal": ["fixed", "normal", "reversible", "fixed", "normal", "oops", ""],
}


# -- numeric and bucketized -----------------------------------------------------------------


@pytest.mark.parametrize("values", [[1, 2], [[1], [2]], np.array([1.0, 2.0]), np.int64([1, 2])])
def test_numeric_column_gives_float32_columns(values):
    result = AGE.dense(Features({"age": values}), {})
    assert result.dtype is dtypes.float32
    assert result.numpy().tolist() == [[1.0], [2.0]]


def test_numeric_column_flattens_its_shape(dense):
    column = fc.numeric_column("x", shape=(2, 2))
    assert dense(column, {"x": [[[1, 2], [3, 4]]]}) == [[1.0, 2.0, 3.0, 4.0]]


def test_normalizer_is_applied(dense):
    column = fc.numeric_column("x", normalizer_fn=lambda x: (x - 3.0) / 2.0)
    assert dense(column, {"x": [1.0, 2.0]}) == [[-1.0], [-0.5]]


def test_buckets_are_closed_on_the_left(dense):
    hot = np.array(dense(AGE_BUCKETS, PATIENTS))
    assert hot.shape == (7, 11)
    assert hot.sum(1).tolist() == [1.0] * 7
    assert hot.argmax(1).tolist() == [0, 1, 1, 2, 10, 10, 5]


def test_nan_falls_in_the_last_bucket(dense):
    column = fc.bucketized_column(AGE, [1.0, 2.0])
    hot = dense(column, {"age": [float("nan"), float("inf"), 2.0]})
    assert np.argmax(hot, 1).tolist() == [2, 2, 2]


def test_buckets_of_several_numbers_follow_one_another(dense, ids):
    column = fc.bucketized_column(fc.numeric_column("x", shape=(2,)), [0.0, 1.0])
    features = {"x": [[-1.0, 0.0], [0.5, 1.0]]}
    assert dense(column, features) == [[1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, 1]]
    assert ids(column, features) == [[0, 4], [1, 5]]
    assert column.num_buckets == 6


# -- categorical ------------------------------------------------------------------------------


def test_vocabulary_ids(ids):
    assert ids(THAL, PATIENTS) == [[0], [1], [2], [0], [1], [-1], []]


def test_values_outside_the_vocabulary_go_to_buckets_by_hash(ids):
    words = fc.categorical_column_with_vocabulary_list("v", ["a", "b"], num_oov_buckets=3)
    assert ids(words, {"v": ["a", "c", "dd", "", "zzz", "b"]}) == [[0], [3], [3], [], [2], [1]]
    numbers = fc.categorical_column_with_vocabulary_list("v", [10, 20, 30], num_oov_buckets=4)
    found = ids(numbers, {"v": np.array([10, 11, -1, 30, 99, 1234])})
    assert found == [[0], [6], [], [2], [5], [5]]


def test_default_value_stands_for_unknown_values(ids):
    column = fc.categorical_column_with_vocabulary_list("v", ["a", "b"], default_value=1)
    assert ids(column, {"v": ["a", "c", ""]}) == [[0], [1], []]


def test_vocabulary_file_is_a_list_of_its_lines(tmp_path, ids):
    file = tmp_path / "words.txt"
    file.write_text("fixed\nnormal\nreversible\n")
    make = fc.categorical_column_with_vocabulary_file
    assert make("thal", file) == THAL
    assert ids(make("thal", file, vocabulary_size=1), PATIENTS)[:3] == [[0], [-1], [-1]]
    with pytest.raises(errors.InvalidArgumentError, match=r"\[1, 3\]"):
        make("thal", file, vocabulary_size=4)
    with pytest.raises(errors.NotFoundError, match=r"none\.txt"):
        make("thal", tmp_path / "none.txt")


def test_identity_ids(ids):
    plain = fc.categorical_column_with_identity("i", 5)
    assert ids(plain, {"i": [0, 4, -1]}) == [[0], [4], []]
    defaulted = fc.categorical_column_with_identity("i", 5, default_value=2)
    assert ids(defaulted, {"i": [-2, 7, -1, 1]}) == [[2], [2], [], [1]]


@pytest.mark.parametrize("value", [5, -2])
def test_identity_out_of_range_is_an_error_without_default(value, ids):
    with pytest.raises(errors.InvalidArgumentError, match=rf"\[0, 5\); received {value}"):
        ids(fc.categorical_column_with_identity("i", 5), {"i": [0, value]})


def test_hash_ids(ids):
    words = fc.categorical_column_with_hash_bucket("h", 10)
    assert ids(words, {"h": ["a", "b", "", "hello"]}) == [[9], [2], [], [6]]
    numbers = fc.categorical_column_with_hash_bucket("h", 10, dtype=dtypes.int64)
    assert ids(numbers, {"h": np.array([1, 2, -1, 12345, -7])}) == [[9], [9], [], [8], [2]]


# -- crossed ----------------------------------------------------------------------------------


def test_cross_of_columns_keeps_unknown_values_and_drops_missing_ones(ids):
    assert ids(CROSS, PATIENTS) == [[304], [641], [357], [441], [712], [82], []]


def test_cross_of_raw_features_counts_empty_values(ids):
    features = {"a": [["x", "y"], ["", "z"]], "b": [[1, 2], [-1, 3]]}
    assert ids(fc.crossed_column(["a", "b"], 1000), features) == [
        [727, 374, 326, 832],
        [969, 537, 848, 809],
    ]
    assert ids(fc.crossed_column(["b", "a"], 1000), features) == [
        [859, 725, 569, 604],
        [554, 963, 781, 679],
    ]


def test_cross_takes_a_hash_key(ids):
    features = {"a": ["x", "y"], "b": ["p", "q"]}
    assert ids(fc.crossed_column(["a", "b"], 100), features) == [[52], [92]]
    assert ids(fc.crossed_column(["a", "b"], 1000, hash_key=12345), features) == [[462], [331]]


def test_cross_inside_a_cross_is_taken_apart(ids):
    nested = fc.crossed_column([CROSS, "sex"], 1000)
    found = ids(nested, {**PATIENTS, "sex": list("mfmfmfm")})
    assert found == [[171], [782], [842], [119], [503], [986], []]


def test_cross_of_several_values_with_missing_ones(ids):
    column = fc.crossed_column([THAL, "a"], 1000)
    features = {"thal": [["fixed", "normal"], ["", "fixed"], ["zz", ""]], "a": ["x", "y", "z"]}
    assert ids(column, features) == [[43, 859], [411], [963]]


def test_cross_of_identity_ids(ids):
    column = fc.crossed_column([fc.categorical_column_with_identity("i", 5), "a"], 1000)
    assert ids(column, {"i": [0, 4], "a": ["x", "y"]}) == [[43], [101]]


# -- indicator and embedding ------------------------------------------------------------------


def test_indicator_counts_and_ignores_unknown_values(dense):
    features = {"thal": [["fixed", "fixed"], ["normal", "zz"], ["", "reversible"]]}
    assert dense(fc.indicator_column(THAL), features) == [[2, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_indicator_of_a_cross(dense):
    hot = np.array(dense(fc.indicator_column(CROSS), PATIENTS))
    assert hot.shape == (7, 1000)
    assert hot.argmax(1).tolist() == [304, 641, 357, 441, 712, 82, 0]
    assert hot.sum(1).tolist() == [1, 1, 1, 1, 1, 1, 0]


TABLE = {"embedding_weights": np.arange(1, 7, dtype=np.float32).reshape(3, 2)}
SEVERAL = {"thal": [["fixed", "normal", "normal"], ["zz", "", ""], ["", "reversible", "zz"]]}


@pytest.mark.parametrize(
    ("combiner", "first"),
    [("mean", [7 / 3, 10 / 3]), ("sum", [7.0, 10.0]), ("sqrtn", [4.0414519, 5.7735023])],
)
def test_embedding_combines_rows(combiner, first, dense):
    column = fc.embedding_column(THAL, 2, combiner=combiner)
    expected = [first, [0.0, 0.0], [5.0, 6.0]]
    np.testing.assert_allclose(dense(column, SEVERAL, TABLE), expected, rtol=1e-6)


def test_long_rows_are_scaled_to_max_norm(dense):
    column = fc.embedding_column(THAL, 2, max_norm=1.0)
    expected = [[0.4472135901451111, 0.8944271802902222], [0.6, 0.8]]
    found = dense(column, {"thal": ["fixed", "normal"]}, TABLE)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_gradient_reaches_the_rows_that_were_read():
    table = Variable(TABLE["embedding_weights"])
    column = fc.embedding_column(THAL, 2, combiner="sum")
    with GradientTape() as tape:
        y = column.dense(Features(SEVERAL), {"embedding_weights": table})
    gradient = tape.gradient(y, table)
    assert np.asarray(gradient).tolist() == [[1.0, 1.0], [2.0, 2.0], [1.0, 1.0]]


def test_embedding_starts_with_a_truncated_normal_of_its_dimension():
    weights = fc.embedding_column(THAL, 4).initial_weights((4000, 4)).numpy()
    assert np.abs(weights).max() <= 2 / np.sqrt(4)
    # 0.8796 is the deviation of a standard normal cut off at two.
    np.testing.assert_allclose(weights.std(), 0.8796 / np.sqrt(4), rtol=0.03)


def test_names_equal_tensorflows():
    assert AGE_BUCKETS.name == "age_bucketized"
    assert CROSS.name == "age_bucketized_X_thal"
    assert fc.indicator_column(CROSS).name == "age_bucketized_X_thal_indicator"
    assert fc.embedding_column(THAL, 8).name == "thal_embedding"
    assert fc.crossed_column(["b", "a"], 10).name == "a_X_b"
    assert fc.crossed_column([CROSS, "z"], 10).name == "age_bucketized_X_thal_X_z"


# -- bad input --------------------------------------------------------------------------------

HASHED = fc.categorical_column_with_hash_bucket("h", 10)
WRONG = {
    "cross of a hashed column": (lambda: fc.crossed_column([HASHED, "a"], 10), "name of the feat"),
    "cross of a number": (lambda: fc.crossed_column([AGE, "a"], 10), "categorical columns"),
    "cross of one": (lambda: fc.crossed_column(["a"], 10), "at least two"),
    "no cross buckets": (lambda: fc.crossed_column(["a", "b"], 0), "hash_bucket_size"),
    "double words": (lambda: fc.categorical_column_with_vocabulary_list("v", ["a", "a"]), "disti"),
    "no words": (lambda: fc.categorical_column_with_vocabulary_list("v", []), "not be empty"),
    "floats": (lambda: fc.categorical_column_with_vocabulary_list("v", [1.5]), "string or int"),
    "default and buckets": (
        lambda: fc.categorical_column_with_vocabulary_list("v", ["a"], None, 0, 2), "both"),
    "default out of range": (
        lambda: fc.categorical_column_with_identity("i", 5, default_value=5), r"\[0, 5\)"),
    "no hash buckets": (lambda: fc.categorical_column_with_hash_bucket("h", 0), ">= 1"),
    "hashed floats": (
        lambda: fc.categorical_column_with_hash_bucket("h", 3, dtypes.float32), "string or int"),
    "strings as numbers": (lambda: fc.numeric_column("x", dtype=dtypes.string), "to float"),
    "empty shape": (lambda: fc.numeric_column("x", shape=0), "> 0"),
    "default of another shape": (
        lambda: fc.numeric_column("x", shape=(2,), default_value=[1.0, 2.0, 3.0]), "default_value"),
    "normalizer that is none": (lambda: fc.numeric_column("x", normalizer_fn=3), "function"),
    "key that is none": (lambda: fc.numeric_column(3), "name of a feature"),
    "unsorted boundaries": (lambda: fc.bucketized_column(AGE, [3, 1]), "increasing"),
    "equal boundaries": (lambda: fc.bucketized_column(AGE, [1, 1]), "increasing"),
    "no boundaries": (lambda: fc.bucketized_column(AGE, []), "at least one"),
    "buckets of a name": (lambda: fc.bucketized_column("age", [1]), "numeric_column"),
    "buckets of a matrix": (
        lambda: fc.bucketized_column(fc.numeric_column("x", shape=(2, 2)), [1]), "one dimension"),
    "indicator of numbers": (lambda: fc.indicator_column(AGE), "categorical column"),
    "dimension 0": (lambda: fc.embedding_column(THAL, 0), "dimension"),
    "dimension 1.5": (lambda: fc.embedding_column(THAL, 1.5), "dimension"),
    "combiner": (lambda: fc.embedding_column(THAL, 3, combiner="max"), "combiner"),
    "initializer": (lambda: fc.embedding_column(THAL, 3, initializer=3), "initializer"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_column_is_an_error_at_once(name):
    make, message = WRONG[name]
    with pytest.raises(errors.InvalidArgumentError, match=message):
        make()


@pytest.mark.parametrize(
    ("column", "features", "message"),
    [
        (AGE, {"x": [1]}, r"'age' must be in the features; received \['x'\]"),
        (AGE, {"age": 1.0}, "a scalar"),
        (AGE, {"age": ["a"]}, "received strings"),
        (AGE, {"age": [[1, 2]]}, r"\[batch, 1\]; received \[1, 2\]"),
        (fc.indicator_column(THAL), {"thal": [1]}, "string; received int32"),
        (fc.indicator_column(HASHED), {"h": [1]}, "string; received int32"),
        (fc.indicator_column(fc.crossed_column(["a", "b"], 9)), {"a": [1.5], "b": [1]}, "bucketi"),
    ],
)
def test_wrong_feature_is_an_error(column, features, message, dense):
    with pytest.raises(errors.InvalidArgumentError, match=message):
        dense(column, features)


def test_features_must_be_a_dict():
    with pytest.raises(errors.InvalidArgumentError, match="dict"):
        Features([1, 2])


# -- as data ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "column",
    [
        fc.numeric_column("x", shape=(2,), default_value=[1.0, 2.0], dtype=dtypes.int64),
        AGE_BUCKETS,
        fc.indicator_column(CROSS),
        fc.indicator_column(HASHED),
        fc.indicator_column(fc.categorical_column_with_identity("i", 5, 2)),
        fc.embedding_column(THAL, 8, combiner="sum", max_norm=2.0, trainable=False),
    ],
)
def test_columns_come_back_from_data(column):
    assert deserialize(serialize(column)) == column


def test_column_with_a_function_cannot_be_data():
    with pytest.raises(errors.InvalidArgumentError, match="normalizer_fn"):
        serialize(fc.numeric_column("x", normalizer_fn=abs))
