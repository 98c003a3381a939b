"""tf.distribute.cluster_resolver: how a program finds its cluster."""

from distflow.cluster import ClusterResolver, SimpleClusterResolver, TFConfigClusterResolver

__all__ = ["ClusterResolver", "SimpleClusterResolver", "TFConfigClusterResolver"]
