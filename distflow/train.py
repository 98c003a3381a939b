"""tf.train: descriptions of clusters."""

from distflow._missing import lookup
from distflow.cluster import ClusterSpec

__all__ = ["ClusterSpec"]

__getattr__ = lookup("train")
