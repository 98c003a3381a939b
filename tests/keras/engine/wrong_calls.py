"""Wrong calls of models, compile, fit and saving: name -> (call of a library `k`, error, message).

The calls work with both libraries, so that a parity test can show that Keras refuses them, too.
"""

import numpy as np

X = np.arange(12, dtype=np.float32).reshape(4, 3)
Y = X[:, :1]
CLASSES = np.array([0, 1, 0, 1])
ALL = (ValueError, TypeError)


def stack(k, compiled=True):
    model = k.Sequential([k.Input((3,)), k.layers.Dense(1)])
    if compiled:
        model.compile("sgd", "mse")
    return model


def two(k):
    a, b = k.Input((3,), name="a"), k.Input((3,), name="b")
    model = k.Model([a, b], k.layers.Add()([a, b]))
    model.compile("sgd", "mse")
    return model


def heads(k, **kwargs):
    x = k.Input((3,))
    model = k.Model(x, [k.layers.Dense(1, name="p")(x), k.layers.Dense(2, name="q")(x)])
    model.compile("sgd", kwargs.pop("loss", ["mse", "mse"]), **kwargs)
    return model


def no_call(k):
    class Empty(k.Model):
        pass

    return Empty()(X)


def no_super(k):
    class Hasty(k.Model):
        def __init__(self):
            self.d = k.layers.Dense(1)

    return Hasty()(X)


def disconnected(k):
    a, b = k.Input((3,)), k.Input((3,))
    return k.Model(a, k.layers.Add()([a, b]))


def same_names(k):
    x = k.Input((3,))
    return k.Model(x, k.layers.Dense(1, name="d")(k.layers.Dense(3, name="d")(x)))


def unserializable(k, path):
    class Own(k.layers.Layer):
        def __init__(self, thing):
            super().__init__()
            self.thing = thing

        def call(self, x):
            return x

    k.Sequential([k.Input((3,)), Own(object())]).save(path / "m.keras")


def unknown_class(k, path):
    class Mine(k.layers.Layer):
        def call(self, x):
            return x

    k.Sequential([k.Input((3,)), Mine()]).save(path / "m.keras")
    k.saving.load_model(path / "m.keras")


def other_shape(k, path):
    stack(k).save_weights(path / "w.weights.h5")
    k.Sequential([k.Input((4,)), k.layers.Dense(1)]).load_weights(path / "w.weights.h5")


MODELS = {
    "output that is no tensor": (lambda k: k.Model(k.Input((3,)), 5), "must be KerasTensors"),
    "inputs that are no tensors": (lambda k: k.Model(X, k.Input((3,))), "must be KerasTensors"),
    "an input twice": (lambda k: (lambda x: k.Model([x, x], k.layers.Add()([x, x])))(k.Input((3,))),
                       "must be different|must be unique|same"),
    "an input that is missing": (disconnected, "not connected to `inputs`|disconnected"),
    "two layers of one name": (same_names, "should be unique"),
    "a stack of one name": (lambda k: k.Sequential([k.layers.Dense(1, name="d"),
                                                    k.layers.Dense(1, name="d")]), "unique names"),
    "a stack of functions": (lambda k: k.Sequential([lambda x: x]), "Only instances of"),
    "an input in the middle": (lambda k: k.Sequential([k.layers.Dense(1), k.Input((3,))]),
                               "Input|already"),
    "a stack without a shape": (lambda k: k.Sequential([k.layers.Dense(1)]).build(),
                                "input_shape"),
    "an empty stack": (lambda k: k.Sequential().build((None, 3)), "no layers"),
    "a name with a slash": (lambda k: k.Sequential(name="a/b"), "cannot contain character"),
    "a name that is none": (lambda k: k.layers.Dense(1, name=5), "must be a string"),
    "an argument nobody knows": (lambda k: k.layers.Dense(1, colour="red"), "Unrecognized keyword"),
    "an input without a shape": (lambda k: k.Input(), "must pass a `shape`"),
    "an input with two shapes": (lambda k: k.Input((3,), batch_shape=(2, 3)), "both"),
    "a model without call": (no_call, "does not have a `call|must override|no `call"),
    "a model without super": (no_super, "super"),
    "a layer by two names": (lambda k: stack(k).get_layer("a", 1), "Provide|both|only one"),
    "a layer by no name": (lambda k: stack(k).get_layer(), "Provide"),
    "a layer that is not there": (lambda k: stack(k).get_layer("nothing"), "No such layer"),
    "a layer out of range": (lambda k: stack(k).get_layer(index=9), "at index 9"),
    "one input for two": (lambda k: two(k)(X), r"expected 2 input|expects 2|structure"),
    "a key that is missing": (lambda k: two(k)({"a": X}), 'Missing data for input "b"|b'),
    "a wrong number of features": (lambda k: stack(k)(np.ones((2, 5), "float32")),
                                   "incompatible|expected shape"),
    "weights of another number": (lambda k: stack(k).set_weights([X]), "weight list of length 1"),
    "weights of another shape": (lambda k: stack(k).set_weights([X, X]), "not compatible|shape"),
    "parameters of nothing": (lambda k: k.layers.Dense(1).count_params(), "isn't built|not built"),
    "truth of a symbol": (lambda k: bool(k.Input((3,)) > 0), "boolean|symbolic"),
    "a number of a symbol": (lambda k: float(k.Input(())), "KerasTensor|symbolic"),
    "rows of a symbol": (lambda k: list(k.Input((3,))), "Iterating|symbolic"),
    "a clone of a number": (lambda k: k.models.clone_model(5), ""),
    "a range of one layer": (lambda k: stack(k).summary(layer_range=["a"], print_fn=str),
                             "layer_range"),
    "a range of no layers": (lambda k: stack(k).summary(layer_range=["a", "b"], print_fn=str),
                             "layer_range"),
    "weights after build": (lambda k: stack(k).layers[0].add_weight(shape=(1,)),
                            "cannot add new elements of state"),
}  # fmt: skip
TRAINING = {
    "fit before compile": (lambda k: stack(k, False).fit(X, Y), "compile"),
    "evaluate before compile": (lambda k: stack(k, False).evaluate(X, Y), "compile"),
    "train_on_batch before compile": (lambda k: stack(k, False).train_on_batch(X, Y), "compile"),
    "an optimizer nobody knows": (lambda k: stack(k).compile("sgdd", "mse"), "sgdd"),
    "a loss nobody knows": (lambda k: (lambda m: (m.compile("sgd", "msee"),
                                                  m.fit(X, Y, verbose=0)))(stack(k)), "msee"),
    "an optimizer that is a number": (lambda k: stack(k).compile(3, "mse"), "3"),
    "loss_weights that are words": (lambda k: heads(k, loss_weights=["a", "b"]).fit(
        X, [Y, X[:, :2]], verbose=0), "loss_weights"),
    "a loss for no output": (lambda k: heads(k, loss={"z": "mse"}).fit(
        X, {"z": Y}, verbose=0), "z"),
    "too many losses": (lambda k: heads(k, loss=["mse"] * 3).fit(X, [Y, X[:, :2]], verbose=0),
                        "3|loss"),
    "one target for two": (lambda k: heads(k).fit(X, [Y], verbose=0), "targets|structure|y_true"),
    "steps_per_execution of 0": (lambda k: stack(k).compile("sgd", "mse", steps_per_execution="x"),
                                 "steps_per_execution|str|int"),
    "targets of another length": (lambda k: stack(k).fit(X, Y[:2]), "cardinality"),
    "weights of another length": (lambda k: stack(k).fit(X, Y, sample_weight=np.ones(3)),
                                  "cardinality"),
    "no data": (lambda k: stack(k).fit(), "x|None|data"),
    "no rows": (lambda k: stack(k).fit(X[:0], Y[:0], verbose=0), "row|empty|data|batch"),
    "no targets": (lambda k: stack(k).fit(X, verbose=0), "y|target|loss|None"),
    "no loss": (lambda k: (lambda m: (m.compile("sgd"), m.fit(X, Y, verbose=0)))(stack(k)), "loss"),
    "a split of everything": (lambda k: stack(k).fit(X, Y, validation_split=1.5, verbose=0),
                              "validation_split|split"),
    "a split of a generator": (lambda k: stack(k).fit(iter([(X, Y)]), validation_split=0.5),
                               "validation_split"),
    "targets beside a generator": (lambda k: stack(k).fit(iter([(X, Y)]), Y), "y"),
    "weights of classes and rows": (lambda k: stack(k).fit(
        X, CLASSES, class_weight={0: 1.0, 1: 2.0}, sample_weight=np.ones(4), verbose=0),
        "class_weight"),
    "predictions of nothing": (lambda k: stack(k).predict(None, verbose=0), "x|None"),
    "an argument of fit nobody knows": (lambda k: stack(k).fit(X, Y, nb_epoch=3), "nb_epoch"),
    "an argument of evaluate nobody knows": (lambda k: stack(k).evaluate(X, Y, colour=1), "colour"),
    "a callback that is none": (lambda k: stack(k).fit(X, Y, callbacks=[5], verbose=0), ""),
    "a metric nobody knows": (lambda k: (lambda m: (m.compile("sgd", "mse", metrics=["acuracy"]),
                                                    m.fit(X, Y, verbose=0)))(stack(k)), "acuracy"),
    "wrong features": (lambda k: stack(k).fit(np.ones((4, 7), "float32"), Y, verbose=0),
                       "incompatible|shape"),
}  # fmt: skip
SAVING = {
    "an extension nobody knows": (lambda k, p: stack(k).save(p / "m.npz"), "extension"),
    "weights without their extension": (lambda k, p: stack(k).save_weights(p / "m.h5"),
                                        r"\.weights\.h5"),
    "weights of an unbuilt model": (lambda k, p: k.Sequential([k.layers.Dense(1)]).save_weights(
        p / "m.weights.h5"), "not yet been built"),
    "weights into an unbuilt model": (
        lambda k, p: (stack(k).save_weights(p / "m.weights.h5"),
                      k.Sequential([k.layers.Dense(1)]).load_weights(p / "m.weights.h5")), "built"),
    "weights of another shape": (other_shape, "shape|could not be loaded"),
    "a model that is not there": (lambda k, p: k.saving.load_model(p / "no.keras"), "not found"),
    "weights that are not there": (lambda k, p: stack(k).load_weights(p / "no.weights.h5"),
                                   "not found|No such file|open file"),
    "a model of another kind": (lambda k, p: k.saving.load_model(p / "no.txt"), "not supported"),
    "a layer without a config": (unserializable, "get_config"),
    "a class nobody knows": (unknown_class, "Could not locate class"),
    "a config that is none": (lambda k, p: k.saving.deserialize_keras_object({1, 2}),
                              "Could not parse|config"),
    "a class without a config": (lambda k, p: k.saving.register_keras_serializable()(
        type("Plain", (), {})), "get_config"),
    "JSON of nothing": (lambda k, p: k.models.model_from_json("nothing"), ""),
    "an object without a config": (lambda k, p: k.saving.serialize_keras_object(object()),
                                   "get_config|serialize"),
}  # fmt: skip
CALLS = {
    f"{room}: {name}": (room, call, message)
    for room, table in (("models", MODELS), ("training", TRAINING), ("saving", SAVING))
    for name, (call, message) in table.items()
}
