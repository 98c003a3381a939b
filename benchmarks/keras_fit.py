"""A step of fit, and of predict, of eleven Keras models, distflow and TensorFlow taking turns.

python benchmarks/keras_fit.py --peer tensorflow=tf-venv/bin/python
"""

import sys
from pathlib import Path

import peers
from models import keras_models

CODE = """
import importlib, json, os, sys, time
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
framework, folder, name, batches, seconds = sys.argv[1:]
sys.path.insert(0, folder)
import numpy as np
from models import keras_models
tf = importlib.import_module(framework)
tf.keras.utils.set_random_seed(0)
model, x, y = keras_models.MODELS[name](tf.keras, np.random.default_rng(0))
batches, size = int(batches), len(y)
one = x, y
each = lambda act, parts: [act(p) for p in parts] if isinstance(parts, list) else act(parts)
x, y = (each(lambda a: np.concatenate([a] * batches), part) for part in one)

def timed(act):
    act()
    samples, over = [], time.perf_counter() + float(seconds)
    while not samples or time.perf_counter() < over:
        start = time.perf_counter()
        act()
        samples.append((time.perf_counter() - start) / batches * 1e3)
    return float(np.median(samples))

start = time.perf_counter()
model.train_on_batch(*one)
first = time.perf_counter() - start
fit = timed(lambda: model.fit(x, y, batch_size=size, verbose=0))
predict = timed(lambda: model.predict(x, batch_size=size, verbose=0))
print(json.dumps({"fit, ms": fit, "predict, ms": predict, "first step, s": first}))
"""


def main():
    parser = peers.parser(__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(keras_models.MODELS), metavar="NAME",
                        choices=list(keras_models.MODELS), help="default: all")  # fmt: skip
    parser.add_argument("--batches", type=int, default=20, help="of an epoch (20)")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each measurement (2)")
    parser.set_defaults(rounds=2)
    arguments = parser.parse_args()
    interpreters = [("distflow", sys.executable), *arguments.peer]
    folder, limits = str(Path(__file__).parent), (str(arguments.batches), str(arguments.seconds))
    for model in arguments.models:
        print(f"\n{model}: {keras_models.MODELS[model].__doc__}\n")
        peers.table(
            peers.alternate(
                interpreters, arguments.rounds,
                lambda name, python, model=model: peers.run(
                    python, CODE, name, folder, model, *limits
                ),
            )
        )  # fmt: skip
        sys.stdout.flush()


if __name__ == "__main__":
    main()
