"""Restoring: values find their variables by walking the saved and the living graph together.

What the living graph has not got yet waits until an attribute is set (`core.late`), a status is
asked, or the objects are saved again. Nothing is put before everything fits and was read.
"""

from __future__ import annotations

import sys
import weakref
from typing import Any

from distflow.base import errors, log
from distflow.checkpoint import storages, trackable
from distflow.checkpoint.layout import Reader, Received
from distflow.core.late import BUILDING, WAITING, LateRestored
from distflow.core.variable import Variable

_SHOWN = 10


class Restoration:
    """One restore: which saved object belongs to which living one, and what still waits."""

    def __init__(self, reader: Reader | Received, root: Any):
        self._reader = reader
        self._saved = reader.manifest.objects
        self._live: dict[int, Any] = {}  # by place in the saved graph
        self._places: dict[int, int] = {}  # of living objects by id, which `_live` keeps alive
        # Living objects whose attributes may still bring something, by id: with their place.
        self._holders: dict[int, tuple[Any, Any, int]] = {}
        self._busy = False
        self.restored: set[str] = set()
        self._match([(root, 0)])
        self._warning = _Warning(reader.manifest.prefix)
        weakref.finalize(self, self._warning)
        self._settle()

    def __deepcopy__(self, memo: Any) -> Restoration:
        return self

    @property
    def prefix(self) -> str:
        """The checkpoint's path."""
        return self._reader.manifest.prefix

    def expect_partial(self) -> None:
        """Says nothing at the end about values that nobody asked for."""
        self._warning.is_silent = True

    def attribute_was_set(self, holder: Any) -> None:
        """Looks for what waits below an object; it calls this when it changes."""
        if not self._busy and id(holder) in self._holders:
            _, item, place = self._holders[id(holder)]
            self._match([(item, place)])
            self._settle()

    def retry(self) -> None:
        """Walks both graphs again."""
        self._match([(self._live[0], 0)])
        self._settle()

    def unused(self) -> list[str]:
        """Returns the keys of saved values that belong to no living object so far."""
        return sorted(set(self._reader.manifest.entries) - self.restored)

    def is_restored(self, variable: Any) -> bool:
        """Whether a variable has got a value."""
        place = self._places.get(id(variable))
        return place is not None and self._saved[place].get("value") in self.restored

    def _match(self, pairs: list[tuple[Any, int]]) -> None:
        self._busy = True
        try:
            walk = _Walk()
            for item, place in pairs:
                self._go(walk, item, place, None)
            try:
                values = self._read(walk.variables)
            except BaseException:
                for item, place in walk.added:
                    del self._live[place], self._places[id(item)]
                raise
            for (variable, key), value in zip(walk.variables, values):
                storages.put(variable, value)
                self.restored.add(key)
            for item, state in walk.states:
                item._restore_checkpoint_state(state)
            self._wait_for(walk)
        finally:
            self._busy = False

    def _go(self, walk: _Walk, item: Any, place: int, above: Any) -> None:
        """Pairs a living object with a saved one, and what is below them."""
        pending = [(item, place, above)]
        for item, place, above in pending:  # grows meanwhile
            if place in walk.seen or not self._pair(walk, item, place):
                continue
            walk.seen.add(place)
            holder = getattr(item, "_checkpoint_holder", item)
            if isinstance(holder, LateRestored):
                above = (holder, item, place)
                walk.holders[id(holder)] = above
            if BUILDING in getattr(holder, "__dict__", ()):
                walk.lacking.add(id(holder))
                continue
            living = trackable.children(item)
            for name, below in self._saved[place].get("children", {}).items():
                if name in living:
                    pending.append((living[name], below, above))
                elif above is not None:
                    walk.lacking.add(id(above[0]))

    def _pair(self, walk: _Walk, item: Any, place: int) -> bool:
        """Whether the two belong together; new pairs are noted."""
        if place in self._live:
            return self._live[place] is item
        if id(item) in self._places:
            log.get_logger().warning(
                "restore: %s: an object stands for two that were apart when they were saved; only "
                "the first is restored.", self.prefix,
            )  # fmt: skip
            return False
        self._live[place], self._places[id(item)] = item, place
        walk.added.append((item, place))
        row = self._saved[place]
        if isinstance(item, Variable) and "value" in row:
            walk.variables.append((item, row["value"]))
        elif "state" in row and hasattr(item, "_restore_checkpoint_state"):
            walk.states.append((item, row["state"]))
        return True

    def _wait_for(self, walk: _Walk) -> None:
        """Is told of attributes where something lacks, and no more where nothing does."""
        for key, (holder, item, place) in walk.holders.items():
            waiting = holder.__dict__.get(WAITING, ())
            if key in walk.lacking and self not in waiting:
                self._holders[key] = (holder, item, place)
                holder.__dict__[WAITING] = (*waiting, self)
            elif key not in walk.lacking and self in waiting:
                self._leave(holder)

    def _leave(self, holder: Any) -> None:
        self._holders.pop(id(holder), None)
        left = tuple(r for r in holder.__dict__.get(WAITING, ()) if r is not self)
        if left:
            holder.__dict__[WAITING] = left
        else:
            holder.__dict__.pop(WAITING, None)

    def _read(self, found: list[tuple[Any, str]]) -> list[Any]:
        for variable, key in found:
            entry = self._reader.manifest.entries[key]
            what = storages.mismatch(variable, entry.dtype, entry.shape)
            if what is not None:
                raise errors.InvalidArgumentError(
                    f"restore: {self.prefix}: variable {variable.name!r} at {key!r} must have "
                    f"{what}. No variable was changed."
                )
        return [self._reader.read(key) for _, key in found]

    def _settle(self) -> None:
        """Closes the file, and is told no more, when all is restored."""
        self._warning.unused = unused = self.unused()
        if not unused:
            for holder, _, _ in list(self._holders.values()):
                self._leave(holder)
            self._reader.close()


class _Walk:
    """What one walk over both graphs has found."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.variables: list[tuple[Any, str]] = []
        self.states: list[tuple[Any, Any]] = []
        self.added: list[tuple[Any, int]] = []
        self.holders: dict[int, tuple[Any, Any, int]] = {}
        self.lacking: set[int] = set()


class _Warning:
    """What is said of a restoration that ends with values left over."""

    def __init__(self, prefix: str):
        self._prefix = prefix
        self.is_silent = False
        self.unused: list[str] = []

    def __call__(self) -> None:
        unused = [key for key in self.unused if not key.startswith("save_counter/")]
        if unused and not self.is_silent and not sys.is_finalizing():
            log.get_logger().warning(
                "restore: %s: %d values of the checkpoint were not used: %s. Call "
                "expect_partial() on what restore returned if that is meant.",
                self._prefix, len(unused), _some(unused),
            )  # fmt: skip


class LoadStatus:
    """What `restore` returns: says whether everything found its place."""

    def __init__(self, restoration: Restoration, root: Any):
        self._restoration, self._root = restoration, root

    def assert_consumed(self) -> LoadStatus:
        """Raises AssertionError unless all saved values, and all variables, found each other."""
        self.assert_existing_objects_matched()
        unused = self._restoration.unused()
        if unused:
            raise AssertionError(
                f"restore: {self._restoration.prefix}: {len(unused)} values of the checkpoint "
                f"belong to no object of the program: {_some(unused)}."
            )
        return self

    def assert_existing_objects_matched(self) -> LoadStatus:
        """Raises AssertionError if a variable of the program got no value."""
        self._restoration.retry()
        without = [
            node.path
            for node in trackable.walk(self._root)
            if node.key is not None
            and node.path != "save_counter"
            and not self._restoration.is_restored(node.item)
        ]
        if without:
            raise AssertionError(
                f"restore: {self._restoration.prefix}: {len(without)} variables of the program "
                f"got no value from the checkpoint: {_some(without)}."
            )
        return self

    def assert_nontrivial_match(self) -> LoadStatus:
        """Raises AssertionError if nothing but the root found its place."""
        self._restoration.retry()
        if not [key for key in self._restoration.restored if not key.startswith("save_counter/")]:
            raise AssertionError(
                f"restore: {self._restoration.prefix}: nothing in the checkpoint belongs to an "
                "object of the program; were the same names given to Checkpoint(...)?"
            )
        return self

    def expect_partial(self) -> LoadStatus:
        """Says that values may be left over: no warning about them."""
        self._restoration.expect_partial()
        return self

    def initialize_or_restore(self, session: Any = None) -> None:
        """Does nothing: variables have had values since they were made."""


class NothingRestored(LoadStatus):
    """What `restore(None)` returns: variables keep their initial values."""

    def __init__(self) -> None:
        pass

    def assert_consumed(self) -> LoadStatus:
        """Raises AssertionError: there was no checkpoint."""
        raise AssertionError("No checkpoint specified (save_path=None); nothing is being restored.")

    assert_existing_objects_matched = assert_consumed
    assert_nontrivial_match = assert_consumed

    def expect_partial(self) -> LoadStatus:
        """Changes nothing."""
        return self


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown}, ..."
