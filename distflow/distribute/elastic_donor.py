"""How a newcomer gets the record of the job while the others go on: one call after another.

Every worker serves its record on a port of its own, to callers with the job's token.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np

from distflow.base import errors, log, tls
from distflow.base.daemons import DaemonThreads
from distflow.comm.transport.checksum import checksum
from distflow.distribute import elastic_codec as codec
from distflow.distribute.elastic_record import Record

_SERVICE, _METHOD = "distflow.Donor", "Record"
_TOKEN = "distflow-token"
MAX_REPLY_BYTES = 4 << 20
CALL_SECONDS = 10.0
_OPTIONS = [
    # A single event may be larger than what is asked for at once (the outputs of `predict`).
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
]


class Donor:
    """Serves a record until `close`."""

    def __init__(self, record: Record, *, host: str, token: str | None):
        self._record, self._token = record, token or ""
        # Two at a time: training should not notice that it is asked.
        self._server = grpc.server(DaemonThreads(2), options=_OPTIONS, maximum_concurrent_rpcs=16)
        handler = grpc.unary_unary_rpc_method_handler(self._serve)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(_SERVICE, {_METHOD: handler}),)
        )
        name = f"[{host}]" if ":" in host else host
        port = tls.listen(self._server, f"{name}:0")
        self._server.start()
        self.address = f"{name}:{port}"

    def close(self) -> None:
        """Ends the server."""
        self._server.stop(None).wait(1.0)

    def _serve(self, request: bytes, context: Any) -> bytes:
        given = str(dict(context.invocation_metadata()).get(_TOKEN, ""))
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token is wrong or missing")
        try:
            start = json.loads(request[:64])
            if type(start) is not int or start < 0:
                raise ValueError(start)
        except ValueError:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request must be a number")
        found = self._record.messages(start, MAX_REPLY_BYTES)
        reply = codec.pack(None, found)
        return checksum(reply).to_bytes(4, "little") + reply.tobytes()


def fetch(address: str, start: int, *, token: str | None) -> list[np.ndarray[Any, Any]]:
    """Returns messages of a peer's record from number `start` on; none if it has no more.

    Raises:
      UnavailableError: if the peer does not answer.
      DataLossError: if the answer is damaged.
    """
    with tls.channel(address, _OPTIONS) as channel:
        call = channel.unary_unary(f"/{_SERVICE}/{_METHOD}")
        try:
            reply = call(
                json.dumps(start).encode(), timeout=CALL_SECONDS, metadata=((_TOKEN, token or ""),)
            )
        except grpc.RpcError as error:
            raise errors.UnavailableError(
                f"elastic job: no record from {address}: {error.code().name}, {error.details()}"
            ) from error
    data = np.frombuffer(reply, np.uint8)
    if len(reply) < 4 or checksum(data[4:]).to_bytes(4, "little") != reply[:4]:
        raise errors.DataLossError(f"elastic job: the record from {address} has another's checksum")
    return codec.unpack(data[4:])[1]


def fetch_from_any(
    addresses: Sequence[str], start: int, *, token: str | None
) -> list[np.ndarray[Any, Any]]:
    """Returns messages from the first peer that gives some; none if no peer does."""
    for address in addresses:
        try:
            found = fetch(address, start, token=token)
        except (errors.UnavailableError, errors.DataLossError) as error:
            log.get_logger().info("the next peer is asked: %s", error)
            continue
        if found:
            return found
    return []
