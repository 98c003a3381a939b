"""Says whether an object's labels or fields match a selector as kubectl writes it."""

from __future__ import annotations

import re
from typing import Any

# One requirement: `a`, `!a`, `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`.
_REQUIREMENT = re.compile(
    r"\s*(?:(?P<absent>!)\s*)?(?P<name>[\w./-]+)\s*"
    r"(?:(?P<sign>==|!=|=)\s*(?P<value>[\w.-]*)|(?P<word>in|notin)\s*\((?P<values>[^)]*)\))?\s*"
    r"(?:,|$)"
)


class SelectorError(ValueError):
    """A selector that cannot be read."""


def matches_labels(obj: dict[str, Any], selector: str | dict[str, str]) -> bool:
    """Whether the labels of `obj` fulfil every requirement of `selector`; "" is fulfilled."""
    labels = (obj.get("metadata") or {}).get("labels") or {}
    if isinstance(selector, dict):
        return all(labels.get(name) == value for name, value in selector.items())
    position = 0
    while position < len(selector):
        found = _REQUIREMENT.match(selector, position)
        if found is None:
            raise SelectorError(f"unable to parse requirement: {selector[position:]!r}")
        if not _fulfilled(labels, found):
            return False
        position = found.end()
    return True


def _fulfilled(labels: dict[str, str], requirement: re.Match[str]) -> bool:
    value = labels.get(requirement["name"])
    if requirement["absent"]:
        return value is None
    if requirement["word"]:
        named = value in [v.strip() for v in requirement["values"].split(",")]
        return named is (requirement["word"] == "in")
    if requirement["sign"] == "!=":
        return value != requirement["value"]
    return value == requirement["value"] if requirement["sign"] else value is not None


def matches_fields(obj: dict[str, Any], selector: str) -> bool:
    """Whether `obj` has the fields of `a.b=x,c!=y`; a missing field is the empty string."""
    for requirement in filter(None, (part.strip() for part in selector.split(","))):
        path, sign, wanted = re.split(r"(!=|==|=)", requirement, maxsplit=1)
        value: Any = obj
        for step in path.split("."):
            value = value.get(step) if isinstance(value, dict) else None
        if (str(value or "") == wanted) is (sign == "!="):
            return False
    return True
