"""The records of a loop inside a program: its steps repeat, pointers move in between.

Each thread has records and pointers of its own for all steps; threads meet at barriers as in any
other phase, and before the next step begins.
"""

from __future__ import annotations

import ctypes
from typing import Any

from distflow.compiler.cpu import moving, schedule, threads, worker
from distflow.compiler.cpu.operations import Native
from distflow.compiler.cpu.scan_plan import Loop, Moving
from distflow.compiler.cpu.streams import Streams
from distflow.compiler.cpu.task import Call


def add_loop(loop: Loop, arguments: int, streams: Streams) -> Any:
    """Adds a loop to the records of threads; returns what must be kept.

    Args:
      arguments: address of the pointers to the loop's operands and buffers.
    """
    made = _Pointers(loop, arguments)
    count = streams.count
    phases = loop.body.phases
    blocks = [made.block() for _ in range(count)]
    words = [ctypes.addressof(block) for block in blocks]
    native = moving.functions()
    start, advance = map(threads.function_address, (native.start, native.advance))

    def pointers(t: int, operation: Native, call: Call) -> int:
        return words[t] + 8 * made.position[operation, id(call)]

    for t in range(count):
        streams.add(t, (start, words[t], made.size, 0), loop)
    first: list[tuple[Native, Call]] = [(loop, call) for call in loop.initial]
    for phase in (first, *loop.body.before):
        streams.phase(phase, pointers)
    busy = {t for phase in phases for t, part in enumerate(schedule.deal(phase, count)) if part}
    if len(busy) > 1 or streams.dirty - busy:
        streams.meet()
    active = range(count) if len(busy) > 1 else busy
    begins = [len(records) for records in streams.records]
    for phase in phases:
        streams.phase(phase, pointers)
    for t in active:
        streams.add(t, (advance, words[t], made.size, 0), loop)
    if len(busy) > 1:
        streams.meet()
    for t in active:
        back = (len(streams.records[t]) - begins[t]) // worker.RECORD_WORDS
        streams.add(t, (worker.REPEAT, words[t] + 8 * made.counter, loop.times, back))
    return blocks


class _Pointers:
    """The pointers of a loop's calls, one after another."""

    def __init__(self, loop: Loop, arguments: int):
        self._loop = loop
        self._arguments = arguments
        self.position: dict[Any, int] = {}
        # (moving place, address in itself) of each word.
        self._words: list[Moving | int] = []
        for call in loop.initial:
            self.position[loop, id(call)] = len(self._words)
            self._words += [Moving(place, place) for place in call.arguments]
        for phase in (*loop.body.before, *loop.body.phases):
            for operation, call in phase:
                self.position[operation, id(call)] = len(self._words)
                self._words += [self._place(operation, *place) for place in call.arguments]
        # Blocks of threads share no cache line.
        self.size = -(-len(self._words) // 8) * 8
        self.counter = moving.GROUPS * self.size + 1

    def _place(self, operation: Native, number: int, offset: int) -> Moving | int:
        body, arena = self._loop.body, self._loop.arena
        extra = number - len(operation.operands)
        if extra >= 0:
            at = arena, body.offsets[operation, extra] + offset
            return Moving(at, at)
        place = operation.operands[number]
        root, offset = place.root, place.offset + offset
        if root in self._loop.places:
            found = self._loop.places[root]
            first, second = ((n, at + offset) for n, at in (found.first, found.second))
            return Moving(first, second, found.jump)
        if root in body.offsets:
            at = arena, body.offsets[root] + offset
            return Moving(at, at)
        return int(body.constants[root].ctypes.data) + offset

    def block(self) -> Any:
        """Returns a thread's block, as `moving` describes it; a word 0 and the counter follow."""
        n = self.size
        block = (ctypes.c_int64 * (moving.GROUPS * n + 16))()
        zero = ctypes.addressof(block) + 8 * moving.GROUPS * n
        groups = moving.JUMP, moving.FIRST, moving.FIRST_OFFSET, moving.SECOND, moving.SECOND_OFFSET
        for i in range(n):
            word = self._words[i] if i < len(self._words) else 0
            if isinstance(word, int):
                values = 0, zero, word, zero, word
            else:
                (a, at), (b, then) = word.first, word.second
                values = (
                    word.jump, self._arguments + 8 * a, at, self._arguments + 8 * b, then,
                )  # fmt: skip
            for group, value in zip(groups, values):
                block[group * n + i] = value
        return block
