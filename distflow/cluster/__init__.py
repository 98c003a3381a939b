"""Who is in the job: cluster descriptions, environments, and the meeting of workers at start.

The server and client of the meeting are in `distflow.cluster.rendezvous` and
`distflow.cluster.client`; they are not imported here, because a job over MPI needs no gRPC.
"""

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
