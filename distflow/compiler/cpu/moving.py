"""Pointers that move from step to step of a loop inside a program, as LLVM IR.

Each thread has a block of its own, so that nobody waits for pointers. Of n words each:
    now: what the calls take, one after another;  next: what `now` will be in the next step;
    jump: from `now` to the step after the next;
    (address, offset) twice: `now` and `next` begin as what lies at the address, plus the offset.
A pointer that moves along rows jumps twice their distance; one that alternates between two
buffers, or stays, jumps by 0.
"""

from __future__ import annotations

import functools
from ctypes import c_int64, c_void_p
from typing import Any, NamedTuple

from distflow.compiler.cpu import jit

# Groups of n words in a block.
NOW, NEXT, JUMP, FIRST, FIRST_OFFSET, SECOND, SECOND_OFFSET = range(7)
GROUPS = 7

_WORD = """
  %{name}.step = mul i64 %n, {group}
  %{name}.at = add i64 %{name}.step, %i
  %{name} = getelementptr i64, ptr %block, i64 %{name}.at
"""


def _words(**groups: int) -> str:
    return "".join(_WORD.format(name=name, group=group) for name, group in groups.items())


_IR = f"""
define void @start(ptr %block, i64 %n, i64 %unused) {{
entry:
  br label %word
word:
  %i = phi i64 [0, %entry], [%i.next, %word]
{_words(now=NOW, next=NEXT, a=FIRST, plus_a=FIRST_OFFSET, b=SECOND, plus_b=SECOND_OFFSET)}
  %where.a = load ptr, ptr %a, align 8
  %base.a = load i64, ptr %where.a, align 8
  %offset.a = load i64, ptr %plus_a, align 8
  %first = add i64 %base.a, %offset.a
  store i64 %first, ptr %now, align 8
  %where.b = load ptr, ptr %b, align 8
  %base.b = load i64, ptr %where.b, align 8
  %offset.b = load i64, ptr %plus_b, align 8
  %second = add i64 %base.b, %offset.b
  store i64 %second, ptr %next, align 8
  %i.next = add i64 %i, 1
  %more = icmp ult i64 %i.next, %n
  br i1 %more, label %word, label %end
end:
  ret void
}}

define void @advance(ptr %block, i64 %n, i64 %unused) {{
entry:
  br label %word
word:
  %i = phi i64 [0, %entry], [%i.next, %word]
{_words(now=NOW, next=NEXT, jump=JUMP)}
  %old = load i64, ptr %now, align 8
  %new = load i64, ptr %next, align 8
  %distance = load i64, ptr %jump, align 8
  %later = add i64 %old, %distance
  store i64 %new, ptr %now, align 8
  store i64 %later, ptr %next, align 8
  %i.next = add i64 %i, 1
  %more = icmp ult i64 %i.next, %n
  br i1 %more, label %word, label %end
end:
  ret void
}}
"""


class Functions(NamedTuple):
    """Functions that records call.

    Attributes:
      start: (block, n, unused): sets a block's pointers for the first step.
      advance: (block, n, unused): moves them to the next step.
    """

    start: Any
    advance: Any


@functools.cache
def functions() -> Functions:
    """Returns the native functions, compiled (or loaded) at the first call."""
    module = jit.compile_module(_IR, "moving")
    return Functions(
        *(module.function(name, None, c_void_p, c_int64, c_int64)
          for name in ("start", "advance"))
    )  # fmt: skip
