"""Distiller: a model that trains a student by targets and by a frozen teacher."""

from __future__ import annotations

from typing import Any

from distflow.base import nest
from distflow.keras import losses, metrics, serialization
from distflow.keras.models import Model
from distflow.keras.training.steps import loss_share
from distflow.ops import math, reduce

_LAST = "final_output"


class Distiller(Model):
    """The student, trained by both; `distiller.student` is the result.

    loss = weight * (loss of the targets) + (1 - weight) * (sum of the distillation losses)

    Args:
      teacher: a trained model; it is frozen.
      student: a model with inputs and outputs of the same shapes and dtypes.
      distillation_losses: one or several.
      distillation_loss_weights: a factor of each, default 1.
      student_loss_weight: the weight, in [0, 1].
    """

    def __init__(self, teacher: Any, student: Any, distillation_losses: Any,
                 distillation_loss_weights: Any = None, student_loss_weight: float = 0.5,
                 name: str = "distiller", **kwargs: Any):  # fmt: skip
        super().__init__(name=name, **kwargs)
        _check_models(teacher, student)
        self.teacher, self.student = teacher, student
        if not isinstance(student_loss_weight, int | float):
            raise ValueError(
                f"student_loss_weight must be a number, got {type(student_loss_weight)}"
            )
        if not 0.0 <= student_loss_weight <= 1.0:
            raise ValueError(
                f"student_loss_weight must be between 0.0 and 1.0, got {student_loss_weight}"
            )
        self.student_loss_weight = student_loss_weight
        if distillation_losses is None:
            raise ValueError(
                "'distillation_losses' cannot be `None`. Provide a distillation loss (e.g., "
                "LogitsDistillation or FeatureDistillation) or a list of distillation losses."
            )
        several = isinstance(distillation_losses, list | tuple)
        self.distillation_losses = list(distillation_losses) if several else [distillation_losses]
        weights = distillation_loss_weights if several else None
        if weights is not None and len(weights) != len(self.distillation_losses):
            raise ValueError(
                f"Number of distillation_loss_weights ({len(weights)}) must match number of "
                f"distillation_losses ({len(self.distillation_losses)})"
            )
        self.distillation_loss_weights = (
            [1.0] * len(self.distillation_losses) if weights is None else list(weights)
        )
        for loss in self.distillation_losses:
            loss.validate_model_compatibility(teacher, student)
        self._teacher_layers = _seen(teacher, [x.teacher_layer_name for x in self._looks()])
        self._student_layers = _seen(student, [x.student_layer_name for x in self._looks()])
        self.teacher.trainable = False
        self.student_loss_tracker = metrics.Mean(name="student_loss")
        self.distillation_loss_tracker = metrics.Mean(name="distillation_loss")
        self.total_loss_tracker = metrics.Mean(name="total_loss")

    def _looks(self) -> list[Any]:
        return [x for x in self.distillation_losses if hasattr(x, "teacher_layer_name")]

    def compile(  # type: ignore[override]
        self, optimizer: Any = "adam", loss: Any = None, metrics: Any = None, **kwargs: Any
    ) -> None:
        """Sets the optimizer, the student's loss of the targets, and metrics."""
        if loss is None:
            raise ValueError("'loss' cannot be `None`.")
        if metrics is not None and not isinstance(metrics, list | tuple):
            raise ValueError(f"metrics must be a list or tuple, got {type(metrics)}")
        student_loss = nest.map_structure(losses.get, loss)
        super().compile(optimizer=optimizer, loss=None, metrics=metrics, **kwargs)
        # `compute_loss` replaces Model's own loss; a file still has to hold what was given.
        self._compile_config["loss"] = loss
        self._student_loss = student_loss

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles the model with what `get_compile_config` returned."""
        self._compile_by(config)

    def call(self, inputs: Any, training: Any = None) -> Any:
        """Returns what the student says."""
        return self.student(inputs, training=training)

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None,
                     sample_weight: Any = None, training: bool = True) -> Any:  # fmt: skip
        """Returns the weighted loss, and notes its parts; sample weights have no effect."""
        if y_pred is None:
            y_pred = self(x, training=training)
        weight = self.student_loss_weight
        own: Any = self._loss_of_targets(y, y_pred) if weight > 0.0 and y is not None else 0.0
        other: Any = self._loss_of_teacher(x, y_pred) if weight < 1.0 else 0.0
        total = weight * own + (1.0 - weight) * other
        self.student_loss_tracker.update_state(own)
        self.distillation_loss_tracker.update_state(other)
        self.total_loss_tracker.update_state(total)
        share = loss_share()
        return total if share is None else total * math.cast(share, total.dtype)

    def _loss_of_targets(self, y: Any, y_pred: Any) -> Any:
        triples = zip(
            nest.flatten(self._student_loss), nest.flatten(y), nest.flatten(y_pred), strict=True
        )
        values = [reduce.reduce_mean(loss(a, b)) for loss, a, b in triples]
        return math.add_n(values) if len(values) > 1 else values[0]

    def _loss_of_teacher(self, x: Any, y_pred: Any) -> Any:
        if self._teacher_layers is None:
            taught = {_LAST: self.teacher(x, training=False)}
        else:
            taught = self._teacher_layers(x, training=False)
        learned = {_LAST: y_pred}
        if self._student_layers is not None:
            learned = {**self._student_layers(x, training=True), _LAST: y_pred}
        total: Any = 0.0
        for loss, weight in zip(self.distillation_losses, self.distillation_loss_weights):
            truth = taught[getattr(loss, "teacher_layer_name", None) or _LAST]
            guess = learned[getattr(loss, "student_layer_name", None) or _LAST]
            loss.validate_outputs(truth, guess)
            value = loss.compute_loss(truth, guess)
            if value.ndim:
                raise ValueError(
                    f"Distillation loss {type(loss).__name__} returned a non-scalar loss with "
                    f"shape {tuple(value.shape)}. The compute_loss method must return a scalar "
                    "tensor."
                )
            total = total + weight * value
        return total

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal one."""
        return super().get_config() | {
            "teacher": serialization.serialize_keras_object(self.teacher),
            "student": serialization.serialize_keras_object(self.student),
            "distillation_losses": [
                serialization.serialize_keras_object(x) for x in self.distillation_losses
            ],
            "distillation_loss_weights": self.distillation_loss_weights,
            "student_loss_weight": self.student_loss_weight,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Returns one made from `get_config()`."""
        made = {
            name: serialization.deserialize_keras_object(config[name], custom_objects)
            for name in ("teacher", "student", "distillation_losses")
        }
        return cls(**{**config, **made})


def _seen(model: Any, names: list[Any]) -> Any:
    """Returns a model of the output and of some layers by name, or None for no names."""
    wanted = list(dict.fromkeys(name for name in names if name))
    if not wanted:
        return None
    layers = {name: model.get_layer(name=name).output for name in wanted}
    return Model(model.inputs, {_LAST: model.outputs[0], **layers}, name=f"{model.name}_layers")


def _check_models(teacher: Any, student: Any) -> None:
    for role, model in (("Teacher", teacher), ("Student", student)):
        if not isinstance(model, Model):
            raise ValueError(f"{role} must be a keras.Model, got {type(model)}")
    for what in ("input", "output"):
        ours = getattr(teacher, f"{what}s", None)
        theirs = getattr(student, f"{what}s", None)
        if ours is None or theirs is None:
            continue
        for a, b in zip(nest.flatten(ours), nest.flatten(theirs), strict=True):
            sizes = list(zip(a.shape, b.shape))
            differ = any(None not in pair and pair[0] != pair[1] for pair in sizes)
            if len(a.shape) != len(b.shape) or differ:
                raise ValueError(
                    f"Teacher and student {what} shapes are incompatible. Teacher: "
                    f"{tuple(a.shape)}, Student: {tuple(b.shape)}. All dimensions must match."
                )
            if a.dtype != b.dtype:
                raise ValueError(
                    f"Teacher and student {what} dtypes must match. Teacher: {a.dtype.name}, "
                    f"Student: {b.dtype.name}."
                )
