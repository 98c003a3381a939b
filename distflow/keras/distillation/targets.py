"""How far the student is from the teacher: in the outputs, or in layers on the way."""

from __future__ import annotations

from typing import Any

from distflow.base import nest
from distflow.keras import activations, losses, serialization
from distflow.ops import math, reduce


class DistillationLoss:
    """A loss of the student's outputs by the teacher's; subclasses define `compute_loss`."""

    teacher_layer_name: str | None = None
    student_layer_name: str | None = None

    def compute_loss(self, teacher_outputs: Any, student_outputs: Any, **kwargs: Any) -> Any:
        """Returns a scalar."""
        raise NotImplementedError("Subclasses must implement compute_loss")

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        """Raises ValueError or TypeError unless the outputs have one structure."""
        nest.assert_same_structure(teacher_outputs, student_outputs)

    def validate_model_compatibility(self, teacher: Any, student: Any) -> None:
        """Raises ValueError unless the models have what the loss looks at."""


class _OfOutputs(DistillationLoss):
    """Losses in the structure of the outputs, or one for all of it; None leaves an output out."""

    def __init__(self, loss: Any):
        self.loss = nest.map_structure(losses.get, loss)
        if all(one is None for one in nest.flatten(self.loss)):
            raise ValueError(
                f"The `loss` argument in `{type(self).__name__}` must contain at least one "
                "non-`None` value."
            )

    def _one(self, loss: Any, teacher: Any, student: Any) -> Any:
        return reduce.reduce_mean(loss(teacher, student))

    def compute_loss(self, teacher_outputs: Any, student_outputs: Any, **kwargs: Any) -> Any:
        """Returns the sum of the outputs' losses, a scalar."""
        truths, guesses = nest.flatten(teacher_outputs), nest.flatten(student_outputs)
        total: Any = None
        for loss, teacher, student in zip(nest.flatten(self.loss), truths, guesses, strict=True):
            if loss is not None:
                value = self._one(loss, teacher, student)
                total = value if total is None else total + value
        return total

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        """Raises ValueError unless outputs and losses have one structure."""
        super().validate_outputs(teacher_outputs, student_outputs)
        wanted, given = len(nest.flatten(self.loss)), len(nest.flatten(teacher_outputs))
        if wanted != given:
            raise ValueError(f"Loss structure mismatch. {wanted} losses for {given} outputs.")

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal one."""
        return {"loss": serialization.serialize_keras_object(self.loss)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Returns one made from `get_config()`."""
        loss = config["loss"]
        found = losses.deserialize(loss) if isinstance(loss, dict) and "class_name" in loss else (
            serialization.deserialize_keras_object(loss)
        )  # fmt: skip
        return cls(**{**config, "loss": found})


class FeatureDistillation(_OfOutputs):
    """A loss between a layer of the teacher and one of the student.

    Args:
      loss: a loss, or a structure of them like the layers' outputs.
      teacher_layer_name, student_layer_name: the layers; None for the models' outputs.
    """

    def __init__(self, loss: Any = "mse", teacher_layer_name: str | None = None,
                 student_layer_name: str | None = None):  # fmt: skip
        super().__init__(loss)
        self.teacher_layer_name = teacher_layer_name
        self.student_layer_name = student_layer_name

    def validate_model_compatibility(self, teacher: Any, student: Any) -> None:
        """Raises ValueError unless both are functional and have the layers."""
        if self.teacher_layer_name is None and self.student_layer_name is None:
            return
        rows = (("teacher", teacher, self.teacher_layer_name),
                ("student", student, self.student_layer_name))  # fmt: skip
        lacking = [role for role, model, _ in rows if getattr(model, "inputs", None) is None]
        if lacking:
            raise ValueError(
                "FeatureDistillation with specific layer names requires Functional or Sequential "
                f"models. The {' and '.join(lacking)} model(s) appear to be subclassed (no "
                "symbolic inputs/outputs). Use FeatureDistillation without layer names, or "
                "LogitsDistillation."
            )
        for role, model, name in rows:
            if name is not None:
                try:
                    model.get_layer(name=name)
                except ValueError as error:
                    raise ValueError(f"In {role} model: {error}") from error

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal one."""
        return super().get_config() | {
            "teacher_layer_name": self.teacher_layer_name,
            "student_layer_name": self.student_layer_name,
        }  # fmt: skip


class LogitsDistillation(_OfOutputs):
    """A loss between the logits of both, divided by a temperature.

    With the Kullback-Leibler divergence they become probabilities first, and the loss is
    multiplied by the temperature's square, so that gradients keep their size.

    Args:
      temperature: above 1 for softer probabilities.
      loss: a loss, or a structure of them like the outputs.
    """

    def __init__(self, temperature: float = 3.0, loss: Any = "kl_divergence"):
        super().__init__(loss)
        if not isinstance(temperature, int | float):
            raise ValueError(f"temperature must be a number, got {type(temperature)}")
        if temperature <= 0.0:
            raise ValueError("temperature must be positive.")
        self.temperature = temperature

    def _one(self, loss: Any, teacher: Any, student: Any) -> Any:
        by = self.temperature
        teacher, student = math.divide(teacher, by), math.divide(student, by)
        # By its name Keras has the function, which takes the logits as they are; as Keras does.
        if not isinstance(loss, losses.KLDivergence):
            return super()._one(loss, teacher, student)
        return (
            super()._one(loss, activations.softmax(teacher), activations.softmax(student)) * by**2
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal one."""
        return {"temperature": self.temperature} | super().get_config()
