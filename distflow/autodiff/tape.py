"""GradientTape: records operations on watched values, then differentiates.

The tape is an observer of `core.bind`; it works the same on values and inside a trace.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from distflow.autodiff import backward
from distflow.autodiff.backward import Record, UnconnectedGradients
from distflow.autodiff.jacobian import jacobian_of_rows
from distflow.base import errors, log, nest
from distflow.core import context, convert
from distflow.core.tensor import EagerTensor, Tensor
from distflow.telemetry import timeline


class GradientTape:
    """Records operations for automatic differentiation (`with tf.GradientTape() as tape`).

    Args:
      persistent: whether `gradient` may be called more than once.
      watch_accessed_variables: whether trainable variables are watched when they are read.
    """

    def __init__(self, persistent: bool = False, watch_accessed_variables: bool = True):
        self._persistent = persistent
        self._watch_accessed = watch_accessed_variables
        self._recording = False
        self._used = False
        self._watched: list[Any] = []
        self._clear()

    def _clear(self) -> None:
        self._records: list[Record] = []
        # Strong references: an id stays unique only as long as its object lives.
        self._tracked: dict[int, Any] = {}

    def __enter__(self) -> GradientTape:
        if self._recording:
            raise ValueError("Tape is still recording; it cannot be entered again.")
        self._start()
        return self

    def __exit__(self, *unused: object) -> None:
        if self._recording:
            self._stop()

    def _start(self) -> None:
        context.state.observers = [*context.state.observers, self]
        self._recording = True

    def _stop(self) -> None:
        context.state.observers = [o for o in context.state.observers if o is not self]
        self._recording = False

    def record(
        self,
        primitive: Any,
        inputs: tuple[Any, ...],
        outputs: tuple[Any, ...],
        attributes: dict[str, Any],
    ) -> None:
        """Notes an operation if it depends on something watched (called by `core.bind`)."""
        tracked = self._tracked
        depends = False
        for value in inputs:
            if id(value) in tracked:
                depends = True
            elif type(value) is EagerTensor:
                continue
            elif self._watch_accessed and _is_variable(value) and value.trainable:
                self._watch(value)
                depends = True
        if not depends or primitive.gradient is None or not outputs:
            return
        for output in outputs:
            if output.dtype.is_floating or output.dtype.is_complex:
                tracked[id(output)] = output
        self._records.append(Record(primitive, inputs, outputs, attributes))

    def watch(self, tensor: Any) -> None:
        """Watches tensors or Variables (or structures of them) from now on."""
        for value in nest.flatten(tensor):
            if not isinstance(value, Tensor) and not _is_variable(value):
                raise errors.invalid("GradientTape.watch", "tensors or Variables", repr(value))
            if value.dtype.is_floating or value.dtype.is_complex:
                self._watch(value)
                continue
            log.get_logger().warning(
                "GradientTape.watch: the dtype should be floating; received %s. "
                "Integers have no gradients: cast the tensor first.", value.dtype.name,
            )  # fmt: skip

    def _watch(self, value: Any) -> None:
        if id(value) not in self._tracked:
            self._tracked[id(value)] = value
            self._watched.append(value)

    def watched_variables(self) -> tuple[Any, ...]:
        """Returns the variables watched, in the order in which they came."""
        return tuple(v for v in self._watched if _is_variable(v))

    def reset(self) -> None:
        """Forgets all that was recorded and watched."""
        self._clear()
        self._watched = []

    @contextlib.contextmanager
    def stop_recording(self) -> Iterator[None]:
        """Leaves the operations of the block unrecorded."""
        if not self._recording:
            raise ValueError("The tape is not recording.")
        self._stop()
        try:
            yield
        finally:
            self._start()

    def gradient(
        self,
        target: Any,
        sources: Any,
        output_gradients: Any = None,
        unconnected_gradients: Any = UnconnectedGradients.NONE,
    ) -> Any:
        """Returns d target / d sources, in the structure of `sources`.

        Args:
          target: a tensor, or a structure of tensors whose gradients are added.
          sources: tensors or Variables that the tape watched.
          output_gradients: gradients that flow into the targets; default ones.
          unconnected_gradients: NONE or ZERO for sources that no target depends on.

        Raises:
          RuntimeError: on the second call, unless the tape is persistent.
        """
        self._check_use()
        policy = backward.check_unconnected(unconnected_gradients)
        targets = [_differentiable(t) for t in nest.flatten(target)]
        flat_sources = nest.flatten(sources)
        for source in flat_sources:
            if not hasattr(source, "dtype"):
                raise errors.invalid("gradient", "sources must be tensors or Variables",
                                     repr(source))  # fmt: skip
        start = timeline.now()
        with self._quiet():
            gradients = self._sweep(targets, flat_sources, output_gradients)
            if timeline.active is not None and context.executing_eagerly():
                timeline.active.add("gradient", "compute", start)
            if policy is UnconnectedGradients.ZERO:
                gradients = [
                    backward.zeros_like(s) if g is None else g
                    for g, s in zip(gradients, flat_sources)
                ]
        return nest.pack_sequence_as(sources, gradients)

    def _sweep(self, targets: Sequence[Any], sources: Sequence[Any], given: Any) -> list[Any]:
        given = [None] * len(targets) if given is None else nest.flatten(given)
        if len(given) != len(targets):
            raise errors.invalid(
                "gradient", f"output_gradients must be one for each of {len(targets)} targets",
                str(len(given)),
            )  # fmt: skip
        initial = [_output_gradient(g, t) for g, t in zip(given, targets)]
        return backward.eager_sweep(self._records, targets, initial, sources, self._tracked)

    def _check_use(self) -> None:
        if self._used and not self._persistent:
            raise RuntimeError(
                "A non-persistent GradientTape can only be used to compute one set of gradients. "
                "Give GradientTape(persistent=True)."
            )
        self._used = True

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        """While differentiating inside its own block, a tape that is used up stops for good."""
        if self._recording and not self._persistent:
            self._stop()
        yield
        if not self._persistent and not self._recording:
            self._clear()

    def jacobian(
        self,
        target: Any,
        sources: Any,
        unconnected_gradients: Any = UnconnectedGradients.NONE,
        parallel_iterations: Any = None,
        experimental_use_pfor: bool = True,
    ) -> Any:
        """Returns d target / d source of shape target.shape + source.shape for each source."""
        self._check_use()
        policy = backward.check_unconnected(unconnected_gradients)
        flat = nest.flatten(sources)
        with self._quiet():
            result = jacobian_of_rows(
                lambda g: self._sweep([target], flat, [g]), target, flat,
                policy is UnconnectedGradients.ZERO,
            )  # fmt: skip
        return nest.pack_sequence_as(sources, result)

    def batch_jacobian(
        self,
        target: Any,
        source: Any,
        unconnected_gradients: Any = UnconnectedGradients.NONE,
        parallel_iterations: Any = None,
        experimental_use_pfor: bool = True,
    ) -> Any:
        """Returns d target[b] / d source[b] of shape [batch, *target dims, *source dims].

        Row b of the target must depend on row b of the source only.
        """
        batches = tuple(t.shape[0] if t.ndim else None for t in (target, source))
        if batches[0] is None or batches[0] != batches[1]:
            raise errors.invalid(
                "batch_jacobian", "target and source must have one known batch size",
                f"{target.shape} and {source.shape}",
            )  # fmt: skip
        self._check_use()
        policy = backward.check_unconnected(unconnected_gradients)
        with self._quiet():
            (result,) = jacobian_of_rows(
                lambda g: self._sweep([target], [source], [g]), target, [source],
                policy is UnconnectedGradients.ZERO, batched=True,
            )  # fmt: skip
        return result


def _is_variable(value: Any) -> bool:
    return getattr(value, "is_variable", False)


def _output_gradient(given: Any, target: Any) -> Any:
    if given is None:
        return backward.ones_like(target)
    gradient = convert.convert_to_tensor(given, dtype_hint=target.dtype)
    if not target.shape.is_compatible_with(gradient.shape):
        raise errors.invalid(
            "gradient", f"an output gradient must have its target's shape {target.shape}",
            str(gradient.shape),
        )  # fmt: skip
    return gradient


def _differentiable(value: Any) -> Any:
    if isinstance(value, Tensor) or _is_variable(value):
        return value
    raise errors.invalid(
        "gradient", "targets must be tensors that the tape has seen computed", f"{value!r:.80}",
        "float(), .numpy() and NumPy functions leave the tape: keep the value a tensor.",
    )  # fmt: skip
