"""tf.distribute.experimental: TF's older home of the multi-worker strategy and its options."""

from distflow.distribute.input import ValueContext
from distflow.distribute.multi_worker import MultiWorkerMirroredStrategy
from distflow.distribute.options import CommunicationImplementation, CommunicationOptions

CollectiveCommunication = CommunicationImplementation

__all__ = [
    "CollectiveCommunication",
    "CommunicationImplementation",
    "CommunicationOptions",
    "MultiWorkerMirroredStrategy",
    "ValueContext",
]
