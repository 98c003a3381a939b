"""Compiled: what `compile` sets up, and what is made before a first step."""

from __future__ import annotations

import inspect
from typing import Any

from distflow.base import errors, nest
from distflow.base.specs import TensorSpec
from distflow.core.tensor import Tensor
from distflow.distribute.context import get_strategy, has_strategy
from distflow.distribute.values import is_mirrored
from distflow.function.autograph import converted
from distflow.graph.build import output_specs
from distflow.keras import metrics as metrics_module
from distflow.keras import optimizers
from distflow.keras.training import loop
from distflow.keras.training.compile import CompileLoss, CompileMetrics
from distflow.keras.training.steps import Steps
from distflow.ops import array


class NotCompiledError(errors.FailedPreconditionError, ValueError):
    """A model was to be trained or evaluated before `compile`; Keras's class is ValueError."""


class Compiled(Steps):
    """A Model with an optimizer, losses and metrics, bound to the strategy of its scope."""

    optimizer: Any
    compile_loss: CompileLoss | None = None
    compile_metrics: CompileMetrics | None = None
    check_numerics = True
    stop_training = False

    def __init__(self) -> None:
        self._set_up_training()

    def _set_up_training(self) -> None:
        self.compiled = False
        self.optimizer = None
        self.stop_training = False
        self.history: Any = None
        self._strategy = get_strategy()
        self._run_eagerly = False
        self._compile_config: dict[str, Any] = {}
        self._runners: dict[str, loop.StepRunner] = {}

    # -- compile -------------------------------------------------------------------------

    def compile(
        self, optimizer: Any = "rmsprop", loss: Any = None, loss_weights: Any = None,
        metrics: Any = None, weighted_metrics: Any = None, run_eagerly: bool = False,
        steps_per_execution: int = 1, jit_compile: Any = "auto", auto_scale_loss: bool = True,
    ) -> None:  # fmt: skip
        """Sets the optimizer, losses and metrics for training.

        Args:
          optimizer: name, config or Optimizer.
          loss: name, function or Loss, or a structure of them like the outputs.
          loss_weights: weights of several losses.
          metrics: names, functions or Metrics; weighted_metrics also take sample weights.
          run_eagerly: whether steps run as plain Python, for debugging.
          steps_per_execution: accepted; each step is one execution.
          jit_compile: accepted; all functions are compiled.
          auto_scale_loss: whether a model with the policy "mixed_float16" trains by a
            LossScaleOptimizer around the optimizer.
        """
        if has_strategy():
            self._require_mirrored_weights()
            self._strategy = get_strategy()
        if not isinstance(steps_per_execution, int) or steps_per_execution < 1:
            raise errors.invalid("compile", "steps_per_execution must be an int >= 1",
                                 repr(steps_per_execution))  # fmt: skip
        with self.distribute_strategy.scope():
            found = optimizers.get(optimizer)
            if auto_scale_loss and found is not None and self._scales_loss(found):
                found = optimizers.LossScaleOptimizer(found, name="loss_scale_optimizer")
            names = getattr(self, "output_names", None)
            compile_loss = None if loss is None else CompileLoss(loss, loss_weights, names)
            compile_metrics = (
                CompileMetrics(metrics, weighted_metrics, names)
                if metrics is not None or weighted_metrics is not None
                else None
            )
            loss_tracker = metrics_module.Mean(name="loss")
        # An argument that was refused above leaves the model compiled as it was.
        self.optimizer, self.loss_tracker = found, loss_tracker
        self.compile_loss, self.compile_metrics = compile_loss, compile_metrics
        self._compile_config = {
            "optimizer": optimizer, "loss": loss, "loss_weights": loss_weights,
            "metrics": metrics, "weighted_metrics": weighted_metrics, "run_eagerly": run_eagerly,
            "steps_per_execution": steps_per_execution, "jit_compile": jit_compile,
        }  # fmt: skip
        self._run_eagerly = bool(run_eagerly)
        self._runners = {}
        self.stop_training = False
        self.compiled = True

    def _scales_loss(self, optimizer: Any) -> bool:
        policy = getattr(self, "dtype_policy", None)
        is_scaled = isinstance(optimizer, optimizers.LossScaleOptimizer)
        return policy is not None and policy.name == "mixed_float16" and not is_scaled

    @property
    def distribute_strategy(self) -> Any:
        """The strategy in whose scope the model was made or compiled."""
        return self._strategy

    @property
    def run_eagerly(self) -> bool:
        """Whether steps run as plain Python."""
        return self._run_eagerly

    @run_eagerly.setter
    def run_eagerly(self, value: bool) -> None:
        self._run_eagerly = bool(value)
        self._runners = {}

    @property
    def jit_compile(self) -> bool:
        """Whether steps are compiled, which all are that do not run eagerly."""
        return self.compiled and not self._run_eagerly

    @property
    def steps_per_execution(self) -> int:
        """The number given to compile; each step is one execution here."""
        return self._compile_config.get("steps_per_execution", 1)

    @property
    def loss(self) -> Any:
        """The loss as given to compile."""
        return self._compile_config.get("loss")

    @property
    def call_has_training_argument(self) -> bool:
        """Whether `call` takes `training`."""
        parameters = inspect.signature(type(self).call).parameters  # type: ignore[attr-defined]
        return "training" in parameters or any(
            p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()
        )

    @property
    def compiled_metrics_list(self) -> list[Any]:
        """The loss tracker and the compiled metrics."""
        found: list[Any] = [self.loss_tracker] if self.compiled else []
        if self.compile_loss is not None:
            found += [m for m in self.compile_loss.metrics if m is not None]
        if self.compile_metrics is not None:
            found += self.compile_metrics.metrics
        return found

    def get_metrics_result(self) -> dict[str, Any]:
        """Returns the results of all metrics so far, by name."""
        results: dict[str, Any] = {}
        if self.compiled:
            results["loss"] = self.loss_tracker.result()
        named = [] if self.compile_metrics is None else self.compile_metrics.named()
        compiled = {id(m) for m in self.compiled_metrics_list}
        more = [(m.name, m) for m in self.compiled_metrics_list[1:]]
        more = [(n, m) for n, m in more if not any(m is other for _, other in named)]
        own = [(m.name, m) for m in self.metrics if id(m) not in compiled]
        for name, metric in [*more, *named, *own]:
            result = metric.result()
            results.update(result if isinstance(result, dict) else {name: result})
        return results

    def reset_metrics(self) -> None:
        """Resets the state of all metrics."""
        for metric in self.metrics:
            metric.reset_state()

    @property
    def metrics(self) -> list[Any]:
        """All metrics: the loss's running mean, the compiled ones, and those of layers."""
        own = super().metrics if hasattr(super(), "metrics") else []  # type: ignore[misc]
        found = self.compiled_metrics_list
        return found + [m for m in own if not any(m is other for other in found)]

    @property
    def metrics_names(self) -> list[str]:
        """Names of the metrics."""
        return [metric.name for metric in self.metrics]

    def get_compile_config(self) -> dict[str, Any] | None:
        """Returns what `compile` was given, serialised; None before compile."""
        model: Any = self
        return model._serialized_compile_config() if self.compiled else None

    def _require_compiled(self, where: str) -> None:
        if not self.compiled:
            raise NotCompiledError(f"{where}: you must call `compile()` before using the model.")

    def _require_mirrored_weights(self) -> None:
        model: Any = self
        outside = [v.path for v in model.variables if not is_mirrored(v)]
        if outside:
            raise errors.invalid(
                "compile",
                "the model must be made inside the strategy's scope, as it is compiled there",
                f"weights made outside of it: {', '.join(outside[:3])}",
                "Make the model and compile it inside one `with strategy.scope():`.",
            )

    def _require_scope(self, where: str) -> None:
        if has_strategy() and get_strategy() is not self._strategy:
            raise errors.invalid(
                where,
                "the model must be made and compiled inside the scope that is in force",
                "a model of another strategy, or of none",
            )

    # -- building ------------------------------------------------------------------------

    def _build_for(self, batch: loop.Batch, training: bool) -> None:
        """Makes weights, slots and metrics before the first step, outside of any trace."""
        model: Any = self
        x, y, sample_weight = batch.parts[0]
        metrics_ready = self.compile_metrics is None or self.compile_metrics.built or y is None
        optimizer_ready = not training or self.optimizer.built
        if model.built and metrics_ready and optimizer_ready:
            return
        with self.distribute_strategy.scope():
            x_spec = nest.map_structure(_any_rows, x)
            try:
                y_pred = output_specs(converted(model), x_spec)
            except NotImplementedError:
                # A model without `call` (a GAN, say) that says itself what a step is.
                if type(self).train_step is Steps.train_step:
                    raise
                return
            if not metrics_ready:
                assert self.compile_metrics is not None
                losses = None
                if self.compile_loss is not None:
                    self.compile_loss.build(y, y_pred)
                    losses = self.compile_loss._losses
                self.compile_metrics.build(y, y_pred, losses)
                self._build_metrics(y, y_pred, sample_weight)
            if training and not self.optimizer.built:
                self.optimizer.build(model.trainable_variables)

    def _build_metrics(self, y: Any, y_pred: Any, sample_weight: Any) -> None:
        """Updates once on specs, so that metrics that make variables late have made them."""
        assert self.compile_metrics is not None
        metrics = self.compile_metrics

        def update(y: Any, y_pred: Any) -> Any:
            metrics.update_state(y, y_pred)
            return array.zeros(())

        if any(not getattr(m, "built", True) for m in metrics.metrics):
            output_specs(update, nest.map_structure(_any_rows, y), y_pred)

    def _build_for_predict(self, batch: loop.Batch) -> None:
        model: Any = self
        if not model.built:
            with self.distribute_strategy.scope():
                spec = nest.map_structure(_any_rows, batch.parts[0][0])
                output_specs(converted(model), spec)

    def _runner(self, step: str) -> loop.StepRunner:
        if step not in self._runners:
            self._runners[step] = loop.StepRunner(self, step)
        return self._runners[step]

    def make_train_function(self, force: bool = False) -> Any:
        """Returns the compiled training step; `force` makes it anew."""
        if force:
            self._runners.pop("train_step", None)
        return self._runner("train_step")


def _any_rows(leaf: Any) -> Any:
    if not isinstance(leaf, Tensor):
        return leaf
    return TensorSpec((None, *leaf.shape[1:]) if leaf.ndim else (), leaf.dtype)
