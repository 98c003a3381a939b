"""Writes golden.json from TensorFlow: `python -m tests.programs.record [file.name ...]`.

Needs the extra `parity`. Names given on the command line are replaced, the others stay.
"""

import json
import os
import sys
import tempfile

from tests.programs import table


def main(names):
    import keras
    import numpy as np
    import tensorflow as tf

    kept = table.golden() if names and table.GOLDEN.exists() else {}
    results = {}
    os.chdir(tempfile.mkdtemp())
    for name, program in table.programs().items():
        if name in kept and name not in names:
            results[name] = kept[name]
            continue
        keras.utils.clear_session()
        results[name] = table.plain(program(tf, np))
    lines = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(results.items()))
    made_by = json.dumps(
        f"tests/programs/record.py, TensorFlow {tf.__version__}, Keras {keras.__version__}"
    )
    table.GOLDEN.write_text(f'{{"made_by": {made_by}, "results": {{\n{lines}\n}}}}\n')


if __name__ == "__main__":
    main(set(sys.argv[1:]))
