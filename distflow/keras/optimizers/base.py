"""Optimizer: slots, clipping, weight decay, moving averages and the order of one update.

Subclasses say which slots they need (`build`) and the arithmetic of one variable (`update_step`).
Under a strategy the whole update runs once per worker, on gradients summed over all replicas.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from distflow.autodiff.tape import GradientTape
from distflow.base import dtypes, errors, shapes
from distflow.core import context
from distflow.core.convert import convert_to_tensor
from distflow.core.late import RestoredWhenBuilt
from distflow.core.variable import Variable, VariableAggregation
from distflow.keras import serialization, stateless
from distflow.keras.engine import naming
from distflow.keras.optimizers import compiled, denormals, settings, state
from distflow.keras.optimizers.clipping import clip
from distflow.keras.optimizers.schedules import LearningRateSchedule
from distflow.ops import math
from distflow.ops.prims.elementwise import select


class Optimizer(RestoredWhenBuilt):
    """Changes variables so that a loss falls (Keras 3's optimizer).

    Args:
      learning_rate: float, schedule, or function of no arguments.
      weight_decay: w -= learning_rate * weight_decay * w before the update.
      clipnorm, clipvalue, global_clipnorm: at most one of them: the norm of each gradient, each
        element, or the norm of all gradients together is limited.
      use_ema, ema_momentum, ema_overwrite_frequency: keeps moving averages of the variables, and
        puts them in the variables' place every so many steps.
      loss_scale_factor: `scale_loss` multiplies by it, `apply` divides the gradients by it.
      gradient_accumulation_steps: variables change in every n-th call, by the mean gradient.
    """

    _keras_kind = "optimizer"
    # Whether eager updates may become one compiled program that holds the settings.
    compiles_eager_updates = True

    def __init__(
        self,
        learning_rate: Any,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        if kwargs.pop("decay", None) is not None:
            warnings.warn(
                "Argument `decay` is no longer supported and will be ignored. Give a "
                "LearningRateSchedule as the learning rate.", stacklevel=3,
            )  # fmt: skip
        if kwargs:
            raise ValueError(f"Argument(s) not recognized: {kwargs}")
        self.weight_decay = weight_decay
        self.clipnorm = clipnorm
        self.clipvalue = clipvalue
        self.global_clipnorm = global_clipnorm
        self.use_ema = use_ema
        self.ema_momentum = ema_momentum
        self.ema_overwrite_frequency = ema_overwrite_frequency
        self.loss_scale_factor = loss_scale_factor
        self.gradient_accumulation_steps = gradient_accumulation_steps
        settings.check(type(self).__name__, {n: getattr(self, n) for n in settings.DEFAULTS})
        self.name = name or naming.auto_name(type(self).__name__)
        self.built = False
        self._variables: list[Variable] = []
        self._trainable_variables: list[Any] = []
        self._index: dict[int, int] = {}
        self._undecayed: set[int] = set()
        self._undecayed_names: list[str] = []
        self._averages: list[Variable] = []
        self._accumulators: list[Variable] = []
        # Where gradients are accumulated: whether this call changes the variables.
        self._is_update: Any = None
        self._iterations = self.add_variable(
            (), "zeros", "int64", name="iteration", aggregation="only_first_replica"
        )
        self._learning_rate: Any = None
        if isinstance(learning_rate, LearningRateSchedule) or callable(learning_rate):
            self._learning_rate = learning_rate
        else:
            self._learning_rate = self._new_variable(
                np.asarray(float(learning_rate), np.float32), "learning_rate",
                VariableAggregation.ONLY_FIRST_REPLICA,
            )  # fmt: skip

    # -- variables ---------------------------------------------------------------------------

    @property
    def variables(self) -> list[Variable]:
        """All state, in Keras 3's order: iteration, learning_rate, then the slots."""
        return list(self._variables)

    @property
    def iterations(self) -> Any:
        """How many updates were made."""
        if self.gradient_accumulation_steps:
            return math.floordiv(self._iterations, self.gradient_accumulation_steps)
        return self._iterations

    @iterations.setter
    def iterations(self, variable: Any) -> None:
        if self.built:
            raise RuntimeError("Cannot set `iterations` to a new Variable after the optimizer "
                               "has been built.")  # fmt: skip
        self._variables[0] = self._iterations = variable

    @property
    def learning_rate(self) -> Any:
        """The rate at this moment: the variable, or what schedule or function give."""
        return self._current_learning_rate()

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if isinstance(value, LearningRateSchedule) or callable(value):
            self._variables = [v for v in self._variables if v is not self._learning_rate]
            self._learning_rate = value
        elif isinstance(self._learning_rate, Variable):
            self._learning_rate.assign(math.cast(convert_to_tensor(value), dtypes.float32))
        else:
            raise TypeError(
                "This optimizer was created with a `LearningRateSchedule` object as its "
                "`learning_rate` constructor argument, hence its learning rate is not settable. "
                "If you need the learning rate to be settable, you should instantiate the "
                "optimizer with a float `learning_rate` argument."
            )

    def _current_learning_rate(self) -> Any:
        if isinstance(self._learning_rate, LearningRateSchedule):
            return self._learning_rate(self._iterations)
        if isinstance(self._learning_rate, Variable):
            return self._learning_rate
        return self._learning_rate()

    def _new_variable(self, value: Any, name: str, aggregation: Any) -> Variable:
        variable = Variable(
            value, trainable=False, name=f"{self.name}/{name}", aggregation=aggregation
        )
        self._variables.append(variable)
        return variable

    def add_variable(self, shape: Any, initializer: Any = "zeros", dtype: Any = None,
                     aggregation: str = "none", layout: Any = None,
                     name: str | None = None) -> Variable:  # fmt: skip
        """Returns a new variable that belongs to the optimizer's state."""
        kind = dtypes.as_dtype(dtype or "float32")
        dims = tuple(shape)
        if initializer in ("zeros", "ones"):
            value = np.full(dims, int(initializer == "ones"), kind.numpy)
        else:
            value = initializer(dims, dtype=kind)
        return self._new_variable(
            value, name or "variable", VariableAggregation[aggregation.upper()]
        )

    def add_variable_from_reference(self, reference_variable: Any, name: str | None = None,
                                    initializer: Any = "zeros") -> Variable:  # fmt: skip
        """Returns a new slot of the shape and dtype of a variable, named after it."""
        slot = f"{_path(reference_variable)}_{name or 'slot'}"
        return self.add_variable(
            reference_variable.shape, initializer, reference_variable.dtype, name=slot
        )

    def add_optimizer_variables(self, trainable_variables: Iterable[Any], name: Any,
                                initializer: Any = "zeros") -> Any:  # fmt: skip
        """Returns one slot a variable; for several names, one list a name.

        Several slots are made variable by variable, as Keras stores them.
        """
        single = isinstance(name, str)
        slots = [name] if single else list(name)
        listed = isinstance(initializer, list | tuple)
        initial = list(initializer) if listed else [initializer] * len(slots)
        made: tuple[list[Variable], ...] = tuple([] for _ in slots)
        for variable in trainable_variables:
            for slot, start, column in zip(slots, initial, made):
                column.append(self.add_variable_from_reference(variable, slot, start))
        return made[0] if single else made

    def build(self, variables: Iterable[Any]) -> None:
        """Makes the slots of these variables. Subclasses extend it; once is enough."""
        variables = list(variables)
        self._trainable_variables = variables
        self._index = {id(v): i for i, v in enumerate(variables)}
        if self.use_ema:
            self._averages = self.add_optimizer_variables(variables, "average")
        if self.gradient_accumulation_steps:
            self._accumulators = self.add_optimizer_variables(variables, "gradient_accumulator")
        self.built = True

    def _get_variable_index(self, variable: Any) -> int:
        return self._index[id(variable)]

    def exclude_from_weight_decay(self, var_list: Any = None, var_names: Any = None) -> None:
        """Keeps weight decay away from variables, given themselves or by a part of their name.

        Raises:
          RuntimeError: after the optimizer is built.
        """
        if self.built:
            raise RuntimeError("`exclude_from_weight_decay()` can only be configured before the "
                               "optimizer is built.")  # fmt: skip
        self._undecayed = {id(v) for v in var_list or ()}
        self._undecayed_names = list(var_names or ())

    # -- one update --------------------------------------------------------------------------

    def minimize(self, loss: Any, var_list: Any = None, tape: Any = None) -> Any:
        """Takes one step on a loss: a function of no arguments, or a tensor and its tape.

        Args:
          loss: called under a tape unless a tape is given.
          var_list: variables to change; default those that the loss read.
        """
        if callable(loss):
            with GradientTape() as tape:
                loss = loss()
            var_list = list(tape.watched_variables()) if var_list is None else var_list
        elif tape is None:
            raise errors.invalid(
                "minimize", "loss must be a function, or a tensor with its tape", repr(loss)
            )
        elif var_list is None:
            var_list = list(tape.watched_variables())
        variables = list(var_list() if callable(var_list) else var_list)
        return self.apply_gradients(zip(tape.gradient(loss, variables), variables))

    def apply_gradients(self, grads_and_vars: Any, name: Any = None, **kwargs: Any) -> Any:
        """Takes one step; pairs of gradient and variable. Returns the count of steps."""
        grads_and_vars = list(grads_and_vars)
        self.apply([g for g, _ in grads_and_vars], [v for _, v in grads_and_vars])
        return self._iterations

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Takes one step with gradients for the given variables (default: those built for).

        Raises:
          ValueError: if no gradient is there, a variable is unknown, or counts differ.
        """
        grads = list(grads)
        if trainable_variables is None:
            if not self.built:
                raise ValueError("When passing `grads` without `variables`, the optimizer must "
                                 "already be built on a list of variables. Call "
                                 "`optimizer.build(trainable_variables)` first.")  # fmt: skip
            variables = list(self._trainable_variables)
        else:
            variables = list(trainable_variables)
        if len(grads) != len(variables):
            raise errors.invalid(
                "Optimizer.apply", f"expected one gradient for each of {len(variables)} variables",
                f"{len(grads)} gradients",
            )  # fmt: skip
        self._check_variables(variables)
        built_for = variables
        grads, variables = self._filter_empty_gradients(grads, variables)
        if not grads:
            return

        def update(gradients: Any, chosen: Any) -> None:
            if not self.built:
                with context.init_scope():
                    self.build(built_for)
            if not compiled.update(self, gradients, chosen):
                self._apply_local(gradients, chosen)

        replica = context.state.replica
        if replica is not None:
            # All-reduces the gradients over the replicas, then runs `update` once a worker.
            replica.apply_once(update, grads, variables)
        else:
            update(grads, variables)

    def stateless_apply(self, optimizer_variables: Any, grads: Any,
                        trainable_variables: Any) -> tuple[list[Any], list[Any]]:  # fmt: skip
        """Returns values of the trainable and the own variables after a step; keeps its own.

        Args:
          optimizer_variables: values of `variables`.
          grads, trainable_variables: of the variables it was built for.
        """
        if not self.built:
            raise ValueError(f"To call `stateless_apply`, {type(self).__name__} must be built. "
                             "Call `optimizer.build(trainable_variables)` first.")  # fmt: skip
        return stateless.applied(self, optimizer_variables, grads, trainable_variables)

    def _check_variables(self, variables: list[Any]) -> None:
        if not self.built:
            return
        for variable in variables:
            if id(variable) not in self._index:
                raise ValueError(
                    f"Unknown variable: {variable.name!r}. This optimizer can only be called for "
                    f"the variables it was originally built with. When working with a new set of "
                    f"variables, you should recreate a new optimizer instance."
                )

    def _filter_empty_gradients(self, grads: Any, variables: Any) -> tuple[list[Any], list[Any]]:
        kept = [(g, v) for g, v in zip(grads, variables) if g is not None]
        missing = [v.name for g, v in zip(grads, variables) if g is None]
        if missing and not kept:
            raise ValueError("No gradients provided for any variable.")
        if missing:
            warnings.warn(
                f"Gradients do not exist for variables {missing} when minimizing the loss. If "
                f"using `model.compile()`, did you forget to provide a `loss` argument?",
                stacklevel=4,
            )
        gradients = []
        for g, v in kept:
            g = convert_to_tensor(g)
            shapes.merge(f"Optimizer.apply: gradient of {v.name}", v.shape, g.shape)
            gradients.append(g if g.dtype is v.dtype else math.cast(g, v.dtype))
        return gradients, [v for _, v in kept]

    def _apply_local(self, grads: list[Any], variables: list[Any]) -> None:
        """Updates variables and slots from gradients that are the same on every worker."""
        scale = self.loss_scale_factor
        if scale is not None:
            grads = [g / scale for g in grads]
        if self.gradient_accumulation_steps:
            grads = self._accumulate(grads, variables)
        self._update(clip(grads, self.clipnorm, self.clipvalue, self.global_clipnorm), variables)
        self._is_update = None
        if self.use_ema:
            self._move_averages(variables)
        for variable in variables:
            constraint = getattr(variable, "constraint", None)
            if constraint is not None:
                variable.assign(constraint(variable.value()))
        self._iterations.assign_add(1)

    def _update(self, grads: list[Any], variables: list[Any]) -> None:
        self._decay_weights(variables)
        rate = self._current_learning_rate()
        rate = math.cast(convert_to_tensor(rate), dtypes.float32)
        self._update_all(grads, variables, rate)

    def _update_all(self, grads: list[Any], variables: list[Any], rate: Any) -> None:
        for g, v in zip(grads, variables):
            self.update_step(g, v, rate)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Changes one variable and its slots; each optimizer's own arithmetic."""
        raise errors.UnimplementedError(
            f"Optimizer: {type(self).__name__} must define "
            "update_step(gradient, variable, learning_rate)."
        )

    def assign(self, variable: Any, value: Any) -> None:
        """Assigns in an update: all of it or, where gradients are only accumulated, nothing."""
        if self._is_update is not None:
            value = select(self._is_update, value, variable.value())
        is_slot = any(variable is own for own in self._variables)
        variable.assign(denormals.to_zeros(value) if is_slot else value)

    def assign_add(self, variable: Any, value: Any) -> None:
        """Adds in an update."""
        if self._is_update is not None:
            value = select(self._is_update, value, value * 0)
        variable.assign_add(value)

    def assign_sub(self, variable: Any, value: Any) -> None:
        """Subtracts in an update."""
        if self._is_update is not None:
            value = select(self._is_update, value, value * 0)
        variable.assign_sub(value)

    def _accumulate(self, grads: list[Any], variables: list[Any]) -> list[Any]:
        steps = self.gradient_accumulation_steps
        assert steps is not None
        self._is_update = math.equal((self._iterations.value() + 1) % steps, 0)
        means = []
        for g, v in zip(grads, variables):
            accumulator = self._accumulators[self._get_variable_index(v)]
            total = accumulator.value() + g
            accumulator.assign(select(self._is_update, total * 0, total))
            means.append(total / steps)
        return means

    def _decay_weights(self, variables: list[Any]) -> None:
        decays = [(v, d) for v in variables if (d := self._decay_of(v)) is not None]
        if not decays:
            return
        rate = convert_to_tensor(self._current_learning_rate())
        for v, decay in decays:
            if self._use_weight_decay(v):
                self.assign_sub(v, v.value() * decay * math.cast(rate, v.dtype))

    def _decay_of(self, variable: Any) -> float | None:
        return self.weight_decay

    def _use_weight_decay(self, variable: Any) -> bool:
        if id(variable) in self._undecayed:
            return False
        names = (variable.name, _path(variable))
        return not any(re.search(part, n) for part in self._undecayed_names for n in names)

    def _move_averages(self, variables: list[Any]) -> None:
        """Moves the averages in every call, also where gradients are only accumulated (Keras)."""
        done = convert_to_tensor(self.iterations)
        for v in variables:
            average = self._averages[self._get_variable_index(v)]
            momentum = math.cast(math.not_equal(done, 0), v.dtype) * self.ema_momentum
            average.assign(momentum * average + (1 - momentum) * v)
        if self.ema_overwrite_frequency:
            now = math.equal((done + 1) % self.ema_overwrite_frequency, 0)
            for v in variables:
                average = self._averages[self._get_variable_index(v)]
                v.assign(select(now, average.value(), v.value()))

    def averages(self) -> list[tuple[Any, Variable]]:
        """Returns pairs of variable and moving average; none without use_ema."""
        return list(zip(self._trainable_variables, self._averages))

    def finalize_variable_values(self, var_list: Any) -> None:
        """Puts the moving averages into the variables, as `fit` does at its end."""
        if self.use_ema:
            for variable in var_list:
                index = self._get_variable_index(variable)
                variable.assign(self._averages[index].value())

    def scale_loss(self, loss: Any) -> Any:
        """Returns the loss times `loss_scale_factor`, if that is set."""
        return loss if self.loss_scale_factor is None else loss * self.loss_scale_factor

    # -- saving ------------------------------------------------------------------------------

    def save_own_variables(self, store: Any) -> None:
        """Writes the state under the keys "0", "1", ... (Keras 3's layout)."""
        state.save(self, store)

    def load_own_variables(self, store: Any) -> None:
        """Reads what `save_own_variables` wrote; warns and skips if the counts differ."""
        state.load(self, store)

    def get_weights(self) -> list[Any]:
        """Returns the values of `variables`."""
        return [v.numpy() for v in self.variables]

    def set_weights(self, weights: Any) -> None:
        """Sets the values of `variables`."""
        weights = list(weights)
        state.check(self, weights)
        self.load_own_variables({str(i): w for i, w in enumerate(weights)})

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal optimizer (without its state)."""
        rate = self._learning_rate
        if isinstance(rate, Variable):
            rate = float(rate.numpy())
        elif isinstance(rate, LearningRateSchedule) or callable(rate):
            rate = serialization.serialize_keras_object(rate)
        return {
            "name": self.name,
            "learning_rate": rate,
            "weight_decay": self.weight_decay,
            "clipnorm": self.clipnorm,
            "global_clipnorm": self.global_clipnorm,
            "clipvalue": self.clipvalue,
            "use_ema": self.use_ema,
            "ema_momentum": self.ema_momentum,
            "ema_overwrite_frequency": self.ema_overwrite_frequency,
            "loss_scale_factor": self.loss_scale_factor,
            "gradient_accumulation_steps": self.gradient_accumulation_steps,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Optimizer:
        """Returns an optimizer made from `get_config()`."""
        config = dict(config)
        if isinstance(config.get("learning_rate"), dict):
            config["learning_rate"] = serialization.deserialize_keras_object(
                config["learning_rate"], custom_objects=custom_objects
            )
        return cls(**config)


def _path(variable: Any) -> str:
    path = getattr(variable, "path", None) or variable.name.split(":")[0]
    return str(path).replace("/", "_").replace(":", "_")
