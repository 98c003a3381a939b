"""The store on the network: an HTTP(S) API server that kubectl and the official client talk to.

Discovery, create, get, list, update, patch and delete, watches, a pod's log, a bearer token, and
refusals as Status objects. What it does not have: users' rights (one token may do all), aggregated
discovery, tables, field ownership, admission webhooks.
"""

from __future__ import annotations

import contextlib
import json
import re
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.deploy import kustomize
from tests.fakekube import admission, patches
from tests.fakekube.resources import RESOURCES, Resource, discovery
from tests.fakekube.selectors import SelectorError
from tests.fakekube.store import Conflict, Invalid, Key, NotFound, Object, Store, StoreError

# (pod, container) → the file that the kubelet writes its output to, which may not be there yet.
LogFile = Callable[[Object, str], Path]
TOKEN = "tests-token"
MOST_BYTES = 3 * 1024 * 1024
FOLLOW_SECONDS = 0.05  # how often a followed log is looked at
_PATH = re.compile(
    r"(?P<root>/api/v1|/apis/[^/]+/[^/]+)"
    r"(/namespaces/(?P<namespace>[^/]+)(?=/))?"
    r"/(?P<plural>[a-z]+)(/(?P<name>[^/]+))?(/(?P<sub>[a-z]+))?"
)


class Refusal(StoreError):
    """A refusal with a code of its own."""

    def __init__(self, code: int, reason: str, message: str):
        super().__init__(message)
        self.code, self.reason = code, reason  # type: ignore[misc]


class ApiServer:
    """Serves a store until `close`; use as a context manager.

    Args:
      store: the objects.
      token: what every request must carry; None lets everybody in.
      tls: (certificate, key) files: the server speaks HTTPS.
      log_file: finds what a container has written.
      host: where to listen.
    """

    def __init__(
        self,
        store: Store,
        *,
        token: str | None = TOKEN,
        tls: tuple[Path, Path] | None = None,
        log_file: LogFile = lambda pod, container: Path("/nowhere"),
        host: str = "127.0.0.1",
    ):
        self.store, self.token, self.log_file = store, token, log_file
        self.requests: list[str] = []
        self._httpd = _Server((host, 0), self)
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._httpd.socket = context.wrap_socket(self._httpd.socket, server_side=True)
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://{host}:{self._httpd.server_address[1]}"
        self._thread = threading.Thread(target=self._httpd.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def __enter__(self) -> ApiServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the watches and the server."""
        self.store.close()
        self._httpd.shutdown()
        self._httpd.server_close()
        self._thread.join()

    def kubeconfig(self, folder: Path, *, namespace: str = "default", **cluster: str) -> Path:
        """Writes a kubeconfig that leads here and returns its path."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "tests",
            "clusters": [{"name": "tests", "cluster": {"server": self.url, **cluster}}],
            "users": [{"name": "tests", "user": {"token": self.token}}],
            "contexts": [
                {
                    "name": "tests",
                    "context": {"cluster": "tests", "user": "tests", "namespace": namespace},
                }
            ],
        }
        path = folder / "kubeconfig"
        path.write_text(json.dumps(config))
        return path


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], api: ApiServer):
        super().__init__(address, _Handler)
        self.api = api

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in mid-watch is no error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Otherwise each answer waits 40 ms for the client to acknowledge its header.
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        pass

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    # Answers ------------------------------------------------------------------------------

    def _answer(self) -> None:
        api = self.server.api
        url = urllib.parse.urlsplit(self.path)
        api.requests.append(f"{self.command} {self.path}")
        try:
            body = self._body()
            scheme, _, token = self.headers.get("Authorization", "").partition(" ")
            if api.token and (scheme.lower(), token) != ("bearer", api.token):
                raise Refusal(401, "Unauthorized", "Unauthorized")
            self.query = dict(urllib.parse.parse_qsl(url.query))
            path = url.path.rstrip("/")
            found = discovery(path) if self.command == "GET" else None
            if found is not None:
                self._send(200, found)
                return
            self._act(path, body)
        except StoreError as error:
            self._refuse(error.code, error.reason, str(error))
        except (kustomize.RenderError, SelectorError, ValueError, KeyError, TypeError) as error:
            self._refuse(400, "BadRequest", f"{type(error).__name__}: {error}")

    def _body(self) -> bytes:
        size = int(self.headers.get("Content-Length") or 0)
        if size > MOST_BYTES:
            self.close_connection = True
            raise Refusal(413, "RequestEntityTooLarge", f"limit is {MOST_BYTES}")
        return self.rfile.read(size)

    def _act(self, path: str, body: bytes) -> None:
        match = _PATH.fullmatch(path)
        resource = match and next(
            (r for r in RESOURCES if (r.root, r.plural) == (match["root"], match["plural"])), None
        )
        if not match or not resource:
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
        sub, namespace = match["sub"] or "", match["namespace"]
        if sub and sub not in resource.subresources:
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
        if match["name"] is None:
            collection = {"GET": self._list, "POST": self._create, "DELETE": self._delete_all}
            if self.command not in collection:
                raise Refusal(405, "MethodNotAllowed", f"{self.command} of a collection")
            collection[self.command](resource, namespace, body)
            return
        place = (namespace or "default") if resource.namespaced else ""
        key = Key(resource.api_version, resource.kind, place, match["name"])
        if sub == "log":
            self._log(self.server.api.store.get(key))
            return
        item = {
            "GET": self._get, "PUT": self._replace, "PATCH": self._patch, "DELETE": self._delete,
        }  # fmt: skip
        item[self.command](key, sub, body)

    def _send(self, code: int, content: Object, kind: str = "application/json") -> None:
        data = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _refuse(self, code: int, reason: str, message: str) -> None:
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                  "message": message, "reason": reason, "code": code}  # fmt: skip
        self._send(code, status)

    # One object ---------------------------------------------------------------------------

    @property
    def _is_dry_run(self) -> bool:
        return self.query.get("dryRun") == "All"

    def _get(self, key: Key, sub: str, body: bytes) -> None:
        self._send(200, self.server.api.store.get(key))

    def _create(self, resource: Resource, namespace: str | None, body: bytes) -> None:
        obj = _object(body, resource)
        if namespace and obj["metadata"].setdefault("namespace", namespace) != namespace:
            raise Refusal(400, "BadRequest", "the namespace of the object and of the path differ")
        admission.check(obj, None)
        self._send(201, obj if self._is_dry_run else self.server.api.store.create(obj, namespace))

    def _replace(self, key: Key, sub: str, body: bytes) -> None:
        new = json.loads(body)
        new["metadata"].setdefault("namespace", key.namespace)
        store = self.server.api.store
        if sub != "status":
            admission.check(new, store.get(key))
        self._send(200, new if self._is_dry_run else store.replace(new, subresource=sub))

    def _patch(self, key: Key, sub: str, body: bytes) -> None:
        store, kind = self.server.api.store, self.headers.get("Content-Type", "")
        patch = patches.read(body, kind)
        if kind.startswith("application/apply-patch"):
            with contextlib.suppress(NotFound):
                store.get(key)
                self._change(key, sub, patch, kind)
                return
            admission.check(patch, None)
            self._send(201, store.create(patch, key.namespace))
            return
        self._change(key, sub, patch, kind)

    def _change(self, key: Key, sub: str, patch: Any, kind: str) -> None:
        def change(old: Object) -> Object:
            try:
                new = patches.apply(old, patch, kind)
            except patches.UnknownPatch as error:
                raise Refusal(415, "UnsupportedMediaType", str(error)) from error
            except kustomize.RenderError as error:
                raise Invalid(str(error)) from error
            version = new.get("metadata", {}).get("resourceVersion")
            if version != old["metadata"]["resourceVersion"]:
                raise Conflict("the object has been modified")
            if sub != "status":
                admission.check(new, old)
            return new

        store = self.server.api.store
        if self._is_dry_run:
            self._send(200, change(store.get(key)))
            return
        self._send(200, store.modify(key, change, subresource=sub))

    def _delete(self, key: Key, sub: str, body: bytes) -> None:
        options = json.loads(body) if body else {}
        policy = options.get("propagationPolicy") or self.query.get("propagationPolicy")
        grace = options.get("gracePeriodSeconds", self.query.get("gracePeriodSeconds"))
        store = self.server.api.store
        if self._is_dry_run:
            self._send(200, store.get(key))
            return
        gone = store.delete(
            key,
            propagation=policy or "Background",
            grace_seconds=None if grace is None else float(grace),
        )
        self._send(200, gone)

    # Many ---------------------------------------------------------------------------------

    def _delete_all(self, resource: Resource, namespace: str | None, body: bytes) -> None:
        for obj in self._chosen(resource, namespace):
            metadata = obj["metadata"]
            self.server.api.store.delete(
                Key(resource.api_version, resource.kind, metadata["namespace"], metadata["name"])
            )
        self._send(200, {"kind": "Status", "apiVersion": "v1", "status": "Success"})

    def _chosen(self, resource: Resource, namespace: str | None) -> list[Object]:
        return self.server.api.store.list(
            resource.api_version,
            resource.kind,
            namespace,
            labels=self.query.get("labelSelector", ""),
            fields=self.query.get("fieldSelector", ""),
        )

    def _list(self, resource: Resource, namespace: str | None, body: bytes) -> None:
        if self.query.get("watch") in ("1", "true"):
            self._watch(resource, namespace)
            return
        version = str(self.server.api.store.version)
        content = {
            "kind": f"{resource.kind}List",
            "apiVersion": resource.api_version,
            "metadata": {"resourceVersion": version},
            "items": self._chosen(resource, namespace),
        }
        self._send(200, content)

    def _watch(self, resource: Resource, namespace: str | None) -> None:
        since = self.query.get("resourceVersion")
        timeout = float(self.query.get("timeoutSeconds") or 300)
        events = self.server.api.store.watch(
            resource.api_version,
            resource.kind,
            namespace,
            since=int(since) if since and since != "0" else None,
            labels=self.query.get("labelSelector", ""),
            fields=self.query.get("fieldSelector", ""),
            timeout_seconds=timeout,
        )
        lines = (json.dumps({"type": e.type, "object": e.object}).encode() + b"\n" for e in events)
        self._stream(lines, "application/json")

    # A pod's log --------------------------------------------------------------------------

    def _log(self, pod: Object) -> None:
        containers = [container["name"] for container in pod["spec"]["containers"]]
        file = self.server.api.log_file(pod, self.query.get("container", containers[0]))
        if not file.is_file():
            name = pod["metadata"]["name"]
            raise Refusal(400, "BadRequest", f'container in pod "{name}" is waiting to start')
        follow = self.query.get("follow") in ("1", "true", "True")
        tail = self.query.get("tailLines")
        self._stream(self._lines(pod, file, follow, tail), "text/plain")

    def _lines(self, pod: Object, file: Path, follow: bool, tail: str | None) -> Iterator[bytes]:
        data = file.read_bytes()
        position = len(data)
        yield data if tail is None else b"".join(data.splitlines(keepends=True)[-int(tail) :])
        metadata, wait = pod["metadata"], threading.Event()
        key = Key("v1", "Pod", metadata["namespace"], metadata["name"])
        while follow:
            is_over = _is_over(self.server.api.store, key, metadata["uid"])
            with file.open("rb") as stream:
                stream.seek(position)
                data = stream.read()
            position += len(data)
            if data:
                yield data
            elif is_over:
                return
            else:
                wait.wait(FOLLOW_SECONDS)

    def _stream(self, parts: Iterator[bytes], kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with contextlib.suppress(OSError):  # the client has gone
            for part in parts:
                if part:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                    self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")


def _object(body: bytes, resource: Resource) -> Object:
    obj: Object = json.loads(body)
    expected = (resource.api_version, resource.kind)
    received = (obj.setdefault("apiVersion", expected[0]), obj.setdefault("kind", expected[1]))
    if received != expected:
        raise Refusal(400, "BadRequest", f"expected {expected}; received {received}")
    obj.setdefault("metadata", {})
    return obj


def _is_over(store: Store, key: Key, uid: str) -> bool:
    """Whether nothing more comes: the pod has ended, is gone, or is another one."""
    try:
        pod = store.get(key)
    except NotFound:
        return True
    ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
    return ended or pod["metadata"]["uid"] != uid
