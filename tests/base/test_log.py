"""Structured logs: a JSON object a line, with the worker's place in its job."""

import io
import json
import logging
import re
import sys

import pytest

from distflow.base import errors, flags, log
from distflow.base.place import here


def record(text="slow %s", *args, exc_info=None):
    return logging.LogRecord("distflow", logging.WARNING, "", 0, text, args, exc_info)


def test_a_record_has_the_place_of_the_worker(monkeypatch):
    monkeypatch.setattr(here, "step", 41)
    monkeypatch.setattr(here, "generation", 3)
    monkeypatch.setattr(here, "rank", 2)
    with flags.override(DISTFLOW_JOB="abc"):
        line = log._JsonFormatter().format(record("slow %s", "peer\nof two lines"))
    assert "\n" not in line
    found = json.loads(line)
    assert {k: found[k] for k in ("job", "generation", "rank", "step", "level", "message")} == {
        "job": "abc", "generation": 3, "rank": 2, "step": 41, "level": "WARNING",
        "message": "slow peer\nof two lines",
    }  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found["time"])


def test_lines_for_people_have_the_rank_that_the_launcher_gave(monkeypatch):
    monkeypatch.setattr(here, "rank", 2)
    formatter = log._Formatter("%(message)s")
    with flags.override(DISTFLOW_RANK=3):
        assert "[distflow rank 3 " in formatter.format(record("hello"))
    monkeypatch.delenv("DISTFLOW_RANK", raising=False)
    assert "[distflow rank 2 " in formatter.format(record("hello"))


def test_an_exception_is_a_field():
    try:
        raise ValueError("boom")
    except ValueError:
        line = log._JsonFormatter().format(record("failed", exc_info=sys.exc_info()))
    assert "ValueError: boom" in json.loads(line)["exception"]


def test_the_setting_chooses_the_form(monkeypatch):
    logger = logging.getLogger("distflow")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with flags.override(DISTFLOW_LOG_FORMAT="json"):
        log.get_logger().error("one")
    assert json.loads(sys.stderr.getvalue())["message"] == "one"


def test_another_form_is_an_error_that_names_both(monkeypatch):
    monkeypatch.setenv("DISTFLOW_LOG_FORMAT", "xml")
    with pytest.raises(errors.InvalidArgumentError, match="must be text or json"):
        flags.get("DISTFLOW_LOG_FORMAT")
