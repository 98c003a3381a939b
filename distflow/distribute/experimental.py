"""tf.distribute.experimental: TF's older home of the multi-worker strategy and its options."""

from __future__ import annotations

from typing import Any

from distflow.base import missing
from distflow.distribute import multi_worker
from distflow.distribute.input import ValueContext
from distflow.distribute.options import CommunicationImplementation, CommunicationOptions

CollectiveCommunication = CommunicationImplementation
CollectiveHints = CommunicationOptions


class MultiWorkerMirroredStrategy(multi_worker.MultiWorkerMirroredStrategy):
    """The strategy by its older name, whose arguments came in another order.

    Args:
      communication: a CollectiveCommunication.
      cluster_resolver: where the cluster is described; default whatever the environment says.
      **more: what `tf.distribute.MultiWorkerMirroredStrategy` takes besides.

    Returns:
      A `tf.distribute.MultiWorkerMirroredStrategy`.
    """

    def __new__(  # type: ignore[misc]
        cls,
        communication: CommunicationImplementation = CommunicationImplementation.AUTO,
        cluster_resolver: Any = None,
        **more: Any,
    ) -> Any:
        """Returns the strategy of today's name."""
        if "communication_options" not in more:
            more["communication_options"] = CommunicationOptions(implementation=communication)
        return multi_worker.MultiWorkerMirroredStrategy(cluster_resolver, **more)


__all__ = [
    "CollectiveCommunication",
    "CollectiveHints",
    "CommunicationImplementation",
    "CommunicationOptions",
    "MultiWorkerMirroredStrategy",
    "ValueContext",
]

__getattr__ = missing.lookup(
    "tf.distribute.experimental",
    __name__,
    """
    CentralStorageStrategy ParameterServerStrategy PreemptionCheckpointHandler PreemptionWatcher
    TPUStrategy TerminationConfig coordinator partitioners rpc
    """,
)
