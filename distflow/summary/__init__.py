"""tf.summary: numbers, pictures, text, sound and graphs for TensorBoard."""

from distflow.summary import experimental
from distflow.summary.graphs import graph, trace_export, trace_off, trace_on
from distflow.summary.values import audio, histogram, image, scalar, text, write
from distflow.summary.writer import (
    SummaryWriter,
    create_file_writer,
    create_noop_writer,
    flush,
    record_if,
    should_record_summaries,
)

__all__ = [
    "SummaryWriter",
    "audio",
    "create_file_writer",
    "create_noop_writer",
    "experimental",
    "flush",
    "graph",
    "histogram",
    "image",
    "record_if",
    "scalar",
    "should_record_summaries",
    "text",
    "trace_export",
    "trace_off",
    "trace_on",
    "write",
]
