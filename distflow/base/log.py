"""The distflow logger: one line a record, with the worker's rank and the seconds since start.

With DISTFLOW_LOG_FORMAT=json each record is a JSON object on a line of its own, for programs that
collect the logs of many workers: time, level, job, generation, rank, step, host, process, message.
"""

from __future__ import annotations

import json
import logging
import os
import time

from distflow.base import flags
from distflow.base.place import here

_START = time.monotonic()


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        rank = here.launched_rank()
        who = "" if rank is None else f" rank {rank}"
        elapsed = time.monotonic() - _START
        return f"[distflow{who} {elapsed:8.2f}s {record.levelname}] {super().format(record)}"


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        found = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "job": flags.get("DISTFLOW_JOB") or "",
            "generation": here.generation,
            "rank": here.known_rank(),
            "step": here.step,
            "host": here.host,
            "process": os.getpid(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            found["exception"] = self.formatException(record.exc_info)
        return json.dumps(found)


def get_logger() -> logging.Logger:
    """Returns the logger named "distflow" (also `tf.get_logger()`), set up on first use."""
    logger = logging.getLogger("distflow")
    if not logger.handlers:
        handler = logging.StreamHandler()
        is_json = flags.get("DISTFLOW_LOG_FORMAT") == "json"
        handler.setFormatter(_JsonFormatter() if is_json else _Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(flags.get("DISTFLOW_LOG_LEVEL").upper())
        logger.propagate = False
    return logger
