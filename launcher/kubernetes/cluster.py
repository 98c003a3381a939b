"""The API server of a cluster, reached with the official client (extra k8s); objects are dicts.

The client finds the server and signs in (kubeconfig with token, certificate or a program that
gives one; inside a pod its service account). Paths are made here: a table of the few kinds that a
job consists of, so that custom kinds need no discovery.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import light
from ..arguments import UnreachableError, UsageError

Object = dict[str, Any]

TIMEOUT_SECONDS = 30.0
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
KINDS = {
    "Pod": ("v1", "pods"),
    "Service": ("v1", "services"),
    "ConfigMap": ("v1", "configmaps"),
    "Secret": ("v1", "secrets"),
    "PersistentVolumeClaim": ("v1", "persistentvolumeclaims"),
    "Job": ("batch/v1", "jobs"),
    "PodDisruptionBudget": ("policy/v1", "poddisruptionbudgets"),
    "NetworkPolicy": ("networking.k8s.io/v1", "networkpolicies"),
    "JobSet": ("jobset.x-k8s.io/v1alpha2", "jobsets"),
    "MPIJob": ("kubeflow.org/v2beta1", "mpijobs"),
    "TrainingRuntime": ("trainer.kubeflow.org/v1alpha1", "trainingruntimes"),
    "TrainJob": ("trainer.kubeflow.org/v1alpha1", "trainjobs"),
    "PodMonitor": ("monitoring.coreos.com/v1", "podmonitors"),
}


class RefusedError(UsageError):
    """The cluster answered, and refused; `status` is the HTTP code."""

    code = 1

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class Cluster:
    """A namespace of a cluster.

    Args:
      api: `kubernetes.client.ApiClient`, signed in.
      namespace: where all objects are.
    """

    def __init__(self, api: Any, namespace: str):
        self.namespace = namespace
        dynamic = importlib.import_module("kubernetes.dynamic")
        # Discovery would ask for every group, and write a file in a folder that all users share.
        self._client = dynamic.DynamicClient(api, discoverer=lambda client, cache: None)

    def get(self, kind: str, name: str) -> Object | None:
        """Returns an object, None if it is not there."""
        try:
            return self._object("get", self._path(kind, name))
        except RefusedError as error:
            if error.status != 404:
                raise
            return None

    def list(self, kind: str, labels: str = "") -> list[Object]:
        """Returns the objects of a kind with these labels; none where the kind is not known."""
        try:
            found = self._object("get", self._path(kind), label_selector=labels)
        except RefusedError as error:
            if error.status != 404:
                raise
            return []
        version, _ = KINDS[kind]
        return [{"apiVersion": version, "kind": kind, **item} for item in found["items"]]

    def create(self, manifest: Object) -> Object:
        """Makes an object and returns it as the cluster has it."""
        return self._object("post", self._path(manifest["kind"]), body=manifest)

    def patch(self, kind: str, name: str, patch: Object) -> Object:
        """Changes an object by a JSON merge patch and returns it."""
        kind_of_patch = "application/merge-patch+json"
        return self._object("patch", self._path(kind, name), body=patch, content_type=kind_of_patch)

    def delete(self, kind: str, name: str, propagation: str = "Background") -> bool:
        """Deletes an object, and with it what it owns; says whether it was there."""
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
        try:
            self._object("delete", self._path(kind, name), body=body)
        except RefusedError as error:
            if error.status != 404:
                raise
            return False
        return True

    def log(self, pod: str, *, follow: bool = False, tail: int | None = None) -> Iterator[bytes]:
        """Yields what a pod's container has printed, in pieces; with `follow` until it ends."""
        query = [("follow", "true")] if follow else []
        query += [] if tail is None else [("tailLines", str(tail))]
        # A followed log may be silent for long; otherwise the usual deadline holds.
        timeout = (TIMEOUT_SECONDS, None) if follow else TIMEOUT_SECONDS
        path = self._path("Pod", pod) + "/log"
        answer = self._call("get", path, query_params=query, _request_timeout=timeout)
        try:
            with _translated(path):
                yield from answer.stream(2**16)
        finally:
            answer.close()
            answer.release_conn()

    def _path(self, kind: str, name: str = "") -> str:
        version, plural = KINDS[kind]
        root = "apis" if "/" in version else "api"
        path = f"/{root}/{version}/namespaces/{urllib.parse.quote(self.namespace)}/{plural}"
        return f"{path}/{urllib.parse.quote(name)}" if name else path

    def _object(self, method: str, path: str, **options: Any) -> Object:
        answer = self._call(method, path, _request_timeout=TIMEOUT_SECONDS, **options)
        try:
            found: Object = json.loads(answer.data)
        finally:
            answer.release_conn()
        return found

    def _call(self, method: str, path: str, **options: Any) -> Any:
        with _translated(path):
            # Lists of its own: the client's default ones are shared by all calls.
            options.setdefault("query_params", [])
            return self._client.request(
                method, path, serialize=False, header_params={}, path_params={}, **options
            )


def connect(
    *, kubeconfig: str | None = None, context: str | None = None, namespace: str | None = None
) -> Cluster:
    """Returns the cluster of a kubeconfig, or the one that this pod runs in.

    Args:
      kubeconfig: default: $KUBECONFIG, else ~/.kube/config, else the pod's service account.
      context: default: the current one.
      namespace: default: the context's or the pod's, else "default".

    Raises:
      UsageError: without the extra k8s, and if no cluster is configured.
    """
    try:
        config = importlib.import_module("kubernetes.config")
        client = importlib.import_module("kubernetes.client")
    except ImportError as error:
        missing = light.load("base.errors").missing_extra("kubernetes", "k8s", "--k8s")
        raise UsageError(str(missing)) from error
    is_asked = bool(kubeconfig or context)
    # Said to the client each time: it looks at $KUBECONFIG once, when it is imported.
    kubeconfig = kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
    kubeconfig = os.path.expanduser(kubeconfig)
    is_inside = _SERVICE_ACCOUNT.is_dir() and not (is_asked or _exists(kubeconfig))
    try:
        if is_inside:
            settings = client.Configuration()
            config.load_incluster_config(client_configuration=settings)
            found = (_SERVICE_ACCOUNT / "namespace").read_text().strip()
            return Cluster(client.ApiClient(settings), namespace or found)
        _, active = config.list_kube_config_contexts(config_file=kubeconfig)
        if context is not None:
            contexts, _ = config.list_kube_config_contexts(config_file=kubeconfig)
            active = next((c for c in contexts if c["name"] == context), {"context": {}})
        found = (active.get("context") or {}).get("namespace") or "default"
        # A refreshed token is for this call; the user's file stays as it is.
        api = config.new_client_from_config(
            config_file=kubeconfig, context=context, persist_config=False
        )
    except (config.ConfigException, OSError, ValueError) as error:
        raise UsageError(
            f"expected a cluster in a kubeconfig ($KUBECONFIG, ~/.kube/config or --kubeconfig); "
            f"received {error}"
        ) from error
    return Cluster(api, namespace or found)


def _exists(paths: str) -> bool:
    return any(os.path.isfile(path) for path in paths.split(os.pathsep))


@contextlib.contextmanager
def _translated(path: str) -> Iterator[None]:
    """Turns the client's errors into those of the launcher."""
    rest = importlib.import_module("kubernetes.client.rest")
    http = importlib.import_module("urllib3.exceptions")
    try:
        yield
    except rest.ApiException as error:
        message = str(error.reason)
        with contextlib.suppress(ValueError, TypeError, KeyError):
            message = json.loads(error.body)["message"]
        hint = {
            401: "\nSign in again: the kubeconfig's token or certificate is not taken.",
            403: "\nThe user of the kubeconfig lacks this right in the namespace.",
        }.get(error.status, "")
        raise RefusedError(
            int(error.status or 0), f"the cluster refuses: {message}{hint}"
        ) from None
    except (http.HTTPError, OSError) as error:
        cause = getattr(error, "reason", None) or error
        raise UnreachableError(f"the cluster cannot be reached: {cause} ({path})") from None
