"""Maps `launcher/` to the package `distflow_launcher`; all else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import find_namespace_packages, find_packages, setup

# setuptools packs what earlier builds left here, modules that are no longer in the tree included.
shutil.rmtree(Path(__file__).parent / "build" / "lib", ignore_errors=True)

setup(
    packages=[
        *find_namespace_packages(include=["distflow", "distflow.*"], exclude=["*.__pycache__"]),
        "distflow_launcher",
        *(f"distflow_launcher.{name}" for name in find_packages("launcher")),
    ],
    package_dir={"distflow_launcher": "launcher"},
)
