"""Import time, memory and size on disk, side by side.

python benchmarks/footprint.py --peer tensorflow=tf-venv/bin/python
"""

import peers

CODE = """
import importlib, json, os, resource, sys, time
start = time.perf_counter()
module = importlib.import_module(sys.argv[1])
if hasattr(module, "keras"):
    module.keras.layers.Dense
seconds = time.perf_counter() - start
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
from importlib import metadata
def needed(name, seen):
    key = name.lower().replace("_", "-")
    if key in seen:
        return seen
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return seen
    seen[key] = sum(
        f.locate().stat().st_size for f in found.files or [] if f.locate().exists()
    )
    for requirement in found.requires or []:
        if "extra ==" not in requirement:
            import re
            needed(re.match(r"[\\w.-]+", requirement)[0], seen)
    return seen
size = sum(needed(sys.argv[2], {}).values()) / 2**20
print(json.dumps({"import, s": seconds, "memory, MiB": memory, "with dependencies, MiB": size}))
"""
PACKAGES = {"tensorflow": "tensorflow-cpu"}


def main():
    contestants, rounds = peers.parse(__doc__.splitlines()[0])
    peers.table(
        peers.alternate(
            contestants,
            rounds,
            lambda name, py: peers.run(py, CODE, name, PACKAGES.get(name, name)),
        )
    )


if __name__ == "__main__":
    main()
