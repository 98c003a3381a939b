"""Moving arrays between ranks: collectives with the same bytes on any number of workers.

Knows NumPy arrays and bytes, never tensors. `Communicator` is what callers use; transports are
`transport.inprocess`, `transport.grpc` and `transport.mpi`, imported by those who need them.
"""

from distflow.comm.communicator import Communicator, Reduced
from distflow.comm.group import Placement
from distflow.comm.transport.base import Transport
from distflow.comm.transport.inprocess import InProcessHub
from distflow.comm.tree import Accumulator, Tree

__all__ = [
    "Accumulator",
    "Communicator",
    "InProcessHub",
    "Placement",
    "Reduced",
    "Transport",
    "Tree",
]
