"""Loss: a function of truth and prediction, its reduction, weights and masks."""

from __future__ import annotations

from typing import Any

from distflow.base import errors, nest
from distflow.core import context
from distflow.keras import config, dtype_policy, serialization
from distflow.keras.engine import naming
from distflow.keras.losses.ranks import same_rank, to_tensors
from distflow.ops import dims, math
from distflow.ops.reduce import reduce_sum
from distflow.ops.shaping import size

REDUCTIONS = ("sum_over_batch_size", "sum", "mean", "mean_with_sample_weight", "none", None)
_OF_MEANS = ("sum_over_batch_size", "mean", "mean_with_sample_weight")


class Reduction:
    """The reductions by TF2's names."""

    AUTO = "sum_over_batch_size"
    NONE = "none"
    SUM = "sum"
    SUM_OVER_BATCH_SIZE = "sum_over_batch_size"

    @classmethod
    def all(cls) -> tuple[str, ...]:
        """Returns all reductions."""
        return (cls.AUTO, cls.NONE, cls.SUM, cls.SUM_OVER_BATCH_SIZE)


class Loss:
    """The contract: `call(y_true, y_pred)` returns one loss an example (or more dimensions).

    Args:
      name: default the class's in snake case.
      reduction: "sum_over_batch_size" and "mean" divide the sum by the number of values,
        "mean_with_sample_weight" by the sum of the weights; "sum"; "none".
      dtype: in which values are computed; default floatx.
    """

    _keras_kind = "loss"

    def __init__(self, name: str | None = None, reduction: str | None = "sum_over_batch_size",
                 dtype: Any = None):  # fmt: skip
        if reduction not in REDUCTIONS:
            raise errors.invalid(
                type(self).__name__, f"`reduction` must be one of {list(REDUCTIONS)}",
                repr(reduction),
            )  # fmt: skip
        self.name = name or naming.auto_name(type(self).__name__)
        self.reduction = reduction
        self._dtype = dtype_policy.get(dtype or config.floatx()).compute_dtype

    @property
    def dtype(self) -> str:
        """Name of the dtype of the computation."""
        return self._dtype

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns the reduced loss.

        Args:
          y_true, y_pred: tensors, or structures of them.
          sample_weight: a factor an example, or of any shape that broadcasts to the losses.

        A Keras mask of y_pred (padding, say) takes examples out of the mean.
        """
        check_reduction(self.reduction)
        masks = [m for m in (_mask(y) for y in nest.flatten(y_pred)) if m is not None]
        y_pred = to_tensors(y_pred, self._dtype)
        y_true = to_tensors(y_true, self._dtype)
        losses = self.call(y_true, y_pred)
        own = _mask(losses)
        mask = masks[0] if len(masks) == 1 else None
        if mask is not None and own is not None:
            mask = math.logical_and(mask, own)
        return reduce_weighted(
            losses, sample_weight, mask if mask is not None else own, self.reduction, self._dtype
        )

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the losses that are then reduced."""
        raise errors.UnimplementedError(
            f"Loss: {type(self).__name__} must define call(y_true, y_pred)."
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal loss."""
        return {"name": self.name, "reduction": self.reduction}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Returns a loss made from `get_config()`."""
        return cls(**config)


class LossFunctionWrapper(Loss):
    """A loss made of a function fn(y_true, y_pred, **kwargs)."""

    # Settings that Keras does not write, and the values at which nothing is lost by that.
    _unwritten: dict[str, Any] = {}

    def __init__(self, fn: Any, reduction: str | None = "sum_over_batch_size",
                 name: str | None = None, dtype: Any = None, **kwargs: Any):  # fmt: skip
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.fn = fn
        self._fn_kwargs = kwargs

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the function's values, for one rank of both sides."""
        if not isinstance(y_pred, dict | list | tuple):
            y_true, y_pred = same_rank(y_true, y_pred)
        return self.fn(y_true, y_pred, **self._fn_kwargs)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal loss."""
        own: dict[str, Any] = {}
        if type(self) is LossFunctionWrapper:
            own["fn"] = serialization.serialize_keras_object(self.fn)
        for key, value in self._fn_kwargs.items():
            if key not in self._unwritten or self._unwritten[key] != value:
                own[key] = serialization.serialize_keras_object(value)
        return super().get_config() | own

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Returns a loss made from `get_config()`."""
        if "fn" in config:
            fn = serialization.deserialize_keras_object(config["fn"])
            config = {**config, "fn": fn}
        return cls(**config)


def check_reduction(reduction: str | None) -> None:
    """Raises ValueError for a mean over the batch inside `strategy.run`.

    A replica sees its own part of the batch only. `fit` scales the loss itself: it sets
    `allow_mean_loss` on the replica context.
    """
    replica = context.state.replica
    if replica is None or getattr(replica, "allow_mean_loss", False):
        return
    if reduction in _OF_MEANS:
        raise ValueError(
            "Please use `tf.keras.losses.Reduction.SUM` or `tf.keras.losses.Reduction.NONE` for "
            "loss reduction when losses are used with `tf.distribute.Strategy`, except for "
            "specifying losses in `Model.compile()` for use by the built-in training loop "
            "`Model.fit()`. You can implement 'SUM_OVER_BATCH_SIZE' using the global batch size "
            "like:\n```\nwith strategy.scope():\n"
            "    loss_obj = tf.keras.losses.CategoricalCrossentropy("
            "reduction=tf.keras.losses.Reduction.NONE)\n....\n"
            "    loss = tf.reduce_sum(loss_obj(labels, predictions)) * "
            "(1. / global_batch_size)\n```"
        )


def reduce_weighted(
    values: Any,
    sample_weight: Any = None,
    mask: Any = None,
    reduction: str | None = "sum_over_batch_size",
    dtype: Any = None,
) -> Any:
    """Returns values times weights, reduced; what the mask leaves out has no weight.

    With a mask, means are over what it leaves in.
    """
    kind = dtype or config.floatx()
    values = to_tensors(values, kind)
    weight = None if sample_weight is None else to_tensors(sample_weight, kind)
    if mask is not None:
        mask = math.cast(mask, values.dtype)
        if reduction in ("mean", "sum_over_batch_size"):
            total = math.cast(size(mask), values.dtype)
            mask = mask * (total / (reduce_sum(mask) + config.epsilon()))
        if weight is None:
            weight = mask
        else:
            weight, mask = same_rank(weight, mask)
            weight = weight * mask
    if weight is not None:
        values, weight = same_rank(values, weight)
        values = values * weight
    if reduction in (None, "none") or (values.ndim == 0 and weight is None):
        return values
    total = reduce_sum(values)
    if reduction == "sum":
        return total
    if reduction == "mean_with_sample_weight" and weight is not None:
        return math.div_no_nan(total, reduce_sum(weight))
    return math.div_no_nan(total, math.cast(dims.count(values), total.dtype))


def _mask(value: Any) -> Any:
    return getattr(value, "_keras_mask", None)
