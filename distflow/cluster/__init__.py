"""Who is in the job: cluster descriptions, environments, and the meeting of workers at start.

The server and client of the meeting are in `distflow.cluster.rendezvous` and
`distflow.cluster.client`; they are not imported here, because a job over MPI needs no gRPC.
"""

import os

# gRPC's C core writes of its own accord to stderr; we report errors ourselves. It reads these
# when it is first imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from distflow.cluster.resolver import (
    ClusterResolver,
    EnvironmentClusterResolver,
    MPIClusterResolver,
    SimpleClusterResolver,
    TFConfigClusterResolver,
    resolve,
)
from distflow.cluster.spec import ClusterSpec
from distflow.cluster.worker import WorkerEnvironment

__all__ = [
    "ClusterResolver",
    "ClusterSpec",
    "EnvironmentClusterResolver",
    "MPIClusterResolver",
    "SimpleClusterResolver",
    "TFConfigClusterResolver",
    "WorkerEnvironment",
    "resolve",
]
