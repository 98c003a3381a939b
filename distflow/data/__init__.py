"""data: pipelines of tensors; a Dataset is a lazy description, each iteration runs it anew."""

from distflow.base import missing
from distflow.data import experimental
from distflow.data.dataset import Dataset
from distflow.data.iterator import Iterator, NumpyIterator
from distflow.data.node import INFINITE as INFINITE_CARDINALITY
from distflow.data.node import UNKNOWN as UNKNOWN_CARDINALITY
from distflow.data.options import AUTOTUNE, Options, ThreadingOptions
from distflow.data.structure import DatasetSpec

__all__ = [
    "AUTOTUNE",
    "INFINITE_CARDINALITY",
    "UNKNOWN_CARDINALITY",
    "Dataset",
    "DatasetSpec",
    "Iterator",
    "NumpyIterator",
    "Options",
    "ThreadingOptions",
    "experimental",
]

__getattr__ = missing.lookup(
    "tf.data",
    __name__,
    """
    FixedLengthRecordDataset IteratorSpec TFRecordDataset TextLineDataset
    """,
)
