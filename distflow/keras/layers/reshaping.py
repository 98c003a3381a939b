"""Layers that move elements: Flatten, Reshape, Permute, padding, cropping, upsampling."""

from __future__ import annotations

from typing import Any

from distflow.base import errors, shapes
from distflow.core.convert import convert_to_tensor
from distflow.keras import config as settings
from distflow.keras.engine.input_spec import InputSpec
from distflow.keras.engine.layer import Layer
from distflow.keras.layers.arguments import pairs, sizes
from distflow.ops import array, dims


class Flatten(Layer):
    """Makes [batch, ...] to [batch, features]."""

    def __init__(self, data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format = settings.standardize_data_format(data_format)
        self.input_spec = InputSpec(min_ndim=1)
        self._channels_first = self.data_format == "channels_first"

    def call(self, inputs: Any) -> Any:
        """Returns the inputs with all but the first dimension taken together."""
        x = inputs
        if self._channels_first and x.ndim > 1:
            x = array.transpose(x, (0, *range(2, x.ndim), 1))
        features = shapes.size(x.shape[1:])
        if features is None:
            return dims.reshape(x, [dims.of(x)[0], dims.count(x, range(1, x.ndim))])
        return dims.reshape(x, [dims.of(x)[0], features])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"data_format": self.data_format}


class Reshape(Layer):
    """Gives each example the shape `target_shape`; one dimension may be -1."""

    def __init__(self, target_shape: Any, **kwargs: Any):
        super().__init__(**kwargs)
        target = (target_shape,) if isinstance(target_shape, int) else tuple(target_shape)
        if target.count(-1) > 1:
            raise errors.invalid(
                "Reshape", "There must be at most one unknown dimension (-1) in target_shape",
                f"target_shape={target_shape}",
            )  # fmt: skip
        self.target_shape = target

    def call(self, inputs: Any) -> Any:
        """Returns the inputs in the new shape."""
        total = shapes.size(inputs.shape[1:])
        target = list(self.target_shape)
        known = shapes.size(d for d in target if d != -1)
        if total is not None and known is not None:
            if -1 in target:
                fits = known and total % known == 0
            else:
                fits = total == known
            if not fits:
                raise errors.invalid(
                    "Reshape", "The total size of the tensor must be unchanged",
                    f"input_shape={tuple(inputs.shape[1:])}, target_shape={self.target_shape}",
                )  # fmt: skip
            target = [total // known if d == -1 else d for d in target]
        batch = dims.of(inputs)[0]
        if -1 in target and not isinstance(batch, int):
            whole = [dims.scalar(batch), *target]
            return array.reshape(inputs, whole)
        return dims.reshape(inputs, [batch, *target])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"target_shape": self.target_shape}


class Permute(Layer):
    """Puts the dimensions of each example in another order; dims count from 1."""

    def __init__(self, dims: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise errors.invalid(
                "Permute", "The set of indices in `dims` must be consecutive and start from 1",
                f"dims={dims}",
            )  # fmt: skip
        self.input_spec = InputSpec(ndim=len(self.dims) + 1)

    def call(self, inputs: Any) -> Any:
        """Returns the inputs with their dimensions in the new order."""
        return array.transpose(inputs, (0, *self.dims))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"dims": self.dims}


class RepeatVector(Layer):
    """Makes [batch, features] to [batch, n, features]."""

    def __init__(self, n: int, **kwargs: Any):
        super().__init__(**kwargs)
        if not isinstance(n, int):
            raise errors.DtypeMismatchError(
                f"RepeatVector: expected an integer value for `n`; received {type(n)}."
            )
        self.n = n
        self.input_spec = InputSpec(ndim=2)

    def call(self, inputs: Any) -> Any:
        """Returns the inputs n times along a new dimension."""
        batch, features = dims.of(inputs)
        return dims.broadcast(array.expand_dims(inputs, 1), [batch, self.n, features])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"n": self.n}


class _Spatial(Layer):
    """A layer over n spatial dimensions between batch and channels."""

    _n = 1

    def __init__(self, data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format = settings.standardize_data_format(data_format)
        self.input_spec = InputSpec(ndim=self._n + 2)

    def _around(self, entries: Any, outside: Any) -> list[Any]:
        """Returns entries of the spatial dimensions among those of batch and channels."""
        if self.data_format == "channels_first":
            return [outside, outside, *entries]
        return [outside, *entries, outside]


class _ZeroPadding(_Spatial):
    """Puts zeros around the spatial dimensions."""

    def __init__(self, padding: Any = 1, data_format: str | None = None, **kwargs: Any):
        super().__init__(data_format, **kwargs)
        self.padding = pairs("padding", padding, self._n)

    def call(self, inputs: Any) -> Any:
        """Returns the inputs with zeros around them."""
        return array.pad(inputs, self._around([list(p) for p in self.padding], [0, 0]))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        given = self.padding[0] if self._n == 1 else self.padding
        return super().get_config() | {"padding": given, "data_format": self.data_format}


class ZeroPadding1D(_ZeroPadding):
    """Puts zeros before and after the steps: an int or a pair."""


class ZeroPadding2D(_ZeroPadding):
    """Puts zeros around images: an int, (rows, columns), or pairs of them."""

    _n = 2

    def __init__(self, padding: Any = (1, 1), data_format: str | None = None, **kwargs: Any):
        super().__init__(padding, data_format, **kwargs)


class ZeroPadding3D(_ZeroPadding):
    """Puts zeros around volumes: an int, three ints, or three pairs."""

    _n = 3

    def __init__(self, padding: Any = ((1, 1), (1, 1), (1, 1)), data_format: str | None = None,
                 **kwargs: Any):  # fmt: skip
        super().__init__(padding, data_format, **kwargs)


class _Cropping(_Spatial):
    """Cuts off the ends of the spatial dimensions."""

    def __init__(self, cropping: Any, data_format: str | None = None, **kwargs: Any):
        super().__init__(data_format, **kwargs)
        self.cropping = pairs("cropping", cropping, self._n)

    def call(self, inputs: Any) -> Any:
        """Returns the inputs without their ends."""
        for size, (low, high) in zip(self._spatial(inputs.shape), self.cropping):
            if size is not None and low + high >= size:
                raise errors.invalid(
                    type(self).__name__, "`cropping` must leave something of the inputs",
                    f"input shape {shapes.text(inputs.shape)}, cropping={self.cropping}",
                )  # fmt: skip
        ends = [slice(low, -high if high else None) for low, high in self.cropping]
        return inputs[tuple(self._around(ends, slice(None)))]

    def _spatial(self, shape: Any) -> Any:
        return shape[2:] if self.data_format == "channels_first" else shape[1:-1]

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        config = super().get_config()
        if self._n == 1:
            return config | {"cropping": self.cropping[0]}
        return config | {"cropping": self.cropping, "data_format": self.data_format}


class Cropping1D(_Cropping):
    """Cuts off steps at both ends."""

    def __init__(self, cropping: Any = (1, 1), **kwargs: Any):
        super().__init__(cropping, "channels_last", **kwargs)


class Cropping2D(_Cropping):
    """Cuts off rows and columns of images."""

    _n = 2

    def __init__(self, cropping: Any = ((0, 0), (0, 0)), data_format: str | None = None,
                 **kwargs: Any):  # fmt: skip
        super().__init__(cropping, data_format, **kwargs)


class Cropping3D(_Cropping):
    """Cuts off the ends of volumes."""

    _n = 3

    def __init__(self, cropping: Any = ((1, 1), (1, 1), (1, 1)), data_format: str | None = None,
                 **kwargs: Any):  # fmt: skip
        super().__init__(cropping, data_format, **kwargs)


class _UpSampling(_Spatial):
    """Repeats each position along the spatial dimensions."""

    def __init__(self, size: Any, data_format: str | None = None, **kwargs: Any):
        super().__init__(data_format, **kwargs)
        self.size: Any = sizes("size", size, self._n)

    def call(self, inputs: Any) -> Any:
        """Returns the inputs with each position repeated."""
        x = convert_to_tensor(inputs)
        for axis, times in enumerate(self._around(self.size, 1)):
            if times != 1:
                x = array.repeat(x, times, axis=axis)
        return x


class UpSampling1D(_UpSampling):
    """Repeats each step `size` times."""

    def __init__(self, size: int = 2, **kwargs: Any):
        super().__init__(size, "channels_last", **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"size": self.size[0]}


class UpSampling2D(_UpSampling):
    """Repeats rows and columns of images; only the nearest neighbour is there."""

    _n = 2

    def __init__(self, size: Any = (2, 2), data_format: str | None = None,
                 interpolation: str = "nearest", **kwargs: Any):  # fmt: skip
        if interpolation != "nearest":
            raise errors.UnimplementedError(
                f"UpSampling2D: only interpolation='nearest' is there; received {interpolation!r}."
            )
        super().__init__(size, data_format, **kwargs)
        self.interpolation = interpolation

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {
            "size": self.size,
            "data_format": self.data_format,
            "interpolation": self.interpolation,
        }


class UpSampling3D(_UpSampling):
    """Repeats positions of volumes."""

    _n = 3

    def __init__(self, size: Any = (2, 2, 2), data_format: str | None = None, **kwargs: Any):
        super().__init__(size, data_format, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"size": self.size, "data_format": self.data_format}
