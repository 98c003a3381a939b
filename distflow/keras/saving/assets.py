"""Files that layers keep beside their weights, such as vocabularies, in a `.keras` archive.

They lie where Keras 3 has them: assets/<path of the layer>/<file>.
"""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import Any

from distflow.keras.saving.places import places

_ROOM = "assets"


def write_assets(model: Any, archive: zipfile.ZipFile) -> None:
    """Puts the files of all layers with `save_assets(directory)` into an archive."""
    for path, item in _keepers(model, "save_assets"):
        with tempfile.TemporaryDirectory() as folder:
            item.save_assets(folder)
            for file in sorted(p for p in Path(folder).rglob("*") if p.is_file()):
                archive.write(file, "/".join((_ROOM, path, *file.relative_to(folder).parts)))


def read_assets(model: Any, archive: zipfile.ZipFile) -> None:
    """Hands the files of an archive to the layers with `load_assets(directory)`."""
    names = archive.namelist()
    for path, item in _keepers(model, "load_assets"):
        lead = f"{_ROOM}/{path}/"
        own = [name for name in names if name.startswith(lead) and not name.endswith("/")]
        if not own:
            continue
        with tempfile.TemporaryDirectory() as folder:
            for name in own:
                # Each file by its last name only: a path in the archive leads nowhere else.
                if "/" not in name[len(lead) :]:
                    Path(folder, Path(name).name).write_bytes(archive.read(name))
            item.load_assets(folder)


def _keepers(model: Any, method: str) -> list[tuple[str, Any]]:
    return [(path, item) for path, item in places(model) if hasattr(item, method)]
