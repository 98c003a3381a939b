"""MultiWorkerMirroredStrategy: the replicas spread over processes, by MPI or gRPC.

The cluster is found from TF_CONFIG, from MPI's environment, from the launcher's, or from an
Indexed Job's (`cluster.resolve`). A process joins its job once; all strategies share the link.
"""

from __future__ import annotations

import importlib
from typing import Any

from distflow.base import flags, log
from distflow.cluster import EnvironmentClusterResolver, WorkerEnvironment
from distflow.comm import Communicator, InProcessHub, Transport
from distflow.comm.compression import Compressor
from distflow.distribute import fingerprint, overlap, uncaught
from distflow.distribute.introduce import introduce
from distflow.distribute.mirrored import check_replicas
from distflow.distribute.options import CommunicationOptions, checked
from distflow.distribute.strategy import Strategy
from distflow.telemetry import timeline

# Loaded when a job needs them: an MPI job needs no gRPC, and the other way round.
_BACKENDS = {
    "grpc": "distflow.distribute.over_grpc",
    "mpi": "distflow.distribute.over_mpi",
}

_transport: Transport | None = None


class MultiWorkerMirroredStrategy(Strategy):
    """Synchronous training on several processes, with the bits that one process would give.

    Blocks until all workers of the job are there, DISTFLOW_JOIN_TIMEOUT seconds at most.

    Args:
      cluster_resolver: where the cluster is described; default whatever the environment says.
      communication_options: an experimental.CommunicationOptions, or None.
      logical_replicas: V; else DISTFLOW_REPLICAS, else the number of workers.
      communicator: collectives that exist already, instead of a cluster (workers as threads).

    Raises:
      InvalidArgumentError: for an environment that does not describe a cluster.
      WorkerLateError, UnavailableError: if workers cannot be reached; names them.
      NumericMismatchError: if a worker computes other bits than the others, before any training.
    """

    def __new__(cls, *args: Any, communicator: Any = None, **kwargs: Any) -> Any:
        """Returns an elastic strategy in a job whose workers may come and go."""
        if flags.get("DISTFLOW_ELASTIC") and communicator is None and len(args) < 4:
            cls = importlib.import_module("distflow.distribute.elastic").ElasticStrategy
        return super().__new__(cls)

    def __init__(
        self,
        cluster_resolver: Any = None,
        communication_options: CommunicationOptions | None = None,
        logical_replicas: int | None = None,
        communicator: Communicator | None = None,
    ):
        self._resolver: Any = None
        joins = communicator is None and _transport is None
        options = checked("MultiWorkerMirroredStrategy", communication_options)
        if communicator is None:
            self._resolver = cluster_resolver or EnvironmentClusterResolver()
            environment = self._resolver.worker_environment()
            replicas = logical_replicas or flags.get("DISTFLOW_REPLICAS") or environment.world_size
            check_replicas("MultiWorkerMirroredStrategy", replicas)
            alone = environment.world_size == 1
            communicator = Communicator(
                InProcessHub(1).endpoint(0) if alone else _join(environment),
                replicas,
                algorithm=options.algorithm,
                timeout_seconds=options.timeout_seconds,
            )
            introduce(communicator)
            log.get_logger().info("%s", environment)
        super().__init__(communicator)
        if joins and self.num_workers > 1:
            fingerprint.compare(communicator, fingerprint.fingerprint())
        self.bucket_bytes = options.bytes_per_pack
        if options.compression is not None:
            self.compressor = Compressor(communicator, options.compression)
        self.overlaps = overlap.is_worth_it(communicator, options.overlap)

    @property
    def cluster_resolver(self) -> Any:
        """The resolver that was given, or one of what the environment says.

        None if the collectives were given.
        """
        return self._resolver


def _join(environment: WorkerEnvironment) -> Transport:
    """Returns this process's link to the others, made on the first call."""
    global _transport
    if _transport is None:
        uncaught.install(exits=environment.backend != "mpi")
        with timeline.span("rendezvous", "job", workers=environment.world_size):
            backend = importlib.import_module(_BACKENDS[environment.backend])
            _transport = backend.connect(environment)
        uncaught.tell(_transport)
    return _transport


MultiWorkerStrategy = MultiWorkerMirroredStrategy
