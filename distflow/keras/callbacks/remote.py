"""RemoteMonitor: the logs of each epoch, sent to a server."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
import warnings
from typing import Any

import numpy as np

from distflow.keras.callbacks.base import Callback
from distflow.keras.callbacks.checkpoint import is_chief

TIMEOUT_SECONDS = 10.0


class RemoteMonitor(Callback):
    """Posts the logs of each epoch; a server that does not answer is a warning.

    Under a strategy the chief sends. An answer that takes longer than TIMEOUT_SECONDS is none.

    Args:
      root: address of the server.
      path: where the logs go.
      field: name of the form's field that holds the JSON.
      headers: further headers.
      send_as_json: whether the JSON is the body itself instead of a form.
    """

    needs_batches = False

    def __init__(self, root: str = "http://localhost:9000", path: str = "/publish/epoch/end/",
                 field: str = "data", headers: Any = None,
                 send_as_json: bool = False):  # fmt: skip
        super().__init__()
        self.root, self.path, self.field = root, path, field
        self.headers, self.send_as_json = headers, send_as_json

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Sends the epoch's logs."""
        if not is_chief(self.model):
            return
        values = {"epoch": epoch} | {name: _plain(value) for name, value in (logs or {}).items()}
        text = json.dumps(values)
        if self.send_as_json:
            body, kind = text, "application/json"
        else:
            body = urllib.parse.urlencode({self.field: text})
            kind = "application/x-www-form-urlencoded"
        request = urllib.request.Request(
            self.root + self.path,
            data=body.encode(),
            headers={"Content-Type": kind, **(self.headers or {})},
            method="POST",
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):
                pass
        except (urllib.error.URLError, OSError) as error:
            warnings.warn(
                f"Could not reach RemoteMonitor root server at {self.root}: {error}", stacklevel=2
            )


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
