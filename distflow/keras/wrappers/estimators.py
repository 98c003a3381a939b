"""Models as estimators of scikit-learn: for its pipelines, searches and scores."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from distflow.keras.models import Model, clone_model


class _Estimator(BaseEstimator):
    """A model that `fit` makes and trains.

    Args:
      model: a compiled Model, which is cloned with new weights; or a function of X, y and
        `model_kwargs` that returns a compiled one.
      warm_start: whether a further `fit` goes on with the model of the one before.
      model_kwargs, fit_kwargs: more arguments of `model` and of `Model.fit`.
    """

    def __init__(self, model: Any, warm_start: bool = False, model_kwargs: Any = None,
                 fit_kwargs: Any = None):  # fmt: skip
        self.model = model
        self.warm_start = warm_start
        self.model_kwargs = model_kwargs
        self.fit_kwargs = fit_kwargs

    def __sklearn_clone__(self) -> Any:
        # A Model cannot be copied by scikit-learn's means; a fit clones it anyway.
        return type(self)(self.model, self.warm_start, copy.copy(self.model_kwargs),
                          copy.copy(self.fit_kwargs))  # fmt: skip

    def fit(self, X: Any, y: Any, **kwargs: Any) -> Any:
        """Makes the model and trains it; returns the estimator.

        Args:
          X: [samples, features].
          y: [samples] or [samples, outputs].
          kwargs: more arguments of `Model.fit`.

        Raises:
          RuntimeError: if the model is not compiled with a loss and an optimizer.
        """
        X, y = validate_data(self, X, y, multi_output=True)
        targets = self._learn_targets(y)
        model = self._made(X, targets)
        if not (model.compiled and model.loss and model.optimizer):
            raise RuntimeError(
                "Given model needs to be compiled, and have a loss and an optimizer."
            )
        self.history_ = model.fit(X, targets, **{**(self.fit_kwargs or {}), **kwargs})
        self.model_ = model
        return self

    def _made(self, X: Any, y: Any) -> Any:
        if self.warm_start and hasattr(self, "model_"):
            return self.model_
        if not isinstance(self.model, Model):
            return self.model(X=X, y=y, **(self.model_kwargs or {}))
        if self.warm_start:
            return self.model
        return clone_model(self.model)

    def _outputs(self, X: Any) -> Any:
        check_is_fitted(self, "model_")
        return self.model_.predict(validate_data(self, X, reset=False), verbose=0)

    def predict(self, X: Any) -> Any:
        """Returns what the model says of each sample."""
        return self._answers(self._outputs(X))

    def _learn_targets(self, y: Any) -> Any:
        if type_of_target(y) == "unknown":
            raise ValueError(f"Unknown label type for data: {y!r}")
        self._one_column = y.ndim == 1
        return y.reshape(-1, 1) if y.ndim == 1 else y

    def _answers(self, outputs: Any) -> Any:
        narrow = self._one_column and outputs.ndim == 2 and outputs.shape[1] == 1
        return outputs[:, 0] if narrow else outputs


class SKLearnClassifier(ClassifierMixin, _Estimator):
    """A classifier; the model has one output for each class, and is trained on one-hot rows."""

    def _learn_targets(self, y: Any) -> Any:
        kind = type_of_target(y)
        if kind not in ("binary", "multiclass"):
            raise ValueError(
                f"Only binary and multiclass target types are supported. Target type: {kind}"
            )
        self.classes_ = np.unique(y)
        if len(self.classes_) == 1:
            raise ValueError("Classifier can't train when only one class is present.")
        return (np.ravel(y)[:, None] == self.classes_).astype(np.float64)

    def _answers(self, outputs: Any) -> Any:
        return self.classes_[np.argmax(outputs, -1)]

    def decision_function(self, X: Any) -> Any:
        """Returns the model's outputs."""
        return self._outputs(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True
        return tags


class SKLearnRegressor(RegressorMixin, _Estimator):
    """A regressor."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True
        return tags


class SKLearnTransformer(TransformerMixin, _Estimator):
    """A transformer: what the model says are the new features."""

    def transform(self, X: Any) -> Any:
        """Returns the model's outputs."""
        return self._outputs(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags
