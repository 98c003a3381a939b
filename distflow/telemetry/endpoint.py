"""The address where a monitor reads this worker's metrics: http://127.0.0.1:PORT/metrics.

DISTFLOW_METRICS_PORT is that of the host's first worker; the next ones follow (the local rank is
added), 0 takes free ones. It serves numbers only, to this host unless DISTFLOW_METRICS_HOST says
otherwise.
"""

from __future__ import annotations

import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from distflow.base import flags, log
from distflow.telemetry import metrics

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PATIENCE_SECONDS = 5.0  # a client that says nothing for so long is sent away

_server: ThreadingHTTPServer | None = None


class _Handler(BaseHTTPRequestHandler):
    server_version, sys_version = "distflow", ""
    timeout = _PATIENCE_SECONDS

    def do_GET(self) -> None:
        found = self.path.partition("?")[0] == "/metrics"
        body = metrics.text().encode() if found else b"see /metrics\n"
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", _CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        log.get_logger().debug("metrics: " + format, *args)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Two servers on one port would each get half of the questions.
    allow_reuse_port = False

    def handle_error(self, request: object, client_address: object) -> None:
        log.get_logger().debug("metrics: a client at %s has gone", client_address)


def serve(host: str, port: int) -> str:
    """Serves until the process ends; returns "host:port". Raises OSError if the port is taken."""
    global _server
    _server = _Server((host, port), _Handler)
    threading.Thread(target=_server.serve_forever, name="distflow-metrics", daemon=True).start()
    return f"{host}:{_server.server_address[1]}"


def start() -> None:
    """Serves where the settings say; a port that is taken is a warning, as training goes on."""
    base = flags.get("DISTFLOW_METRICS_PORT")
    if base is None or _server is not None:
        return
    port = base + (flags.get("DISTFLOW_LOCAL_RANK") or 0) if base else 0
    host = flags.get("DISTFLOW_METRICS_HOST")
    try:
        address = serve(host, port)
        # Nobody can know a free port beforehand: said at a level that is shown.
        level = logging.INFO if base else logging.WARNING
        log.get_logger().log(level, "metrics at http://%s/metrics", address)
    except OSError as error:
        log.get_logger().warning("metrics: cannot listen on %s port %d: %s", host, port, error)
