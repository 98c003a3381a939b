"""Learning-rate schedules: functions of the step, as Keras defines them.

Steps may be Python numbers, tensors or variables of any numeric dtype; rates are float32.
"""

from __future__ import annotations

import math as _math
from typing import Any

from distflow.base import dtypes, errors
from distflow.core.convert import convert_to_tensor
from distflow.keras import by_name, serialization
from distflow.ops import math
from distflow.ops.prims.elementwise import select

_FLOAT = dtypes.float32


class LearningRateSchedule:
    """The contract: `schedule(step)` returns the rate, `get_config()` its arguments."""

    def __call__(self, step: Any) -> Any:
        """Returns the rate at a step."""
        raise errors.UnimplementedError(
            f"LearningRateSchedule: {type(self).__name__} must define __call__(step)."
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal schedule."""
        raise errors.UnimplementedError(
            f"LearningRateSchedule: {type(self).__name__} must define get_config() to be saved."
        )

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LearningRateSchedule:
        """Returns a schedule made from `get_config()`."""
        return cls(**config)


class _Configured(LearningRateSchedule):
    """A schedule whose config is the attributes of the same names."""

    _fields: tuple[str, ...] = ()

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal schedule."""
        return {field: getattr(self, field) for field in self._fields}


class ExponentialDecay(_Configured):
    """initial * decay_rate ^ (step / decay_steps); whole powers with `staircase`."""

    _fields = ("initial_learning_rate", "decay_steps", "decay_rate", "staircase", "name")

    def __init__(self, initial_learning_rate: Any, decay_steps: Any, decay_rate: Any,
                 staircase: bool = False, name: str = "ExponentialDecay"):  # fmt: skip
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = _positive("ExponentialDecay", decay_steps)
        self.decay_rate = decay_rate
        self.staircase = staircase
        self.name = name

    def __call__(self, step: Any) -> Any:
        """Returns the rate at a step."""
        exponent = _portion(step, self.decay_steps, self.staircase)
        return _scalar(self.initial_learning_rate) * math.pow(_scalar(self.decay_rate), exponent)


class InverseTimeDecay(_Configured):
    """initial / (1 + decay_rate * step / decay_steps); whole quotients with `staircase`."""

    _fields = ("initial_learning_rate", "decay_steps", "decay_rate", "staircase", "name")

    def __init__(self, initial_learning_rate: Any, decay_steps: Any, decay_rate: Any,
                 staircase: bool = False, name: str = "InverseTimeDecay"):  # fmt: skip
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = _positive("InverseTimeDecay", decay_steps)
        self.decay_rate = decay_rate
        self.staircase = staircase
        self.name = name

    def __call__(self, step: Any) -> Any:
        """Returns the rate at a step."""
        quotient = _portion(step, self.decay_steps, self.staircase)
        return _scalar(self.initial_learning_rate) / (1 + _scalar(self.decay_rate) * quotient)


class PiecewiseConstantDecay(_Configured):
    """values[0] up to and including step boundaries[0], then values[1], and so on."""

    _fields = ("boundaries", "values", "name")

    def __init__(self, boundaries: Any, values: Any, name: str = "PiecewiseConstant"):
        if len(boundaries) != len(values) - 1:
            raise errors.invalid(
                "PiecewiseConstantDecay", "boundaries must have one entry less than values",
                f"{len(boundaries)} boundaries and {len(values)} values",
            )  # fmt: skip
        self.boundaries = boundaries
        self.values = values
        self.name = name

    def __call__(self, step: Any) -> Any:
        """Returns the rate at a step."""
        step = convert_to_tensor(step)
        rate = _scalar(self.values[-1])
        for boundary, value in zip(reversed(self.boundaries), reversed(self.values[:-1])):
            bound = convert_to_tensor(boundary)
            if bound.dtype is not step.dtype:
                bound = math.cast(bound, step.dtype)
            rate = select(step <= bound, _scalar(value), rate)
        return rate


class PolynomialDecay(_Configured):
    """From initial to end in decay_steps along (1 - step / decay_steps) ^ power.

    With `cycle`, decay_steps grows to the next multiple of it beyond the step.
    """

    _fields = (
        "initial_learning_rate", "decay_steps", "end_learning_rate", "power", "cycle", "name"
    )  # fmt: skip

    def __init__(self, initial_learning_rate: Any, decay_steps: Any,
                 end_learning_rate: Any = 0.0001, power: float = 1.0, cycle: bool = False,
                 name: str = "PolynomialDecay"):  # fmt: skip
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = _positive("PolynomialDecay", decay_steps)
        self.end_learning_rate = end_learning_rate
        self.power = power
        self.cycle = cycle
        self.name = name

    def __call__(self, step: Any) -> Any:
        """Returns the rate at a step."""
        step, steps = _scalar(step), _scalar(self.decay_steps)
        if self.cycle:
            # Step 0 is in the first cycle, where ceil(0) would give none.
            steps = steps * math.maximum(math.ceil(step / steps), 1.0)
        else:
            step = math.minimum(step, steps)
        initial, end = _scalar(self.initial_learning_rate), _scalar(self.end_learning_rate)
        return (initial - end) * math.pow(1 - step / steps, _scalar(self.power)) + end


class CosineDecay(_Configured):
    """Linear warm-up to `warmup_target`, then half a cosine wave down to alpha times the top.

    Source: Loshchilov & Hutter 2016, arXiv:1608.03983.
    """

    _fields = (
        "initial_learning_rate", "decay_steps", "alpha", "name", "warmup_target", "warmup_steps"
    )  # fmt: skip

    def __init__(self, initial_learning_rate: Any, decay_steps: Any, alpha: float = 0.0,
                 name: str = "CosineDecay", warmup_target: Any = None,
                 warmup_steps: Any = 0):  # fmt: skip
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = _positive("CosineDecay", decay_steps)
        self.alpha = alpha
        self.name = name
        self.warmup_target = warmup_target
        self.warmup_steps = warmup_steps

    def __call__(self, step: Any) -> Any:
        """Returns the rate at a step."""
        step, initial = _scalar(step), _scalar(self.initial_learning_rate)
        if self.warmup_target is None:
            return self._decay(step, initial)
        warmup, target = _scalar(self.warmup_steps), _scalar(self.warmup_target)
        rising = initial + (target - initial) * (step / math.maximum(warmup, 1e-30))
        return select(step < warmup, rising, self._decay(step - warmup, target))

    def _decay(self, step: Any, top: Any) -> Any:
        steps = _scalar(self.decay_steps)
        done = math.minimum(step, steps) / steps
        cosine = 0.5 * (1 + math.cos(_math.pi * done))
        return top * ((1 - self.alpha) * cosine + self.alpha)


class CosineDecayRestarts(_Configured):
    """Cosine decays one after another; each is `t_mul` times as long and `m_mul` as high.

    Source: Loshchilov & Hutter 2016, arXiv:1608.03983.
    """

    _fields = ("initial_learning_rate", "first_decay_steps", "t_mul", "m_mul", "alpha", "name")

    def __init__(self, initial_learning_rate: Any, first_decay_steps: Any, t_mul: float = 2.0,
                 m_mul: float = 1.0, alpha: float = 0.0, name: str = "SGDRDecay"):  # fmt: skip
        self.initial_learning_rate = initial_learning_rate
        self.first_decay_steps = _positive("CosineDecayRestarts", first_decay_steps)
        self.t_mul = t_mul
        self.m_mul = m_mul
        self.alpha = alpha
        self.name = name

    def __call__(self, step: Any) -> Any:
        """Returns the rate at a step."""
        done = _scalar(step) / _scalar(self.first_decay_steps)
        if self.t_mul == 1.0:
            restart = math.floor(done)
            done = done - restart
        else:
            # The length of r cycles is (1 - t^r) / (1 - t): solved for r.
            t = _scalar(self.t_mul)
            restart = math.floor(math.log(1 - done * (1 - t)) / math.log(t))
            length = math.pow(t, restart)
            done = (done - (1 - length) / (1 - t)) / length
        top = math.pow(_scalar(self.m_mul), restart)
        cosine = 0.5 * top * (1 + math.cos(_math.pi * done))
        return _scalar(self.initial_learning_rate) * ((1 - self.alpha) * cosine + self.alpha)


def _scalar(value: Any) -> Any:
    return math.cast(convert_to_tensor(value), _FLOAT)


def _positive(where: str, steps: Any) -> Any:
    if isinstance(steps, int | float) and steps <= 0:
        raise errors.invalid(where, "decay_steps must be > 0", str(steps))
    return steps


def _portion(step: Any, steps: Any, staircase: bool) -> Any:
    portion = _scalar(step) / _scalar(steps)
    return math.floor(portion) if staircase else portion


NAMES = by_name.table([
    CosineDecay, CosineDecayRestarts, ExponentialDecay, InverseTimeDecay,
    PiecewiseConstantDecay, PolynomialDecay,
])  # fmt: skip
deserialize = by_name.deserializer("schedule", NAMES)


def serialize(learning_rate_schedule: LearningRateSchedule) -> Any:
    """Returns the config from which `deserialize` makes an equal schedule."""
    return serialization.serialize_keras_object(learning_rate_schedule)
