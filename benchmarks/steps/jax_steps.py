"""Training and inference steps in JAX: one jitted function with donated weights and Adam slots."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from models import jax_models, spec

BETA_1, BETA_2 = 0.9, 0.999


class Steps:
    """A model of JAX; there is one variant, jit."""

    def __init__(self, module, variant, model):
        self.version = jax.__version__
        self._name = model
        weights, statistics, self._apply = jax_models.build(model)
        zeros = functools.partial(jax.tree.map, jnp.zeros_like)
        self._state = (weights, statistics, zeros(weights), zeros(weights), jnp.zeros(()))
        x, y = spec.data(model, spec.SPECS[model].batch)
        self._x, self._y = jnp.asarray(x), jnp.asarray(y)
        self._train = jax.jit(functools.partial(_train, self._apply), donate_argnums=0)

    def step(self) -> float:
        """Trains on the batch once and fetches the loss."""
        self._state, loss = self._train(self._state, self._x, self._y)
        return float(loss)

    def inference(self, batch):
        """Returns a function that fetches the logits of `batch` examples."""
        x = jnp.asarray(spec.data(self._name, batch)[0])
        weights, statistics = self._state[:2]
        predict = jax.jit(lambda w, s, x: self._apply(w, s, x, False)[0])
        return lambda: np.asarray(predict(weights, statistics, x))


def _train(apply, state, x, y):
    weights, statistics, first, second, count = state

    def loss_of(weights):
        logits, after = apply(weights, statistics, x, True)
        logits = jax.nn.log_softmax(logits)
        return -jnp.take_along_axis(logits, y[..., None], axis=-1).mean(), after

    (loss, statistics), gradients = jax.value_and_grad(loss_of, has_aux=True)(weights)
    count = count + 1
    rate = spec.LEARNING_RATE * jnp.sqrt(1 - BETA_2**count) / (1 - BETA_1**count)
    first = jax.tree.map(lambda m, g: m + (g - m) * (1 - BETA_1), first, gradients)
    second = jax.tree.map(lambda v, g: v + (g * g - v) * (1 - BETA_2), second, gradients)
    weights = jax.tree.map(
        lambda w, m, v: w - rate * m / (jnp.sqrt(v) + spec.ADAM_EPSILON), weights, first, second
    )
    return (weights, statistics, first, second, count), loss
