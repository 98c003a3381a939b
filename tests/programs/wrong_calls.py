"""Mistakes that beginners make: each must be one clear, typed error at once.

A row: name -> (function of tf and np,
    words that the message must hold). Words are joined by spaces;
all of them must be there, upper or lower case.
"""

import operator


def _model(tf, compiled=True, loss="mse"):
    model = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(1)])
    if compiled:
        model.compile("sgd", loss)
    return model


def _compiled(tf, **settings):
    model = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(2)])
    model.compile(**{"optimizer": "sgd", "loss": "mse", **settings})
    return model


def gradient_for_no_tensor(tf, np):
    with tf.GradientTape() as tape:
        pass
    tape.gradient(3.0, "x")


def tape_used_twice(tf, np):
    x = tf.Variable(1.0)
    with tf.GradientTape() as tape:
        y = x * x
    tape.gradient(y, x)
    tape.gradient(y, x)


def gradient_of_no_tensor(tf, np):
    x = tf.Variable(1.0)
    with tf.GradientTape() as tape:
        y = float(x * x)
    tape.gradient(y, x)


def watch_no_tensor(tf, np):
    tape = tf.GradientTape()
    tape.watch([1.0])


def iterating_a_symbolic_tensor(tf, np):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)], autograph=False)
    def f(x):
        return [v + 1 for v in x]

    f(tf.ones([3]))


def symbolic_tensor_as_bool(tf, np):
    @tf.function(autograph=False)
    def f(x):
        return 1 if x > 0 else 2

    f(tf.constant(1.0))


def numpy_of_a_symbolic_tensor(tf, np):
    @tf.function
    def f(x):
        return np.sum(x.numpy())

    f(tf.constant([1.0]))


def leaked_tensor(tf, np):
    leaked = []

    @tf.function
    def f(x):
        leaked.append(x + 1)
        return x

    f(tf.constant(1.0))
    return leaked[0] + 1


def leaked_tensor_as_number(tf, np):
    leaked = []

    @tf.function
    def f(x):
        leaked.append(x + 1)
        return x

    f(tf.constant(1.0))
    return float(leaked[0])


def variable_made_at_each_call(tf, np):
    @tf.function
    def f(x):
        return tf.Variable(1.0) * x

    f(tf.constant(1.0))


def branches_of_different_dtypes(tf, np):
    @tf.function
    def f(x):
        if x > 0:
            y = tf.constant(1)
        else:
            y = tf.constant(1.0)
        return y

    f(tf.constant(1.0))


def value_undefined_in_one_branch(tf, np):
    @tf.function
    def f(x):
        if x > 0:
            y = x
        return y

    f(tf.constant(1.0))


def loop_changes_a_shape(tf, np):
    @tf.function
    def f(n):
        x = tf.ones([1])
        for _ in tf.range(n):
            x = tf.concat([x, x], 0)
        return x

    f(tf.constant(2))


def iterating_a_keras_tensor(tf, np):
    for _ in tf.keras.Input((3,)):
        pass


def numpy_on_a_keras_tensor(tf, np):
    np.array(tf.keras.Input((3,)))


def generator_of_wrong_shape(tf, np):
    spec = tf.TensorSpec([2], tf.float32)
    ds = tf.data.Dataset.from_generator(
        lambda: iter([np.ones(3, "float32")]), output_signature=spec
    )
    list(ds)


def layer_without_super(tf, np):
    class Forgetful(tf.keras.layers.Layer):
        def __init__(self):
            self.dense = tf.keras.layers.Dense(1)

        def call(self, x):
            return self.dense(x)

    Forgetful()(tf.ones([1, 2]))


def model_without_call(tf, np):
    class Empty(tf.keras.Model):
        pass

    Empty()(tf.ones([1, 2]))


def fit_with_model_output_of_wrong_width(tf, np):
    model = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(4, "softmax")])
    model.compile("sgd", "categorical_crossentropy")
    model.fit(np.ones((4, 3)), np.ones((4, 5)), verbose=0)


def loading_other_weights(tf, np):
    a = _model(tf, compiled=False)
    a.save_weights("w.weights.h5")
    b = tf.keras.Sequential([tf.keras.Input((4,)), tf.keras.layers.Dense(1)])
    b.load_weights("w.weights.h5")


def optimizer_for_other_variables(tf, np):
    optimizer = tf.keras.optimizers.Adam()
    optimizer.apply_gradients([(tf.constant(1.0), tf.Variable(1.0))])
    optimizer.apply_gradients([(tf.constant(1.0), tf.Variable(1.0))])


WRONG = {
    "matmul_inner": (lambda tf, np: tf.matmul(tf.ones([2, 3]), tf.ones([2, 3])), "matmul [2, 3]"),
    "matmul_vector": (lambda tf, np: tf.matmul(tf.ones([3]), tf.ones([3, 2])), "matmul [3]"),
    "matmul_dtypes": (lambda tf, np: tf.ones([2, 2]) @ tf.ones([2, 2], tf.int32), "float32 int32"),
    "add_shapes": (lambda tf, np: tf.ones([2]) + tf.ones([3]), "add [2] [3]"),
    "add_dtypes": (lambda tf, np: tf.constant(1) + tf.constant(1.0), "int32 float32 cast"),
    "int_plus_fraction": (lambda tf, np: tf.constant(1) + 0.5, "int32 0.5"),
    "string_plus_int": (lambda tf, np: tf.constant("a") + 1, "string"),
    "ragged_list": (lambda tf, np: tf.constant([[1], [2, 3]]), "rows"),
    "none": (lambda tf, np: tf.constant(None), "None"),
    "mixed_list": (lambda tf, np: tf.constant([1, "a"]), "a"),
    "unknown_dtype": (lambda tf, np: tf.zeros([2], dtype="float31"), "float31"),
    "index_too_large": (lambda tf, np: tf.ones([2])[2], "2"),
    "too_many_indices": (lambda tf, np: tf.ones([2])[0, 0], "indices"),
    "index_by_float": (lambda tf, np: tf.ones([2])[0.5], "0.5"),
    "index_by_name": (lambda tf, np: tf.ones([2])["a"], "indexing 'a'"),
    "set_item": (lambda tf, np: operator.setitem(tf.ones([2]), 0, 1.0), "assign"),
    "set_item_of_a_variable": (
        lambda tf, np: operator.setitem(tf.Variable([1.0]), 0, 1.0),
        "assign",
    ),
    "index_by_vector_of_floats": (lambda tf, np: tf.ones([2])[tf.ones([2])], "int"),
    "reshape_size": (lambda tf, np: tf.reshape(tf.ones([6]), [4, -1]), "reshape"),
    "concat_shapes": (lambda tf, np: tf.concat([tf.ones([1, 2]), tf.ones([1, 3])], 0), "concat"),
    "stack_shapes": (lambda tf, np: tf.stack([tf.ones([2]), tf.ones([3])]), "stack"),
    "split_uneven": (lambda tf, np: tf.split(tf.range(7), 3), "split 7"),
    "reduce_axis": (lambda tf, np: tf.reduce_sum(tf.ones([2]), axis=1), "axis"),
    "squeeze_wide": (lambda tf, np: tf.squeeze(tf.ones([2, 3]), 0), "squeeze"),
    "gather_out_of_range": (lambda tf, np: tf.gather(tf.ones([2]), 5), "gather 5"),
    "einsum_letters": (
        lambda tf, np: tf.einsum("ij,jk->ik", tf.ones([2, 3]), tf.ones([2, 3])),
        "einsum",
    ),
    "bool_of_vector": (lambda tf, np: bool(tf.ones([2])), "bool"),
    "float_of_vector": (lambda tf, np: float(tf.ones([2])), "float"),
    "len_of_scalar": (lambda tf, np: len(tf.constant(1)), "scalar"),
    "tensor_as_key": (lambda tf, np: {tf.constant(1): 1}, "ref"),
    "softmax_labels": (
        lambda tf, np: tf.nn.softmax_cross_entropy_with_logits(tf.ones([2, 3]), tf.ones([2, 4])),
        "[2, 3] [2, 4]",
    ),
    "sparse_labels_out_of_range": (
        lambda tf, np: tf.nn.sparse_softmax_cross_entropy_with_logits([5], tf.ones([1, 3])),
        "5",
    ),
    "sparse_labels_float": (
        lambda tf, np: tf.nn.sparse_softmax_cross_entropy_with_logits([0.5], tf.ones([1, 3])),
        "int",
    ),
    "one_hot_float": (lambda tf, np: tf.one_hot([0.5], 3), "int"),
    "conv_channels": (
        lambda tf, np: tf.nn.conv2d(tf.ones([1, 4, 4, 3]), tf.ones([3, 3, 2, 5]), 1, "SAME"),
        "conv",
    ),
    "conv_padding": (
        lambda tf, np: tf.nn.conv2d(tf.ones([1, 4, 4, 3]), tf.ones([3, 3, 3, 5]), 1, "MIDDLE"),
        "padding MIDDLE",
    ),
    "conv_rank": (
        lambda tf, np: tf.nn.conv2d(tf.ones([4, 4, 3]), tf.ones([3, 3, 3, 5]), 1, "SAME"),
        "conv",
    ),
    # Variables.
    "assign_shape": (
        lambda tf, np: tf.Variable([1.0, 2.0]).assign([1.0, 2.0, 3.0]),
        "assign [2] [3]",
    ),
    "assign_dtype": (
        lambda tf, np: tf.Variable(1.0).assign(tf.constant(1)),
        "assign float32 int32",
    ),
    "assign_part": (lambda tf, np: tf.Variable([1.0, 2.0])[0].assign([1.0, 2.0]), "assign [2]"),
    "assign_string": (lambda tf, np: tf.Variable(1.0).assign("a"), "a"),
    "plus_equals": (lambda tf, np: tf.Variable(1.0).__iadd__(1.0), "assign_add"),
    "variable_of_nothing": (lambda tf, np: tf.Variable(), "initial"),
    # Tapes.
    "tape_used_twice": (tape_used_twice, "persistent"),
    "gradient_of_no_tensor": (gradient_of_no_tensor, "float"),
    "gradient_for_no_tensor": (gradient_for_no_tensor, "targets"),
    "watch_no_tensor": (watch_no_tensor, "watch tensors"),
    "clip_shapes": (lambda tf, np: tf.clip_by_value(tf.ones([2]), tf.ones([3]), 1.0), ""),
    # Functions.
    "iterating_a_symbolic_tensor": (iterating_a_symbolic_tensor, "iterat"),
    "symbolic_tensor_as_bool": (symbolic_tensor_as_bool, "bool"),
    "numpy_of_a_symbolic_tensor": (numpy_of_a_symbolic_tensor, "numpy"),
    "leaked_tensor": (leaked_tensor, "function"),
    "leaked_tensor_as_number": (leaked_tensor_as_number, "float"),
    "variable_made_at_each_call": (variable_made_at_each_call, "variable"),
    "branches_of_different_dtypes": (branches_of_different_dtypes, "y int32 float32"),
    "value_undefined_in_one_branch": (value_undefined_in_one_branch, "y"),
    "loop_changes_a_shape": (loop_changes_a_shape, "x shape"),
    "missing_argument": (lambda tf, np: tf.function(lambda a, b: a)(1), "b"),
    "py_function_alone": (lambda tf, np: tf.numpy_function(lambda: (1, 2), [], [tf.int32]), "1"),
    # Data.
    "slices_of_unequal_length": (
        lambda tf, np: tf.data.Dataset.from_tensor_slices((np.ones(3), np.ones(4))),
        "3 4",
    ),
    "slices_of_a_scalar": (lambda tf, np: tf.data.Dataset.from_tensor_slices(1), "scalar"),
    "batch_of_zero": (lambda tf, np: tf.data.Dataset.range(3).batch(0), "batch"),
    "batch_of_different_shapes": (
        lambda tf, np: list(tf.data.Dataset.range(3).map(lambda n: tf.ones([n])).batch(3)),
        "padded_batch",
    ),
    "len_of_an_endless_dataset": (
        lambda tf, np: len(tf.data.Dataset.range(3).repeat()),
        "infinite",
    ),
    "filter_without_bool": (
        lambda tf, np: list(tf.data.Dataset.range(3).filter(lambda x: x)),
        "bool",
    ),
    "map_with_wrong_parameters": (
        lambda tf, np: list(tf.data.Dataset.range(3).map(lambda x, y: x)),
        "y",
    ),
    "shuffle_of_zero": (lambda tf, np: tf.data.Dataset.range(3).shuffle(0), "buffer"),
    "generator_of_wrong_shape": (generator_of_wrong_shape, "[3]"),
    "zip_of_arrays": (lambda tf, np: tf.data.Dataset.zip((np.ones(3), np.ones(3))), "dataset"),
    # Layers.
    "dense_input": (lambda tf, np: _model(tf)(tf.ones([2, 4])), "expected"),
    "dense_of_scalar": (lambda tf, np: tf.keras.layers.Dense(2)(tf.constant(1.0)), "ndim"),
    "dense_units": (lambda tf, np: tf.keras.layers.Dense(-1), "units -1"),
    "dense_of_int_ids_string": (
        lambda tf, np: tf.keras.layers.Dense(2)(tf.constant([["a"]])),
        "string",
    ),
    "conv_without_channels": (
        lambda tf, np: tf.keras.layers.Conv2D(2, 3)(tf.ones([1, 8, 8])),
        "ndim",
    ),
    "conv_too_large": (
        lambda tf, np: tf.keras.Sequential(
            [tf.keras.Input((4, 4, 1)), tf.keras.layers.Conv2D(2, 5)]
        ),
        "output size",
    ),
    "pooling_rank": (lambda tf, np: tf.keras.layers.MaxPooling2D()(tf.ones([2, 2])), "ndim"),
    "embedding_out_of_range": (
        lambda tf, np: tf.keras.layers.Embedding(4, 2)(tf.constant([9])),
        "9",
    ),
    "reshape_layer": (lambda tf, np: tf.keras.layers.Reshape((4, 4))(tf.ones([2, 6])), "reshape"),
    "add_layer": (
        lambda tf, np: tf.keras.layers.Add()([tf.ones([1, 2]), tf.ones([1, 3])]),
        "shape",
    ),
    "add_layer_of_one": (lambda tf, np: tf.keras.layers.Add()(tf.ones([1, 2])), "list"),
    "concatenate_layer": (
        lambda tf, np: tf.keras.layers.Concatenate()([tf.ones([1, 2]), tf.ones([2, 2])]),
        "shape",
    ),
    "activation_string": (lambda tf, np: tf.keras.layers.Dense(1, activation="rleu"), "rleu"),
    "initializer_string": (
        lambda tf, np: tf.keras.layers.Dense(1, kernel_initializer="zero_s"),
        "zero_s",
    ),
    "regularizer_string": (lambda tf, np: tf.keras.layers.Dense(1, kernel_regularizer="l3"), "l3"),
    "unknown_layer_argument": (lambda tf, np: tf.keras.layers.Dense(1, unit=2), "unit"),
    "dropout_rate": (lambda tf, np: tf.keras.layers.Dropout(1.5), "rate"),
    "layer_called_with_a_list_of_strings": (
        lambda tf, np: tf.keras.layers.Dense(1)("hello"),
        "hello",
    ),
    "weights_of_unbuilt_layer": (lambda tf, np: tf.keras.layers.Dense(1).kernel, "built"),
    "set_weights_count": (lambda tf, np: _model(tf).set_weights([np.ones((3, 1))]), "weights"),
    "set_weights_shape": (
        lambda tf, np: _model(tf).set_weights([np.ones((2, 1)), np.ones(1)]),
        "shape",
    ),
    "layer_without_super": (layer_without_super, "super"),
    "model_without_call": (model_without_call, "call"),
    # Models.
    "count_params_unbuilt": (
        lambda tf, np: tf.keras.Sequential([tf.keras.layers.Dense(1)]).count_params(),
        "built",
    ),
    "save_weights_unbuilt_name": (lambda tf, np: _model(tf).save_weights("w.bin"), "weights.h5"),
    "save_name": (lambda tf, np: _model(tf).save("model.bin"), "keras"),
    "load_missing": (lambda tf, np: tf.keras.models.load_model("nowhere.keras"), "nowhere.keras"),
    "loading_other_weights": (loading_other_weights, "shape"),
    "get_layer": (lambda tf, np: _model(tf).get_layer("nothing"), "nothing"),
    "model_of_arrays": (lambda tf, np: tf.keras.Model(np.ones(3), np.ones(3)), "input"),
    "disconnected_model": (
        lambda tf, np: tf.keras.Model(
            tf.keras.Input((2,)), tf.keras.layers.Dense(1)(tf.keras.Input((2,)))
        ),
        "connected",
    ),
    "same_names_twice": (
        lambda tf, np: tf.keras.Sequential(
            [tf.keras.layers.Dense(1, name="a"), tf.keras.layers.Dense(1, name="a")]
        ),
        "name a",
    ),
    "sequential_of_numbers": (lambda tf, np: tf.keras.Sequential([1, 2]), "layer"),
    "iterating_a_keras_tensor": (iterating_a_keras_tensor, "symbolic"),
    "numpy_on_a_keras_tensor": (numpy_on_a_keras_tensor, "symbolic"),
    # Compiling and fitting.
    "not_compiled": (lambda tf, np: _model(tf, False).fit(np.ones((2, 3)), np.ones(2)), "compile"),
    "evaluate_not_compiled": (
        lambda tf, np: _model(tf, False).evaluate(np.ones((2, 3)), np.ones(2)),
        "compile",
    ),
    "optimizer_string": (lambda tf, np: _model(tf, False).compile("addam", "mse"), "addam"),
    "loss_string": (
        lambda tf, np: _model(tf, loss="msee").fit(np.ones((2, 3)), np.ones(2), verbose=0),
        "msee",
    ),
    "metric_string": (
        lambda tf, np: _compiled(tf, metrics=["acuracy"]).fit(
            np.ones((2, 3)), np.ones((2, 2)), verbose=0
        ),
        "acuracy",
    ),
    "metrics_as_loss_weights": (
        lambda tf, np: _model(tf, False).compile("sgd", "mse", ["accuracy"]),
        "loss_weights",
    ),
    "negative_rate": (lambda tf, np: tf.keras.optimizers.SGD("fast"), "fast"),
    "unknown_optimizer_argument": (lambda tf, np: tf.keras.optimizers.Adam(rate=0.1), "rate"),
    "unequal_lengths": (
        lambda tf, np: _model(tf).fit(np.ones((4, 3)), np.ones(3), verbose=0),
        "4 3",
    ),
    "fit_without_labels": (lambda tf, np: _model(tf).fit(np.ones((4, 3)), verbose=0), "y"),
    "fit_on_nothing": (
        lambda tf, np: _model(tf).fit(np.ones((0, 3)), np.ones((0, 1)), verbose=0),
        "0 rows",
    ),
    "fit_on_none": (lambda tf, np: _model(tf).fit(None, None, verbose=0), "x None"),
    "fit_on_wrong_width": (
        lambda tf, np: _model(tf).fit(np.ones((4, 5)), np.ones(4), verbose=0),
        "3",
    ),
    "fit_on_words": (
        lambda tf, np: _model(tf).fit(np.array([["a"] * 3] * 4), np.ones(4), verbose=0),
        "string",
    ),
    "fit_with_y_and_dataset": (
        lambda tf, np: _model(tf).fit(tf.data.Dataset.range(3), np.ones(3), verbose=0),
        "y",
    ),
    "fit_unbatched_dataset": (
        lambda tf, np: _model(tf).fit(
            tf.data.Dataset.from_tensor_slices((np.ones((4, 3), "float32"), np.ones(4, "float32"))),
            verbose=0,
        ),
        "",
    ),
    "labels_of_wrong_width": (fit_with_model_output_of_wrong_width, "shape"),
    "labels_out_of_range": (
        lambda tf, np: _compiled(tf, loss="sparse_categorical_crossentropy").fit(
            np.ones((2, 3)), np.array([0, 7]), verbose=0
        ),
        "7",
    ),
    "validation_split_of_dataset": (
        lambda tf, np: _model(tf).fit(tf.data.Dataset.range(3), validation_split=0.5, verbose=0),
        "validation_split",
    ),
    "class_weight_missing": (
        lambda tf, np: _compiled(tf, loss="sparse_categorical_crossentropy").fit(
            np.ones((2, 3)), np.array([0, 1]), class_weight="balanced", verbose=0
        ),
        "class_weight",
    ),
    "callback_class": (
        lambda tf, np: _model(tf).fit(
            np.ones((2, 3)), np.ones(2), callbacks=[tf.keras.callbacks.EarlyStopping], verbose=0
        ),
        "callback",
    ),
    "predict_on_wrong_width": (lambda tf, np: _model(tf).predict(np.ones((4, 5)), verbose=0), "3"),
    "gradients_all_none": (
        lambda tf, np: tf.keras.optimizers.SGD().apply_gradients([(None, tf.Variable(1.0))]),
        "gradient",
    ),
    "optimizer_for_other_variables": (optimizer_for_other_variables, "variable"),
    "loss_shapes": (
        lambda tf, np: tf.keras.losses.CategoricalCrossentropy()(np.ones((2, 3)), np.ones((2, 4))),
        "shape",
    ),
    "accuracy_shapes": (
        lambda tf, np: tf.keras.metrics.Accuracy()(np.ones((2, 3)), np.ones((4, 3))),
        "shape",
    ),
    "strategy_reduce": (
        lambda tf, np: tf.distribute.MirroredStrategy().reduce(
            "average", tf.constant(1.0), axis=None
        ),
        "average",
    ),
}
