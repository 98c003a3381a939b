"""The rules of the linter: one row per fact, checked by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from . import jobs, mpi, network, operators, pod
from .bundle import Bundle

Check = Callable[[Bundle], Iterator[str]]

# What is not of the form that the rules read: the schema's business, but it must not go unsaid.
SHAPE = "shape"


@dataclass(frozen=True)
class Rule:
    """A named fact that every rendered bundle must have; each check yields a message per fault."""

    name: str
    why: str
    check: Check


RULES: list[Rule] = [
    Rule(*row)
    for room in (jobs, network, pod, mpi, operators)
    for row in room.ROWS
]  # fmt: skip


def broken(bundle: Bundle, skip: frozenset[str] = frozenset()) -> dict[str, list[str]]:
    """Returns rule name → messages, for the rules that the bundle breaks.

    A manifest without the fields that Kubernetes asks for breaks the rule `shape`.
    """
    found: dict[str, list[str]] = {}
    shapeless = [message for m in bundle.manifests for message in _shape(m)]
    if shapeless:
        return {SHAPE: shapeless}
    for rule in RULES:
        if rule.name in skip:
            continue
        try:
            messages = list(rule.check(bundle))
        except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
            text = f"rule {rule.name} cannot be looked at: {type(error).__name__} {error}"
            found.setdefault(SHAPE, []).append(f"{text}; is a field missing, or of another type?")
            continue
        if messages:
            found[rule.name] = messages
    return found


def _shape(manifest: object) -> Iterator[str]:
    if not isinstance(manifest, dict):
        yield f"expected an object with apiVersion, kind and metadata; received {manifest!r}"
        return
    where = str(manifest.get("kind"))
    for name in ("apiVersion", "kind"):
        if not isinstance(manifest.get(name), str):
            yield f"{where}: {name} must be a text"
    metadata = manifest.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        yield f"{where}: metadata.name must be a text"
    elif any(not isinstance(metadata.get(name, {}), dict) for name in ("labels", "annotations")):
        yield f"{where}/{metadata['name']}: labels and annotations must be tables"
