"""The custom training loop of TensorFlow's guide, for TensorFlow and for distflow."""

import importlib
import itertools

from models import spec, tf_models
from workers import batches


class Steps:
    """A model under MultiWorkerMirroredStrategy: variant is function (a custom loop) or fit."""

    def __init__(self, module, variant, model, batch):
        self._tf = tf = importlib.import_module(module)
        self.version = tf.__version__
        tf.keras.utils.set_random_seed(0)
        implementation = tf.distribute.experimental.CommunicationImplementation.RING
        options = tf.distribute.experimental.CommunicationOptions(implementation=implementation)
        if module == "distflow":
            options = None
        self._strategy = strategy = tf.distribute.MultiWorkerMirroredStrategy(
            communication_options=options
        )
        self._global_batch = batch * strategy.num_replicas_in_sync
        with strategy.scope():
            self._model = tf_models.build(tf, model)
            self._optimizer = tf.keras.optimizers.Adam(
                spec.LEARNING_RATE, epsilon=spec.ADAM_EPSILON
            )
            self._optimizer.build(self._model.trainable_variables)
            self._loss = tf.keras.losses.SparseCategoricalCrossentropy(
                from_logits=True, reduction="none"
            )
        rank = strategy.cluster_resolver.task_id or 0
        self._batches = itertools.cycle(
            [(tf.constant(x), tf.constant(y)) for x, y in batches.of_worker(model, batch, rank)]
        )
        self._compiled = tf.function(self._train)

    def step(self) -> float:
        """Trains on the next batch and fetches this worker's loss."""
        return float(self._compiled(*next(self._batches)).numpy())

    def report(self):
        """Returns what distflow says of its communication; TensorFlow says nothing."""
        found = getattr(self._strategy, "communication", None)
        if found is None or not found.buckets:
            return {}
        return {
            "KB a bucket": round(found.num_bytes / found.buckets / 1e3, 1),
            "ms a bucket": round(found.seconds / found.buckets * 1e3, 3),
            "exposed ms a bucket": round(found.exposed_seconds / found.buckets * 1e3, 3),
        }

    def _train(self, x, y):
        return self._strategy.run(self._train_replica, args=(x, y))

    def _train_replica(self, x, y):
        tf = self._tf
        with tf.GradientTape() as tape:
            losses = self._loss(y, self._model(x, training=True))
            loss = tf.nn.compute_average_loss(losses, global_batch_size=self._global_batch)
        variables = self._model.trainable_variables
        gradients = tape.gradient(loss, variables)
        self._optimizer.apply_gradients(zip(gradients, variables))
        return loss
