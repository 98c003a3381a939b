"""What the current thread is doing: its interpreter, its tapes, its variable creators.

Rooms above register themselves here, so that nothing below has to import them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol


class Interpreter(Protocol):
    """Gives a primitive its effect: runs it (eager) or records it (tracing)."""

    is_eager: bool

    def run(self, primitive: Any, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
        """Returns the output tensor, or a tuple of them."""


class Observer(Protocol):
    """Sees every bound operation: a gradient tape."""

    def record(
        self,
        primitive: Any,
        inputs: tuple[Any, ...],
        outputs: tuple[Any, ...],
        attributes: dict[str, Any],
    ) -> None:
        """Called after the operation; `outputs` is always a tuple."""


class _State(threading.local):
    def __init__(self) -> None:
        self.interpreters: list[Interpreter] = []
        self.observers: list[Observer] = []
        self.creators: list[Callable[..., Any]] = []
        self.replica: Any = None
        self.device = ""


state = _State()
_base_interpreter: Interpreter | None = None


def set_base_interpreter(interpreter: Interpreter) -> None:
    """Sets the interpreter of threads that trace nothing (called once, by `core.bind`)."""
    global _base_interpreter
    _base_interpreter = interpreter


def interpreter() -> Interpreter:
    """Returns the interpreter in force in this thread."""
    if state.interpreters:
        return state.interpreters[-1]
    assert _base_interpreter is not None
    return _base_interpreter


@contextlib.contextmanager
def use_interpreter(new: Interpreter) -> Iterator[None]:
    """Puts an interpreter in force for the block."""
    state.interpreters.append(new)
    try:
        yield
    finally:
        state.interpreters.pop()


def executing_eagerly() -> bool:
    """Whether operations run at once in this thread (False while a function is traced)."""
    return interpreter().is_eager


@contextlib.contextmanager
def init_scope() -> Iterator[None]:
    """Leaves all traces and tapes for the block, as variable creation does (`tf.init_scope`)."""
    interpreters, observers = state.interpreters, state.observers
    state.interpreters, state.observers = [], []
    try:
        yield
    finally:
        state.interpreters, state.observers = interpreters, observers


@contextlib.contextmanager
def observing(observer: Observer) -> Iterator[None]:
    """Shows all operations of the block to an observer."""
    state.observers.append(observer)
    try:
        yield
    finally:
        state.observers.remove(observer)


@contextlib.contextmanager
def without_observers() -> Iterator[None]:
    """Hides the operations of the block from all tapes of this thread."""
    before, state.observers = state.observers, []
    try:
        yield
    finally:
        state.observers = before


@contextlib.contextmanager
def variable_creator_scope(creator: Callable[..., Any]) -> Iterator[None]:
    """Lets `creator(next_creator, **kwargs)` make the variables of the block (as in TF)."""
    state.creators.append(creator)
    try:
        yield
    finally:
        state.creators.remove(creator)


def outside_python() -> contextlib.AbstractContextManager[Any]:
    """Wraps the run of a compiled function: replicas of one process may then run side by side.

    The Python code of replicas runs one at a time, as their threads share layers and variables.
    """
    return contextlib.nullcontext() if state.replica is None else state.replica.outside_python()


@contextlib.contextmanager
def device(name: Any) -> Iterator[None]:
    """Names a device for the block. All computation runs on the host's CPU."""
    before, state.device = state.device, str(name or "")
    try:
        yield
    finally:
        state.device = before
