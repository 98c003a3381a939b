"""Reads the manifests of a file, a folder, a Kustomize folder, or standard input."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ... import light
from ...arguments import UsageError
from .bundle import Manifest

RENDER_SECONDS = 60


class UnreadableError(UsageError):
    """A path without manifests that can be read."""


def load_yaml(text: str, where: str) -> list[Manifest]:
    """Returns the documents of a YAML text; a List gives its items.

    Raises:
      UnreadableError: if it is no YAML.
    """
    yaml = yaml_module()
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        raise UnreadableError(f"{where}: expected YAML; received {error}") from error
    found: list[Manifest] = []
    for document in documents:
        is_list = isinstance(document, dict) and document.get("kind") == "List"
        found += document.get("items") or [] if is_list else [document]
    return found


def yaml_module() -> Any:
    """Returns PyYAML; an UnreadableError that names the extra where it is not installed."""
    try:
        return importlib.import_module("yaml")
    except ImportError as error:
        missing = light.load("base.errors").missing_extra("PyYAML", "k8s", "Kubernetes")
        raise UnreadableError(str(missing)) from error


def read(path: str) -> list[Manifest]:
    """Returns the manifests of a path: what `kubectl apply -f` or `-k` would send as one.

    Raises:
      UnreadableError: if there are none, or a Kustomize folder and nothing to render it with.
    """
    if path == "-":
        return _some(load_yaml(sys.stdin.read(), "standard input"), "standard input")
    place = Path(path)
    if place.is_dir():
        names = ("kustomization.yaml", "kustomization.yml", "Kustomization")
        if any((place / name).is_file() for name in names):
            return _some(load_yaml(_kustomize(place), path), path)
        files = sorted(f for f in place.rglob("*") if f.suffix in (".yaml", ".yml", ".json"))
    else:
        files = [place]
    manifests = []
    for file in files:
        try:
            manifests += load_yaml(file.read_text(encoding="utf-8"), str(file))
        except (OSError, UnicodeDecodeError) as error:
            raise UnreadableError(f"{file}: {error}") from error
    return _some(manifests, path)


def _some(manifests: list[Manifest], where: str) -> list[Manifest]:
    if not manifests:
        raise UnreadableError(f"{where}: expected manifests; received none.")
    for manifest in manifests:
        version = manifest.get("apiVersion") if isinstance(manifest, dict) else ""
        if str(version).startswith("kustomize.config.k8s.io/"):
            raise UnreadableError(
                f"{where}: expected rendered manifests; received a {manifest.get('kind')}.\n"
                "Name the folder of the overlay itself, or render it with `kubectl kustomize`."
            )
    return manifests


def _kustomize(folder: Path) -> str:
    for program, *words in (["kustomize", "build"], ["kubectl", "kustomize"]):
        if shutil.which(program):
            command = [program, *words, str(folder)]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=RENDER_SECONDS, check=False
            )
            if done.returncode != 0:
                raise UnreadableError(f"{folder}: {program} refuses it: {done.stderr.strip()}")
            return done.stdout
    raise UnreadableError(
        f"{folder}: a Kustomize folder needs kustomize or kubectl to be rendered; received neither."
    )
