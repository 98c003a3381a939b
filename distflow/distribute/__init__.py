"""Strategies: one program on many logical replicas, with the same bits on any number of workers."""

from distflow.base import missing

# Says to checkpoints how the variables of strategies are saved.
from distflow.distribute import checkpointing as _checkpointing  # noqa: F401
from distflow.distribute import cluster_resolver, experimental
from distflow.distribute.context import (
    experimental_set_strategy,
    get_replica_context,
    get_strategy,
    has_strategy,
    in_cross_replica_context,
)
from distflow.distribute.cross_device_ops import (
    CrossDeviceOps,
    HierarchicalCopyAllReduce,
    NcclAllReduce,
    ReductionToOneDevice,
)
from distflow.distribute.extended import StrategyExtended
from distflow.distribute.input import DistributedDataset, DistributedIterator, InputContext
from distflow.distribute.input_options import InputOptions, InputReplicationMode, RunOptions
from distflow.distribute.mirrored import MirroredStrategy
from distflow.distribute.multi_worker import MultiWorkerMirroredStrategy, MultiWorkerStrategy
from distflow.distribute.one_device import OneDeviceStrategy
from distflow.distribute.reduce import ReduceOp
from distflow.distribute.replica import ReplicaContext
from distflow.distribute.strategy import Strategy
from distflow.distribute.values import DistributedValues

__all__ = [
    "CrossDeviceOps",
    "DistributedDataset",
    "DistributedIterator",
    "DistributedValues",
    "HierarchicalCopyAllReduce",
    "InputContext",
    "InputOptions",
    "InputReplicationMode",
    "MirroredStrategy",
    "MultiWorkerMirroredStrategy",
    "MultiWorkerStrategy",
    "NcclAllReduce",
    "OneDeviceStrategy",
    "ReduceOp",
    "ReductionToOneDevice",
    "ReplicaContext",
    "RunOptions",
    "Strategy",
    "StrategyExtended",
    "cluster_resolver",
    "experimental",
    "experimental_set_strategy",
    "get_replica_context",
    "get_strategy",
    "has_strategy",
    "in_cross_replica_context",
]

__getattr__ = missing.lookup(
    "tf.distribute",
    __name__,
    """
    ParameterServerStrategy Server TPUStrategy coordinator
    """,
)
