"""Programs of the distribution guides, on one device."""

from tests.programs.table import fill, numbers


def strategy_run_and_reduce(tf, np):
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    with strategy.scope():
        v = tf.Variable(2.0, aggregation=tf.VariableAggregation.MEAN)

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(v * x)
        v.assign_sub(0.1 * tape.gradient(loss, v))
        return loss

    ds = strategy.experimental_distribute_dataset(
        tf.data.Dataset.from_tensor_slices(numbers(8, 2)).batch(4)
    )
    losses = [
        strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(step, args=(x,)), axis=None)
        for x in ds
    ]
    return [losses, v, strategy.num_replicas_in_sync]


def custom_loop_with_global_batch(tf, np):
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    x, y = numbers(16, 3), np.arange(16) % 2
    batch = 4 * strategy.num_replicas_in_sync
    with strategy.scope():
        model = fill(tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(2)]))
        optimizer = tf.keras.optimizers.SGD(0.1)
        loss_object = tf.keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="none"
        )

    def train_step(inputs):
        images, labels = inputs
        with tf.GradientTape() as tape:
            per_example = loss_object(labels, model(images, training=True))
            loss = tf.nn.compute_average_loss(per_example, global_batch_size=batch)
        grads = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(grads, model.trainable_variables))
        return loss

    @tf.function
    def distributed_train_step(inputs):
        per_replica = strategy.run(train_step, args=(inputs,))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, per_replica, axis=None)

    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(batch)
    return [distributed_train_step(b) for b in strategy.experimental_distribute_dataset(dataset)]
