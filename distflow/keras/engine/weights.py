"""The part of a layer that answers for its weights and the layers inside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from distflow.core.variable import Variable
from distflow.keras.engine import tracking


class WeightsOfLayer(tracking.Forgetting):
    """Mixin of Layer: weights in Keras's order, freezing, get and set, saving and loading."""

    name: str
    built: bool
    _trainable: bool

    def _lacking(self, attribute: str) -> AttributeError:
        """Returns the error about an attribute that is not there, or not before `build`."""
        text = f"{type(self).__name__!r} object has no attribute {attribute!r}"
        if not attribute.startswith("_") and self.__dict__.get("built") is False:
            text += f". Layer {self.name!r} is not built yet: call it, or its build(input_shape)"
        return AttributeError(text)

    @property
    def _layers(self) -> list[Any]:
        return [x for x in tracking.tracked(self) if tracking.kind(x) == "layer"]

    def _flatten_layers(self, include_self: bool = True, recursive: bool = True) -> Iterator[Any]:
        """Yields this layer and all layers inside it, each once."""
        seen: set[int] = set()
        pending = [self] if include_self else list(self._layers)
        while pending:
            layer = pending.pop(0)
            if id(layer) not in seen:
                seen.add(id(layer))
                yield layer
                if recursive:
                    pending[:0] = layer._layers
                elif layer is self:
                    pending.extend(layer._layers)

    def _own_variables(self, tracked: Any = None) -> list[Any]:
        """Variables of this layer itself (among what is `tracked`): those to train first."""
        tracked = tracking.tracked(self) if tracked is None else tracked
        found = [x for x in tracked if isinstance(x, Variable)]
        to_train = [v for v in found if v.trainable or _is_frozen(v)]
        return to_train + [v for v in found if not (v.trainable or _is_frozen(v))]

    @property
    def _metrics(self) -> list[Any]:
        return [x for x in tracking.tracked(self) if tracking.kind(x) == "metric"]

    @property
    def weights(self) -> list[Any]:
        """All weights, this layer's first, without random states and metrics."""
        found = list(self._own_variables())
        for layer in self._layers:
            found.extend(layer.weights)
        return tracking.unique(found)

    @property
    def variables(self) -> list[Any]:
        """All variables: the weights, and the states of random generators."""
        tracked = tracking.tracked(self)
        found = self._own_variables(tracked)
        found += [x.state for x in tracked if tracking.kind(x) == "seed_generator"]
        # Each training step asks: what was found is not searched for again.
        if type(self)._layers is WeightsOfLayer._layers:
            layers = [x for x in tracked if tracking.kind(x) == "layer"]
        else:
            layers = self._layers
        for layer in layers:
            found.extend(layer.variables)
        return tracking.unique(found)

    @property
    def trainable_weights(self) -> list[Any]:
        """The weights that training changes; none if the layer is frozen."""
        return [v for v in self.weights if v.trainable] if self.trainable else []

    @property
    def non_trainable_weights(self) -> list[Any]:
        """The weights that training does not change."""
        return [v for v in self.weights if not v.trainable] if self.trainable else self.weights

    @property
    def trainable_variables(self) -> list[Any]:
        """The variables that training changes; none if the layer is frozen."""
        return [v for v in self.variables if v.trainable] if self.trainable else []

    @property
    def non_trainable_variables(self) -> list[Any]:
        """The variables that training does not change."""
        return [v for v in self.variables if not v.trainable] if self.trainable else self.variables

    @property
    def metrics(self) -> list[Any]:
        """Metrics in attributes of this layer and those inside."""
        found = list(self._metrics)
        for layer in self._layers:
            found.extend(layer.metrics)
        return tracking.unique(found)

    @property
    def trainable(self) -> bool:
        """Whether training changes the weights; setting it also sets the layers inside."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        for variable in self._own_variables():
            if not value:
                self._freeze(variable)
            elif _is_frozen(variable):
                variable._is_frozen = False
                variable.trainable = True
        for layer in self._layers:
            layer.trainable = value

    def _freeze(self, variable: Any) -> None:
        if variable.trainable:
            variable.trainable = False
            variable._is_frozen = True

    def count_params(self) -> int:
        """Returns the number of elements of all weights.

        Raises:
          ValueError: if the layer is not built.
        """
        if not self.built:
            raise ValueError(
                f"You tried to call `count_params` on layer '{self.name}', but the layer isn't "
                "built. You can build it manually via: `layer.build(input_shape)`."
            )
        return int(sum(int(np.prod(tuple(v.shape), dtype=np.int64)) for v in self.weights))

    def get_weights(self) -> list[Any]:
        """Returns the values of `weights` as NumPy arrays."""
        return [np.asarray(v.numpy()) for v in self.weights]

    def set_weights(self, weights: Any) -> None:
        """Sets the values of `weights` from arrays of the same shapes, in order.

        Raises:
          ValueError: if the number or a shape differs; then nothing is changed.
        """
        variables = self.weights
        if len(variables) != len(weights):
            raise ValueError(
                f"You called `set_weights(weights)` on layer '{self.name}' with a weight list of "
                f"length {len(weights)}, but the layer was expecting {len(variables)} weights."
            )
        for variable, value in zip(variables, weights):
            if tuple(variable.shape) != tuple(np.shape(value)):
                raise ValueError(
                    f"Layer {self.name} weight shape {tuple(variable.shape)} is not compatible "
                    f"with provided weight shape {tuple(np.shape(value))}."
                )
        for variable, value in zip(variables, weights):
            variable.assign(_of_dtype(value, variable))

    def save_own_variables(self, store: Any) -> None:
        """Puts this layer's own variables into a store: "0", "1", ... in order."""
        for index, variable in enumerate(self._own_variables()):
            store[str(index)] = variable.numpy()

    def load_own_variables(self, store: Any) -> None:
        """Takes this layer's own variables from a store.

        Raises:
          ValueError: if the number or a shape differs, or the layer is not built.
        """
        variables = self._own_variables()
        if len(store.keys()) != len(variables):
            if not variables and not self.built:
                raise ValueError(
                    f"Layer '{self.name}' was never built and thus it doesn't have any variables. "
                    f"However the weights file lists {len(store.keys())} variables for this "
                    "layer. In most cases, this error indicates that either: 1. The layer is "
                    "owned by a parent layer that implements a `build()` method, but calling the "
                    "parent's `build()` method did NOT create the state of the child layer "
                    f"'{self.name}'. 2. You need to implement the `def build_from_config(self, "
                    "config)` method on the layer, to specify how to rebuild it during loading."
                )
            raise ValueError(
                f"Layer '{self.name}' expected {len(variables)} variables, but received "
                f"{len(store.keys())} variables during loading. "
                f"Expected: {[v.name for v in variables]}"
            )
        for index, variable in enumerate(variables):
            value = store[str(index)]
            if tuple(np.shape(value)) != tuple(variable.shape):
                raise ValueError(
                    f"The shape of the target variable and the shape of the target value in "
                    f"`variable.assign(value)` must match. variable.shape={tuple(variable.shape)}, "
                    f"Received: value.shape={tuple(np.shape(value))}. Target variable: "
                    f"{variable.name} of layer '{self.name}'"
                )
        for index, variable in enumerate(variables):
            variable.assign(_of_dtype(store[str(index)], variable))


def _is_frozen(variable: Any) -> bool:
    return getattr(variable, "_is_frozen", False)


def _of_dtype(value: Any, variable: Any) -> Any:
    return np.asarray(value).astype(variable.dtype.numpy)
