"""The distflow logger: one line a record, with the worker's rank and the seconds since start."""

from __future__ import annotations

import logging
import time

from distflow.base import flags

_START = time.monotonic()


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        rank = flags.get("DISTFLOW_RANK")
        who = "" if rank is None else f" rank {rank}"
        elapsed = time.monotonic() - _START
        return f"[distflow{who} {elapsed:8.2f}s {record.levelname}] {super().format(record)}"


def get_logger() -> logging.Logger:
    """Returns the logger named "distflow" (also `tf.get_logger()`), set up on first use."""
    logger = logging.getLogger("distflow")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(_Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(flags.get("DISTFLOW_LOG_LEVEL").upper())
        logger.propagate = False
    return logger
