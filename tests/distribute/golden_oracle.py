"""What the jobs of the golden matrix must end with, written out without any strategy.

One model outside of all scopes, a plain loop over replicas, sums by a recursion of three lines, and
one update a step. Nothing of distflow.distribute, distflow.comm or `fit` takes part. What a replica
keeps or draws is written out too: the averages of BatchNormalization are means over replicas
with rows, and a generator's key is its state folded with the replica's number.
"""

from __future__ import annotations

import numpy as np

import distflow as tf
from distflow.random import fold_in
from tests.distribute import golden_models
from tests.distribute.golden_models import BATCH, REPLICAS


def cut(rows, replicas, replica):
    """The first `rows % replicas` replicas have one row more."""
    sizes = [rows // replicas + (r < rows % replicas) for r in range(replicas)]
    start = sum(sizes[:replica])
    return slice(start, start + sizes[replica])


def tree_sum(leaves):
    """Neighbours in pairs, then the pairs; who has no neighbour goes up as he is."""
    while len(leaves) > 1:
        leaves = [sum(leaves[i + 1 : i + 2], leaves[i]) for i in range(0, len(leaves), 2)]
    return leaves[0]


def train(model_name, optimizer_name, steps, last=BATCH):
    """Returns weights and slots. Replicas without rows in the last step are left out of it."""
    x, y = golden_models.data(model_name, steps, last)
    model = golden_models.build(model_name)
    optimizer = golden_models.OPTIMIZERS[optimizer_name]()
    loss_of = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    trained = model.trainable_variables
    optimizer.build(trained)
    others = model.non_trainable_variables
    averages = [v for v in others if v.dtype is tf.float32]
    seeds = [v for v in others if v.name.endswith("seed_generator_state:0")]
    assert len(averages) + len(seeds) == len(others)

    @tf.function
    def gradients(x, y, share):
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(x, training=True)) * share
        return tape.gradient(loss, trained)

    @tf.function
    def update(*sums):
        optimizer.apply_gradients(zip(sums, trained))

    for step in range(steps):
        at = slice(step * BATCH, min(len(x), (step + 1) * BATCH))
        count = at.stop - at.start
        before = {id(v): v.numpy() for v in others}
        leaves, moved = [], []
        for replica in range(min(REPLICAS, count)):
            for variable in averages:
                variable.assign(before[id(variable)])
            for variable in seeds:
                key = fold_in(before[id(variable)].astype(np.uint32), replica)
                variable.assign(key.numpy().astype(np.int64))
            rows = cut(count, REPLICAS, replica)
            share = np.float32(rows.stop - rows.start) / np.float32(count)
            part = tf.constant(x[at][rows]), tf.constant(y[at][rows])
            leaves.append([g.numpy() for g in gradients(*part, share)])
            moved.append([v.numpy() for v in averages])
        update(*(tf.constant(tree_sum(list(column))) for column in zip(*leaves)))
        for variable, column in zip(averages, zip(*moved)):
            variable.assign(tree_sum(list(column)) / np.float32(len(column)))
        for variable in seeds:
            variable.assign(before[id(variable)] + np.array([0, 1]))
    return [*model.get_weights(), *(v.numpy() for v in optimizer.variables)]
