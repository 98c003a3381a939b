"""Writes docs/keras.md: which names of Keras are there, which run natively, and why others are not.

`keras_names.json` holds the names of TF 2.21 with Keras 3.15 by area (`gone`: those of TF 2.0 that
Keras 3 has no more; priority 1: what programs use). Run `python docs/keras_names.py` after adding
names; a test says whether the page is fresh.
"""

from __future__ import annotations

import importlib
import json
import pathlib
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
OTHER_BACKEND = "runs code of another framework"
QUANTISATION = 'integers of eight bits are there: `quantize("int8")`'
GRAPHS = "Keras's own scope for backends without state; distflow's layers hold variables"
NOT_YET = "not there yet"
# Why a name is not there: by "area.name", or by area.
REASONS = {
    "keras.layers.FlaxLayer": OTHER_BACKEND, "keras.layers.JaxLayer": OTHER_BACKEND,
    "keras.layers.TorchModuleWrapper": OTHER_BACKEND,
    "keras.layers.RandomHeight": "gone in Keras 3: `Resizing`, `RandomZoom`",
    "keras.layers.RandomWidth": "gone in Keras 3: `Resizing`, `RandomZoom`",
    "keras.layers.TFSMLayer": "SavedModel graphs of TensorFlow are not run",
    "keras.callbacks.OrbaxCheckpoint": "JAX's checkpoints; `ModelCheckpoint` is there",
    "keras.StatelessScope": GRAPHS, "keras.SymbolicScope": GRAPHS,
    "keras.RematScope": "use `keras.remat` on a function",
    "keras.quantizers": QUANTISATION,
    "keras.export": "SavedModel is not there; ONNX neither",
    "keras.visualization": "drawing needs packages beyond the extras",
    "keras.ops.image": "use the layers of pictures",
    "keras.config.set_backend": "there is one backend",
    "keras.config.enable_unsafe_deserialization": "files never hold code here",
    "keras.utils.FeatureSpace": "use `tf.feature_column` or the preprocessing layers",
    "keras.backend.ctc_label_dense_to_sparse": "there are no sparse tensors",
}  # fmt: skip
for _name in ("AWQDTypePolicy", "GPTQDTypePolicy", "Int4DTypePolicy",
              "QuantizedFloat8DTypePolicy"):  # fmt: skip
    REASONS[f"keras.dtype_policies.{_name}"] = QUANTISATION

# Layer -> why its training step does not run wholly native. All others' do, forward, backward and
# update (tests/keras/layers/test_native.py looks at each).
ON_THE_HOST = {
    "Hashing": "strings, and fingerprints of 64 bits, have no native form",
    "HashedCrossing": "the same",
    "StringLookup": "a vocabulary of strings is a table of Python",
    "IntegerLookup": "a vocabulary is a table of Python",
    "TextVectorization": "strings have no native form",
    "ContrastLimitedAdaptiveHistogramEqualization": "histograms of tiles are made on the host",
    "RandAugment": "which of its layers are used is decided while it runs, by conditions",
    "AugMix": "the same; its shares are drawn on the host as well",
}


def areas() -> dict[str, Any]:
    """Returns Keras's areas by name."""
    return json.loads((HERE / "keras_names.json").read_text())


def is_there(area: str, name: str) -> bool:
    """Whether distflow has a name."""
    try:
        space: Any = importlib.import_module("distflow")
        for part in area.split("."):
            space = getattr(space, part)
        # A list first: what it names may need a package that is not installed.
        return name in getattr(space, "__all__", ()) or hasattr(space, name)
    except (AttributeError, ImportError):
        return False


def reason(area: str, name: str) -> str:
    """Returns why a name is not there."""
    return REASONS.get(f"{area}.{name}") or REASONS.get(area) or NOT_YET


def share_there(priority: int = 1) -> float:
    """Returns the part of the names of a priority that is there."""
    rows = [(a, n) for a, v in areas().items() if v["priority"] == priority
            for n in v["names"].split()]  # fmt: skip
    return sum(is_there(a, n) for a, n in rows) / len(rows)


def page() -> str:
    """Returns the page."""
    lines = [
        "# Names of Keras", "",
        "Made by `python docs/keras_names.py` from the public names of TensorFlow 2.21 with Keras "
        "3.15. Priority 1 is what programs use.", "",
        f"There: {share_there(1):.1%} of the names of priority 1, {share_there(2):.1%} of those "
        "of priority 2.", "",
        "| area | priority | names | there | not there, and why |",
        "| --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for area, row in areas().items():
        names = row["names"].split()
        if not names:
            continue
        missing: dict[str, list[str]] = {}
        for name in names:
            if not is_there(area, name):
                missing.setdefault(reason(area, name), []).append(f"`{name}`")
        count = len(names) - sum(map(len, missing.values()))
        text = "; ".join(f"{', '.join(found)}: {why}" for why, found in missing.items())
        lines.append(f"| `{area}` | {row['priority']} | {len(names)} | {count} | {text} |")
    lines += ["", "## Gone since TF 2.0", "",
              "Keras 3 has these no more; some are kept here for programs of TF 2.0.", "",
              "| area | there | not there |", "| --- | --- | --- |"]  # fmt: skip
    for area, row in areas().items():
        gone = row.get("gone", "").split()
        if gone:
            there = [f"`{n}`" for n in gone if is_there(area, n)]
            rest = [f"`{n}`" for n in gone if not is_there(area, n)]
            lines.append(f"| `{area}` | {', '.join(there)} | {', '.join(rest)} |")
    lines += ["", "## Layers that do not run wholly native", "",
              "In a compiled training step some operations of these run in NumPy on the host; all "
              "other layers are machine code, forward, backward and update.", "",
              "| layer | why |", "| --- | --- |"]  # fmt: skip
    lines += [f"| `{name}` | {why} |" for name, why in ON_THE_HOST.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (HERE / "keras.md").write_text(page())
