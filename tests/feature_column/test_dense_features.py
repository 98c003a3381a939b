"""DenseFeatures: order, names, tables, traces, and the heart-disease program of the seed."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from distflow import feature_column, keras
from distflow.autodiff import GradientTape
from distflow.base import dtypes, errors
from distflow.base.specs import TensorSpec
from distflow.data import Dataset
from distflow.graph import build
from distflow.keras import layers
from distflow.keras.layers import DenseFeatures

AGE = feature_column.numeric_column("age")
BUCKETS = feature_column.bucketized_column(AGE, [18, 25, 30, 35, 40, 45, 50, 55, 60, 65])
THAL = feature_column.categorical_column_with_vocabulary_list(
    "thal", ["fixed", "normal", "reversible"]
)
CROSSED = feature_column.crossed_column([BUCKETS, THAL], hash_bucket_size=1000)
COLUMNS = [
    feature_column.indicator_column(THAL),
    feature_column.embedding_column(THAL, dimension=8),
    feature_column.indicator_column(CROSSED),
    BUCKETS,
    AGE,
]
FEATURES = {"age": np.array([17, 44]), "thal": np.array(["fixed", "normal"], object)}
# Sorted by name: age, age_bucketized, age_bucketized_X_thal_indicator, thal_embedding,
# thal_indicator.
WIDTHS = [1, 11, 1000, 8, 3]
# From tf.feature_column of TF 2.21 on heart.csv: sums over its rows of the age bucket and of the
# crossed bucket, and how often each value of thal occurs.
HEART_AGE = 2214
HEART_CROSS = 158534
HEART_THAL = [18.0, 164.0, 115.0]


def test_columns_stand_in_the_order_of_their_names():
    layer = DenseFeatures(COLUMNS)
    result = layer(FEATURES).numpy()
    parts = np.split(result, np.cumsum(WIDTHS)[:-1], axis=1)
    assert result.shape == (2, sum(WIDTHS))
    assert parts[0].tolist() == [[17.0], [44.0]]
    assert parts[1].argmax(1).tolist() == [0, 5]
    # 304 is TF 2.21's bucket of (17, fixed), see test_columns.
    assert parts[2][0].argmax() == 304
    assert parts[3].tolist() == layer.weights[0].numpy()[[0, 1]].tolist()
    assert parts[4].tolist() == [[1, 0, 0], [0, 1, 0]]


def test_tables_have_tensorflows_names():
    layer = DenseFeatures(COLUMNS, name="dense_features")
    layer(FEATURES)
    assert [w.name for w in layer.weights] == ["dense_features/thal_embedding/embedding_weights:0"]


def test_frozen_table_is_no_trainable_weight():
    frozen = feature_column.embedding_column(THAL, dimension=8, trainable=False)
    layer = DenseFeatures([frozen])
    layer(FEATURES)
    assert layer.trainable_weights == []
    assert len(layer.non_trainable_weights) == 1


def test_features_may_be_columns_and_others_are_ignored():
    layer = DenseFeatures(COLUMNS)
    columns = {key: value.reshape(2, 1) for key, value in FEATURES.items()}
    columns["other"] = np.array([[1], [2]])
    assert layer(columns).numpy().tolist() == layer(FEATURES).numpy().tolist()


def test_gradients_reach_the_table():
    layer = DenseFeatures(COLUMNS)
    with GradientTape() as tape:
        y = layer(FEATURES)
    (gradient,) = tape.gradient(y, layer.trainable_weights)
    assert np.asarray(gradient).sum(1).tolist() == [8.0, 8.0, 0.0]


def test_layer_can_be_traced_with_an_unknown_batch():
    layer = DenseFeatures(COLUMNS)
    specs = {"age": TensorSpec([None], dtypes.int64), "thal": TensorSpec([None], dtypes.string)}
    spec = build.output_specs(lambda features: layer(features), specs)
    assert spec == TensorSpec((None, sum(WIDTHS)), dtypes.float32)


def test_output_shape_is_the_sum_of_widths():
    shapes = {"age": (None, 1), "thal": (None, 1)}
    assert DenseFeatures(COLUMNS).compute_output_shape(shapes) == (None, sum(WIDTHS))


def test_layer_comes_back_from_its_config():
    layer = DenseFeatures(COLUMNS, name="features")
    again = DenseFeatures.from_config(layer.get_config())
    assert again.feature_columns == layer.feature_columns
    assert again.name == "features"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([], "at least one"),
        ([THAL], "indicator_column or embedding_column"),
        (["age"], "dense columns; received 'age'"),
        ([AGE, AGE], r"once; received \['age'\]"),
    ],
)
def test_wrong_columns_are_an_error(columns, message):
    with pytest.raises(errors.InvalidArgumentError, match=message):
        DenseFeatures(columns)


def test_features_that_are_no_dict_are_an_error():
    with pytest.raises(errors.InvalidArgumentError, match="dict of tensors"):
        DenseFeatures([AGE])(np.array([[1.0]]))


def test_model_with_feature_columns_is_saved_and_loaded(tmp_path):
    pytest.importorskip("h5py")
    model = keras.Sequential([DenseFeatures(COLUMNS), layers.Dense(2)])
    expected = model(FEATURES).numpy()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded(FEATURES).numpy().tolist() == expected.tolist()
    assert loaded.layers[0].feature_columns == model.layers[0].feature_columns


def test_layer_works_in_a_functional_model():
    inputs = {
        "age": keras.Input((1,), name="age"),
        "thal": keras.Input((1,), name="thal", dtype="string"),
    }
    features = DenseFeatures(COLUMNS)
    model = keras.Model(inputs, features(inputs))
    assert model.output_shape == (None, sum(WIDTHS))
    columns = {key: value.reshape(2, 1) for key, value in FEATURES.items()}
    assert model(columns).numpy().tolist() == features(columns).numpy().tolist()


# -- the program of the seed ------------------------------------------------------------------


def heart_rows():
    folder = os.environ.get("DISTFLOW_TEST_DATA")
    path = (
        Path(folder) if folder else Path(__file__).resolve().parents[3] / "shared" / "data"
    ) / "heart.csv"
    if not path.exists():
        pytest.skip(f"no heart-disease data at {path}; set DISTFLOW_TEST_DATA to their folder")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def heart_dataset(rows, shuffle, batch_size=32):
    # Dtypes as pandas would read them: strings, a column of floats, integers.
    kinds = {"thal": None, "oldpeak": np.float64}
    columns = {
        key: np.array([row[key] for row in rows], kinds.get(key, np.int64)) for key in rows[0]
    }
    labels = columns.pop("target")
    dataset = Dataset.from_tensor_slices((columns, labels))
    if shuffle:
        dataset = dataset.shuffle(buffer_size=len(rows), seed=1)
    return dataset.batch(batch_size)


def seed_columns():
    feature_columns = []
    for header in ["age", "trestbps", "chol", "thalach", "oldpeak", "slope", "ca"]:
        feature_columns.append(feature_column.numeric_column(header))
    age = feature_column.numeric_column("age")
    age_buckets = feature_column.bucketized_column(
        age, boundaries=[18, 25, 30, 35, 40, 45, 50, 55, 60, 65]
    )
    feature_columns.append(age_buckets)
    thal = feature_column.categorical_column_with_vocabulary_list(
        "thal", ["fixed", "normal", "reversible"]
    )
    thal_one_hot = feature_column.indicator_column(thal)
    feature_columns.append(thal_one_hot)
    thal_embedding = feature_column.embedding_column(thal, dimension=8)
    feature_columns.append(thal_embedding)
    crossed_feature = feature_column.crossed_column([age_buckets, thal], hash_bucket_size=1000)
    crossed_feature = feature_column.indicator_column(crossed_feature)
    feature_columns.append(crossed_feature)
    return feature_columns


@pytest.mark.parametrize("run_eagerly", [True, False])
def test_heart_program_of_the_seed_learns(run_eagerly):
    rows = heart_rows()
    train, held_out = rows[:237], rows[237:]
    keras.utils.set_random_seed(1)
    feature_layer = DenseFeatures(seed_columns())
    model = keras.Sequential(
        [
            feature_layer,
            layers.Dense(128, activation="relu"),
            layers.Dense(128, activation="relu"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(
        optimizer="adam",
        loss="binary_crossentropy",
        metrics=["accuracy"],
        run_eagerly=run_eagerly,
    )
    history = model.fit(
        heart_dataset(train, shuffle=True),
        validation_data=heart_dataset(held_out, shuffle=False),
        epochs=5,
        verbose=0,
    ).history
    assert sorted(history) == ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert history["loss"][-1] < history["loss"][0]
    assert np.isfinite(history["val_loss"]).all()
    # 7 numbers, 11 age buckets, 1000 crossed, 8 embedded, 3 one-hot.
    assert model.layers[1].kernel.shape == (1029, 128)


def test_features_of_the_heart_data_equal_tensorflows():
    rows = heart_rows()
    features, _ = next(iter(heart_dataset(rows, shuffle=False, batch_size=len(rows))))
    parts = {
        name: DenseFeatures([column])(features).numpy()
        for name, column in (("age", BUCKETS), ("cross", COLUMNS[2]), ("thal", COLUMNS[0]))
    }
    assert parts["age"].argmax(1).sum() == HEART_AGE
    assert parts["cross"].argmax(1).sum() == HEART_CROSS
    assert parts["thal"].sum(0).tolist() == HEART_THAL
