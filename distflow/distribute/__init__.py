"""Strategies: one program on many logical replicas, with the same bits on any number of workers."""

from distflow.cluster import (
    ClusterResolver,
    SimpleClusterResolver,
    TFConfigClusterResolver,
)
from distflow.core.variable import VariableAggregation, VariableSynchronization
from distflow.distribute.context import (
    get_replica_context,
    get_strategy,
    has_strategy,
    in_cross_replica_context,
)
from distflow.distribute.input import InputContext
from distflow.distribute.mirrored import MirroredStrategy
from distflow.distribute.multi_worker import MultiWorkerMirroredStrategy, MultiWorkerStrategy
from distflow.distribute.one_device import OneDeviceStrategy
from distflow.distribute.reduce import ReduceOp
from distflow.distribute.replica import ReplicaContext
from distflow.distribute.strategy import Strategy
from distflow.distribute.values import DistributedValues, PerReplica

__all__ = [
    "ClusterResolver",
    "DistributedValues",
    "InputContext",
    "MirroredStrategy",
    "MultiWorkerMirroredStrategy",
    "MultiWorkerStrategy",
    "OneDeviceStrategy",
    "PerReplica",
    "ReduceOp",
    "ReplicaContext",
    "SimpleClusterResolver",
    "Strategy",
    "TFConfigClusterResolver",
    "VariableAggregation",
    "VariableSynchronization",
    "get_replica_context",
    "get_strategy",
    "has_strategy",
    "in_cross_replica_context",
]
