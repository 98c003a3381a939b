"""Where the manifests and the CRDs are."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
OVERLAYS = sorted(path.parent for path in (DEPLOY / "k8s/overlays").glob("*/kustomization.yaml"))


def crds() -> Path | None:
    """Returns the folder of CRD files (third-party data, not in this repository), or None."""
    named = os.environ.get("DISTFLOW_TEST_K8S_CRDS")
    folder = Path(named) if named else ROOT.parent / "shared/k8s-crds"
    return folder if (folder / "kubeflow.org_mpijobs.yaml").is_file() else None
