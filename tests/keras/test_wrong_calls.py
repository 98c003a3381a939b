"""Wrong calls of losses, metrics, optimizers and so on: each is one clear error, in Keras as here.

A row is a call on `keras`, and what the error must say. Marked `parity`, Keras must refuse it too.
"""

import numpy as np
import pytest

from distflow import keras
from distflow.base import errors
from tests.keras.battery import keras_or_skip

ONES = np.ones((4, 3), "float32")
LABELS = np.array([0, 1, 2, 0])


def updated(metric, *given, **more):
    metric.update_state(*given, **more)
    return metric.result()


LOSSES = {
    "unknown loss": (lambda k: k.losses.get("mean_squarred_error"), "mean_squarred_error"),
    "loss from a number": (lambda k: k.losses.get(3), "3"),
    "reduction": (lambda k: k.losses.MeanSquaredError(reduction="average"), "reduction"),
    "loss with unknown argument": (lambda k: k.losses.Huber(gamma=1.0), "gamma"),
    "ranks": (lambda k: k.losses.CategoricalCrossentropy()(LABELS, ONES), "shape"),
    "classes": (lambda k: k.losses.CategoricalCrossentropy()(ONES[:, :2], ONES), "shape"),
    "one-hot for sparse": (lambda k: k.losses.SparseCategoricalCrossentropy()(ONES, ONES), "shape"),
    "rows": (lambda k: k.losses.MeanSquaredError()(ONES[:2], ONES), "shape|broadcast|ncompatible"),
    "axis": (lambda k: k.losses.CategoricalCrossentropy(axis=5)(ONES, ONES), "axis"),
    "weights of a batch of another size":
        (lambda k: k.losses.MeanSquaredError()(ONES, ONES, sample_weight=np.ones(3)), "3"),
    "q": (lambda k: k.losses.CategoricalGeneralizedCrossEntropy(q=1.0), "q must"),
    "q below": (lambda k: k.losses.CategoricalGeneralizedCrossEntropy(q=0), "q must"),
    "ctc targets": (lambda k: k.losses.ctc(LABELS, np.ones((4, 5, 3))), "y_true"),
    "ctc logits": (lambda k: k.losses.ctc(np.ones((4, 2), "int32"), ONES), "y_pred"),
}  # fmt: skip
METRICS = {
    "unknown metric": (lambda k: k.metrics.get("accurracy"), "accurracy"),
    "metric from a number": (lambda k: k.metrics.get(3), "3"),
    "thresholds": (lambda k: k.metrics.Precision(thresholds=[0.5, 1.5]), "thresholds"),
    "thresholds below": (lambda k: k.metrics.TruePositives(thresholds=-0.1), "thresholds"),
    "curve": (lambda k: k.metrics.AUC(curve="LR"), "curve"),
    "summation": (lambda k: k.metrics.AUC(summation_method="simpson"), "summation_method"),
    "number of thresholds": (lambda k: k.metrics.AUC(num_thresholds=1), "num_thresholds"),
    "specificity": (lambda k: k.metrics.SensitivityAtSpecificity(1.5), "specificity"),
    "sensitivity": (lambda k: k.metrics.SpecificityAtSensitivity(-0.5), "sensitivity"),
    "precision": (lambda k: k.metrics.RecallAtPrecision(2), "precision"),
    "recall": (lambda k: k.metrics.PrecisionAtRecall(-1), "recall"),
    "no thresholds": (lambda k: k.metrics.PrecisionAtRecall(0.5, num_thresholds=0),
                      "num_thresholds"),
    "average": (lambda k: k.metrics.F1Score(average="mean"), "average"),
    "beta": (lambda k: k.metrics.FBetaScore(beta=-1.0), "beta"),
    "whole beta": (lambda k: k.metrics.FBetaScore(beta=2), "beta"),
    "score's threshold": (lambda k: k.metrics.FBetaScore(threshold=1.5), "threshold"),
    "whole threshold": (lambda k: k.metrics.FBetaScore(threshold=1), "threshold"),
    "score of vectors": (lambda k: updated(k.metrics.F1Score(), ONES[0], ONES[0]), "2D"),
    "aggregation": (lambda k: k.metrics.R2Score(class_aggregation="sum"), "class_aggregation"),
    "regressors": (lambda k: k.metrics.R2Score(num_regressors=-1), "num_regressors"),
    "r2 of vectors": (lambda k: updated(k.metrics.R2Score(), ONES[0], ONES[0]), "2D"),
    "target class": (lambda k: k.metrics.IoU(num_classes=2, target_class_ids=[2]), "2"),
    "no classes": (lambda k: k.metrics.MeanIoU(), "num_classes"),
    "no value": (lambda k: k.metrics.RecallAtPrecision(), "precision"),
    "shapes of counts": (lambda k: updated(k.metrics.Precision(), ONES, ONES[:, :2]),
                         "shape|y_true"),
    "state of another metric": (lambda k: k.metrics.Mean().merge_state([k.metrics.Sum()]),
                                "variables|Metric"),
    "metric without its own methods": (lambda k: k.metrics.Metric().result(), "result|implement"),
}  # fmt: skip
OPTIMIZERS = {
    "unknown optimizer": (lambda k: k.optimizers.get("admm"), "admm"),
    "optimizer from a number": (lambda k: k.optimizers.get(3), "3"),
    "unknown setting": (lambda k: k.optimizers.Adam(lr=0.1), "lr"),
    "two clips": (lambda k: k.optimizers.SGD(clipnorm=1.0, clipvalue=1.0), "Only one"),
    "two norms": (lambda k: k.optimizers.SGD(clipnorm=1.0, global_clipnorm=1.0), "Only one"),
    "momentum": (lambda k: k.optimizers.SGD(momentum=1.5), "momentum"),
    "momentum of text": (lambda k: k.optimizers.SGD(momentum="high"), "momentum"),
    "average's momentum": (lambda k: k.optimizers.Adam(use_ema=True, ema_momentum=1.5),
                           "ema_momentum"),
    "average's frequency":
        (lambda k: k.optimizers.Adam(use_ema=True, ema_overwrite_frequency=0.5),
         "ema_overwrite_frequency"),
    "accumulation": (lambda k: k.optimizers.Adam(gradient_accumulation_steps=1),
                     "gradient_accumulation_steps"),
    "accumulator": (lambda k: k.optimizers.Ftrl(initial_accumulator_value=-0.1), "initial|>= 0"),
    "power": (lambda k: k.optimizers.Ftrl(learning_rate_power=0.5), "learning_rate_power"),
    "l1": (lambda k: k.optimizers.Ftrl(l1_regularization_strength=-1), "l1|>= 0"),
    "lion's beta": (lambda k: k.optimizers.Lion(beta_1=0), "beta_1"),
    "gradients without variables": (lambda k: k.optimizers.SGD().apply([ONES]), "variables"),
    "weights before building": (lambda k: k.optimizers.Adam().set_weights([0]), "built"),
    "fixed loss scale": (lambda k: k.optimizers.LossScaleOptimizer(k.optimizers.SGD(),
                                                                   dynamic=False), "dynamic"),
    "loss scale's clip": (lambda k: k.optimizers.LossScaleOptimizer(k.optimizers.SGD(),
                                                                    clipnorm=1.0), "clipnorm"),
    "default optimizer": (lambda k: k.optimizers.OptimizerMap("sgd"), "default_optimizer"),
    "map": (lambda k: k.optimizers.OptimizerMap(k.optimizers.SGD(), ["a"]), "optimizer_map"),
    "rate of several": (lambda k: k.optimizers.MultiOptimizer(
        k.optimizers.OptimizerMap(k.optimizers.SGD())).learning_rate, "earning rate"),
    "rate of a schedule":
        (lambda k: setattr(k.optimizers.SGD(k.optimizers.schedules.CosineDecay(0.1, 10)),
                           "learning_rate", 0.1), "LearningRateSchedule"),
    "boundaries": (lambda k: k.optimizers.schedules.PiecewiseConstantDecay([1, 2], [0.1, 0.2]),
                   "boundaries"),
    "decay steps": (lambda k: k.optimizers.schedules.CosineDecay(0.1, 0), "decay_steps"),
    "polynomial's steps": (lambda k: k.optimizers.schedules.PolynomialDecay(0.1, -1),
                           "decay_steps"),
    "schedule without its own methods":
        (lambda k: k.optimizers.schedules.LearningRateSchedule()(1), "__call__|implement|override"),
}  # fmt: skip
OTHERS = {
    "unknown initializer": (lambda k: k.initializers.get("glorot"), "glorot"),
    "scale": (lambda k: k.initializers.VarianceScaling(scale=0.0), "scale"),
    "mode": (lambda k: k.initializers.VarianceScaling(mode="fan"), "mode"),
    "distribution": (lambda k: k.initializers.VarianceScaling(distribution="even"),
                     "distribution"),
    "orthogonal vector": (lambda k: k.initializers.Orthogonal()((3,)), "two-dim"),
    "identity of a cube": (lambda k: k.initializers.Identity()((2, 2, 2)), "2D"),
    "fourier's side": (lambda k: k.initializers.STFT(side="left"), "side"),
    "fourier's window": (lambda k: k.initializers.STFT(window="round"), "round"),
    "unknown regularizer": (lambda k: k.regularizers.get("l3"), "l3"),
    "negative factor": (lambda k: k.regularizers.L2(-0.1), "non-negative"),
    "factor of text": (lambda k: k.regularizers.L1("a"), "non-negative|float"),
    "infinite factor": (lambda k: k.regularizers.L1L2(l1=np.inf), "non-negative|finite"),
    "orthogonal mode": (lambda k: k.regularizers.OrthogonalRegularizer(mode="both"), "mode"),
    "orthogonal rank": (lambda k: k.regularizers.OrthogonalRegularizer()(np.ones(3, "float32")),
                        "rank|matri"),
    "unknown constraint": (lambda k: k.constraints.get("max_nrom"), "max_nrom"),
    "unknown activation": (lambda k: k.activations.get("rellu"), "rellu"),
    "activation from a number": (lambda k: k.activations.get(3), "3"),
    "factor of a plateau": (lambda k: k.callbacks.ReduceLROnPlateau(factor=1.0), "factor"),
    "file of a checkpoint": (lambda k: k.callbacks.ModelCheckpoint("a.txt"), "filepath"),
    "housing's split": (lambda k: k.datasets.boston_housing.load_data(test_split=1.5),
                        "test_split"),
    "housing's version": (lambda k: k.datasets.california_housing.load_data(version="tiny"),
                          "version"),
    "cifar's labels": (lambda k: k.datasets.cifar100.load_data("rough"), "label_mode"),
    "weights of an application": (lambda k: k.applications.VGG16(weights="nowhere.h5"), "weights"),
    "classes of an application":
        (lambda k: k.applications.ResNet50(weights="imagenet", classes=5), "classes"),
    "size of an application":
        (lambda k: k.applications.MobileNet(weights=None, input_shape=(16, 16, 3)), "32"),
    "predictions": (lambda k: k.applications.imagenet_utils.decode_predictions(ONES), "1000"),
    "preparation": (lambda k: k.applications.imagenet_utils.preprocess_input(ONES, mode="a"),
                    "mode"),
}  # fmt: skip
CALLS = {**LOSSES, **METRICS, **OPTIMIZERS, **OTHERS}
# Row -> why Keras lets it pass.
KERAS_TAKES = {
    "housing's version": "it downloads first",
}


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_call_is_one_clear_error(name):
    call, message = CALLS[name]
    with pytest.raises((ValueError, TypeError, AttributeError, RuntimeError), match=message) as e:
        call(keras)
    assert e.value.__cause__ is None or isinstance(e.value, errors.OpError | ValueError)


def test_there_are_many_rows():
    assert len(CALLS) >= 90


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [n for n in CALLS if n not in KERAS_TAKES])
def test_keras_refuses_it_too(name):
    call, _ = CALLS[name]
    with pytest.raises(Exception):  # noqa: B017, PT011
        call(keras_or_skip())
