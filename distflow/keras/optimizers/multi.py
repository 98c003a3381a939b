"""MultiOptimizer: different optimizers for different variables, chosen by their paths."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from distflow.base import errors
from distflow.keras import serialization
from distflow.keras.optimizers.base import Optimizer
from distflow.keras.optimizers.loss_scale import LossScaleOptimizer


class OptimizerMap(MutableMapping[str, Optimizer]):
    """Path patterns and the optimizers of the variables that they match.

    Args:
      default_optimizer: for variables that match no pattern.
      optimizer_map: regular expression of the whole path -> optimizer.
    """

    def __init__(self, default_optimizer: Optimizer, optimizer_map: Any = None):
        if not isinstance(default_optimizer, Optimizer):
            raise TypeError("OptimizerMap: default_optimizer must be an Optimizer; received "
                            f"{default_optimizer!r}.")  # fmt: skip
        if optimizer_map is not None and not isinstance(optimizer_map, dict):
            raise TypeError(f"OptimizerMap: optimizer_map must be a dict; received "
                            f"{optimizer_map!r}.")  # fmt: skip
        self._default = default_optimizer
        self._optimizers: dict[str, Optimizer] = dict(optimizer_map or {})

    @property
    def default_optimizer(self) -> Optimizer:
        """The optimizer of variables that match nothing."""
        return self._default

    def __getitem__(self, key: str) -> Optimizer:
        if key in self._optimizers:
            return self._optimizers[key]
        found = [o for pattern, o in self._optimizers.items() if re.fullmatch(pattern, key)]
        if len(found) > 1:
            raise errors.invalid("OptimizerMap", f"one optimizer for the variable {key!r}",
                                 f"{len(found)} patterns that match")  # fmt: skip
        return found[0] if found else self._default

    def __setitem__(self, key: str, optimizer: Optimizer) -> None:
        if not isinstance(key, str):
            raise errors.invalid("OptimizerMap", "key must be a string", repr(key))
        if key in self._optimizers:
            raise errors.invalid("OptimizerMap", "keys must not be there yet", repr(key))
        self._optimizers[key] = _simple("OptimizerMap", optimizer)

    def __delitem__(self, key: str) -> None:
        del self._optimizers[key]

    def __len__(self) -> int:
        return len(self._optimizers)

    def __iter__(self) -> Iterator[str]:
        return iter(self._optimizers)

    def __call__(self, variable: Any) -> Optimizer:
        """Returns the optimizer of a variable."""
        return self[getattr(variable, "path", None) or variable.name.split(":")[0]]

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal map."""
        return {
            "default_optimizer": serialization.serialize_keras_object(self._default),
            "optimizer_map": serialization.serialize_keras_object(self._optimizers),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Returns a map made from `get_config()`."""
        made = {
            key: serialization.deserialize_keras_object(value, custom_objects=custom_objects)
            for key, value in config.items()
        }
        return cls(**made)


class MultiOptimizer(Optimizer):
    """Hands each variable to one of several optimizers.

    Args:
      optimizer_map: an OptimizerMap, or a function from a variable to its optimizer.
      loss_scale_factor: for all of them.
    """

    # Its program would hold the settings of others, which may change between steps.
    compiles_eager_updates = False

    def __init__(self, optimizer_map: OptimizerMap | Callable[[Any], Optimizer],
                 loss_scale_factor: float | None = None, name: str | None = None):  # fmt: skip
        if not callable(optimizer_map):
            raise errors.invalid("MultiOptimizer", "an OptimizerMap or function of a variable",
                                 repr(optimizer_map))  # fmt: skip
        self._optimizer_map = optimizer_map
        self._inner: list[Optimizer] = []
        self._loss_scale_factor: float | None = None
        super().__init__(0.0, name=name, loss_scale_factor=loss_scale_factor)
        if isinstance(optimizer_map, OptimizerMap):
            for optimizer in (*optimizer_map._optimizers.values(), optimizer_map.default_optimizer):
                self._add(optimizer)

    def _add(self, optimizer: Optimizer) -> int:
        for i, known in enumerate(self._inner):
            if known is optimizer:
                return i
        optimizer.loss_scale_factor = self.loss_scale_factor
        self._inner.append(optimizer)
        return len(self._inner) - 1

    @property
    def optimizers(self) -> list[Optimizer]:
        """The optimizers that do the work."""
        return self._inner

    @property
    def variables(self) -> list[Any]:
        """Own state, then that of the others."""
        return [*self._variables, *(v for o in self._inner for v in o.variables)]

    @property
    def loss_scale_factor(self) -> float | None:
        """The factor of the loss, the same for all."""
        return self._loss_scale_factor

    @loss_scale_factor.setter
    def loss_scale_factor(self, value: float | None) -> None:
        self._loss_scale_factor = value
        for optimizer in self._inner:
            optimizer.loss_scale_factor = value

    @property
    def learning_rate(self) -> Any:
        """There is none: each optimizer has its own."""
        raise AttributeError("A MultiOptimizer has no learning rate. Read that of one of "
                             "`optimizers` instead.")  # fmt: skip

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        raise AttributeError("A MultiOptimizer has no learning rate. Set that of one of "
                             "`optimizers` instead.")  # fmt: skip

    def build(self, variables: Any) -> None:
        """Chooses an optimizer for each variable and builds all of them."""
        if self.built:
            return
        variables = list(variables)
        self._chosen = {
            id(v): self._add(_simple("MultiOptimizer", self._optimizer_map(v))) for v in variables
        }
        for i, optimizer in enumerate(self._inner):
            own = [v for v in variables if self._chosen[id(v)] == i]
            if own:
                optimizer.build(own)
        super().build(variables)

    def _apply_local(self, grads: list[Any], variables: list[Any]) -> None:
        for i, optimizer in enumerate(self._inner):
            own = [(g, v) for g, v in zip(grads, variables) if self._chosen[id(v)] == i]
            if own:
                optimizer._apply_local([g for g, _ in own], [v for _, v in own])
        self._iterations.assign_add(1)

    def finalize_variable_values(self, var_list: Any) -> None:
        """Puts moving averages into the variables of optimizers that keep them."""
        for i, optimizer in enumerate(self._inner):
            own = [v for v in var_list if self._chosen[id(v)] == i]
            if own:
                optimizer.finalize_variable_values(own)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal optimizer."""
        return {
            "optimizer_map": serialization.serialize_keras_object(self._optimizer_map),
            "loss_scale_factor": self.loss_scale_factor,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Returns an optimizer made from `get_config()`."""
        chosen = serialization.deserialize_keras_object(
            config["optimizer_map"], custom_objects=custom_objects
        )
        return cls(**{**config, "optimizer_map": chosen})


def _simple(where: str, optimizer: Any) -> Optimizer:
    """Returns an optimizer that changes variables itself."""
    if not isinstance(optimizer, Optimizer) or isinstance(
        optimizer, LossScaleOptimizer | MultiOptimizer
    ):
        raise errors.invalid(
            where, "an Optimizer that is neither a LossScaleOptimizer nor a MultiOptimizer",
            repr(optimizer),
        )  # fmt: skip
    return optimizer
