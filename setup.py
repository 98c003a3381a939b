"""Maps `launcher/` to the package `distflow_launcher`; all else is in pyproject.toml."""

from setuptools import find_namespace_packages, setup

setup(
    packages=[
        *find_namespace_packages(include=["distflow", "distflow.*"], exclude=["*.__pycache__"]),
        "distflow_launcher",
    ],
    package_dir={"distflow_launcher": "launcher"},
)
