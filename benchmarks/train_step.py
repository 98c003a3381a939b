"""One training step (fit, batch 32, Adam) of the seed's MNIST CNN, side by side.

python benchmarks/train_step.py --peer tensorflow=tf-venv/bin/python
"""

import peers

CODE = """
import importlib, json, os, sys, time
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
tf = importlib.import_module(sys.argv[1])
layers = tf.keras.layers
model = tf.keras.Sequential([
    tf.keras.Input((28, 28, 1)),
    layers.Conv2D(16, 3, activation="relu"),
    layers.Conv2D(16, 3, activation="relu"),
    layers.GlobalAveragePooling2D(),
    layers.Dense(10),
])
model.compile("adam", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
rng = np.random.default_rng(0)
x = rng.random((32 * 30, 28, 28, 1), "float32")
y = rng.integers(0, 10, len(x))
start = time.perf_counter()
model.fit(x[:32], y[:32], verbose=0)
first = time.perf_counter() - start
start = time.perf_counter()
model.fit(x, y, verbose=0)
print(json.dumps({"step, ms": (time.perf_counter() - start) / 30 * 1e3, "first step, s": first}))
"""


def main():
    contestants, rounds = peers.parse(__doc__.splitlines()[0])
    peers.table(peers.alternate(contestants, rounds, lambda name, py: peers.run(py, CODE, name)))


if __name__ == "__main__":
    main()
