"""Says what a failed pod means for its Job: the rules of podFailurePolicy, in order."""

from __future__ import annotations

import enum
from typing import Any


class Counted(enum.Enum):
    """What becomes of a failure."""

    COUNTED = "Count"
    IGNORED = "Ignore"
    FAIL_JOB = "FailJob"
    FAIL_INDEX = "FailIndex"


def judge(spec: dict[str, Any], pod: dict[str, Any]) -> tuple[Counted, str]:
    """Returns the action of the first rule that a failed pod fulfils, and why; else COUNTED."""
    for number, rule in enumerate(spec.get("podFailurePolicy", {}).get("rules", [])):
        if "onExitCodes" in rule:
            message = _by_exit_code(rule["onExitCodes"], pod)
        else:
            message = _by_condition(rule.get("onPodConditions", []), pod)
        if message:
            return Counted(rule["action"]), f"{message} matching {rule['action']} rule {number}"
    return Counted.COUNTED, ""


def _by_exit_code(rule: dict[str, Any], pod: dict[str, Any]) -> str:
    for status in pod["status"].get("containerStatuses", []):
        code = status["state"].get("terminated", {}).get("exitCode", 0)
        if code == 0 or rule.get("containerName", status["name"]) != status["name"]:
            continue
        if (code in rule["values"]) is (rule["operator"] == "In"):
            metadata = pod["metadata"]
            return (
                f"Container {status['name']} for pod {metadata['namespace']}/{metadata['name']} "
                f"failed with exit code {code}"
            )
    return ""


def _by_condition(patterns: list[dict[str, str]], pod: dict[str, Any]) -> str:
    for condition in pod["status"].get("conditions", []):
        for pattern in patterns:
            if (condition["type"], condition["status"]) == (
                pattern["type"],
                pattern.get("status", "True"),
            ):
                metadata = pod["metadata"]
                return (
                    f"Pod {metadata['namespace']}/{metadata['name']} has condition "
                    f"{condition['type']}"
                )
    return ""
