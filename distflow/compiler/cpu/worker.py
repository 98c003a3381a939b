"""The native side of the pool, as LLVM IR: programs of records, a barrier, and waiting threads.

A program is a list of records of four words for one thread:
    (function, pointers, begin, end)   calls function(pointers, begin, end)
    (BARRIER, 0, 0, 0)                 waits until all threads of the job are here
    (REPEAT, counter, times, back)     goes `back` records back until it was here `times` times
    (END, 0, 0, 0)
A call may be shared: `own` and `steal` are functions of records whose pointers are a descriptor
    (function, pointers, grain, address of a word for each thread: its units, begin << 32 | end)
and whose range is (thread, threads). `own` runs the units of its thread from the front, half of
what is left at a time; `steal` then takes `grain` at a time from the back of what other threads
have not begun. `publish` gives the words their first values.

Threads spin for a while between jobs and at barriers, then leave the core to others: a thread
without a job returns to its caller, which sleeps; at a barrier it yields.

All shared words are read and written atomically, in sequential order.
"""

from __future__ import annotations

import functools
import platform
from ctypes import c_int64, c_void_p
from typing import Any, NamedTuple

from distflow.compiler.cpu import isa, jit

END, BARRIER, REPEAT = 0, 1, 2
RECORD_WORDS = 4

# The shared state, in words; each group has cache lines of its own.
LINE_WORDS = 16
MOST_THREADS = 64
# Word 0 counts the arrivals at barriers; then for each thread: its program (0: none), whether it
# sleeps, and the threads of its job.
_JOBS = LINE_WORDS
STATE_WORDS = _JOBS + MOST_THREADS * LINE_WORDS

# Pauses of about 40 ns between looks; beyond these a waiting thread yields, or goes to sleep. A
# thread stays awake over what Python does between two steps: waking it needs the GIL.
_SPINS_AT_BARRIER = 2000
_SPINS_WITHOUT_JOB = 25_000

_PAUSE = {
    "x86_64": ("call void @llvm.x86.sse2.pause()", "declare void @llvm.x86.sse2.pause()"),
    "aarch64": ("call void @llvm.aarch64.hint(i32 1)", "declare void @llvm.aarch64.hint(i32)"),
}
_YIELD = {"Windows": "SwitchToThread"}

_IR = """
{declare_pause}
declare i32 @{yield}()

define internal void @barrier(ptr %state, i64 %goal) {{
entry:
  %before = atomicrmw add ptr %state, i64 1 seq_cst
  br label %look
look:
  %n = phi i64 [0, %entry], [%next, %again]
  %there = load atomic i64, ptr %state seq_cst, align 8
  %done = icmp uge i64 %there, %goal
  br i1 %done, label %end, label %wait
wait:
  {pause}
  %next = add i64 %n, 1
  %long = icmp ugt i64 %next, {barrier_spins}
  br i1 %long, label %give, label %again
give:
  %ignored = call i32 @{yield}()
  br label %again
again:
  br label %look
end:
  ret void
}}

define void @run(ptr %state, ptr %program, i64 %threads, ptr %times) {{
entry:
  %timed = icmp ne ptr %times, null
  br label %fetch
fetch:
  %pc = phi ptr [%program, %entry], [%pc.next, %step], [%pc.back, %back]
  %goal = phi i64 [0, %entry], [%goal.next, %step], [%goal, %back]
  %op = load i64, ptr %pc, align 8
  %p1 = getelementptr i64, ptr %pc, i64 1
  %p2 = getelementptr i64, ptr %pc, i64 2
  %p3 = getelementptr i64, ptr %pc, i64 3
  %a = load i64, ptr %p1, align 8
  %b = load i64, ptr %p2, align 8
  %c = load i64, ptr %p3, align 8
  switch i64 %op, label %call [i64 0, label %end i64 1, label %meet i64 2, label %repeat]
meet:
  %reached = add i64 %goal, %threads
  %alone = icmp eq i64 %threads, 1
  br i1 %alone, label %met, label %others
others:
  call void @barrier(ptr %state, i64 %reached)
  br label %met
met:
  br label %step
repeat:
  %counter = inttoptr i64 %a to ptr
  %old = load i64, ptr %counter, align 8
  %count = add i64 %old, 1
  %more = icmp ult i64 %count, %b
  %kept = select i1 %more, i64 %count, i64 0
  store i64 %kept, ptr %counter, align 8
  br i1 %more, label %back, label %step
back:
  %words = mul i64 %c, {minus_record}
  %pc.back = getelementptr i64, ptr %pc, i64 %words
  br label %fetch
call:
  %f = inttoptr i64 %op to ptr
  %args = inttoptr i64 %a to ptr
  br i1 %timed, label %clocked, label %plain
plain:
  call void %f(ptr %args, i64 %b, i64 %c)
  br label %step
clocked:
  %start = call i64 @llvm.readcyclecounter()
  call void %f(ptr %args, i64 %b, i64 %c)
  %stop = call i64 @llvm.readcyclecounter()
  %spent = sub i64 %stop, %start
  %from = ptrtoint ptr %program to i64
  %here = ptrtoint ptr %pc to i64
  %distance = sub i64 %here, %from
  %index = udiv i64 %distance, {record_bytes}
  %slot = getelementptr i64, ptr %times, i64 %index
  %sum = load i64, ptr %slot, align 8
  %total = add i64 %sum, %spent
  store i64 %total, ptr %slot, align 8
  br label %step
step:
  %goal.next = phi i64 [%reached, %met], [%goal, %repeat], [%goal, %plain], [%goal, %clocked]
  %pc.next = getelementptr i64, ptr %pc, i64 {record}
  br label %fetch
end:
  ret void
}}

declare i64 @llvm.readcyclecounter()

define void @own(ptr %call, i64 %t, i64 %threads) {{
entry:
  %f = load ptr, ptr %call, align 8
  %p1 = getelementptr i64, ptr %call, i64 1
  %p2 = getelementptr i64, ptr %call, i64 2
  %p3 = getelementptr i64, ptr %call, i64 3
  %args = load ptr, ptr %p1, align 8
  %grain = load i64, ptr %p2, align 8
  %words = load ptr, ptr %p3, align 8
  %word = getelementptr i64, ptr %words, i64 %t
  br label %look
look:
  %old = load atomic i64, ptr %word seq_cst, align 8
  %begin = lshr i64 %old, 32
  %end = and i64 %old, 4294967295
  %some = icmp ult i64 %begin, %end
  br i1 %some, label %try, label %done
try:
  %count = sub i64 %end, %begin
  %half = lshr i64 %count, 1
  %small = icmp ult i64 %half, %grain
  %least = select i1 %small, i64 %grain, i64 %half
  %few = icmp ult i64 %count, %least
  %taken = select i1 %few, i64 %count, i64 %least
  %step = shl i64 %taken, 32
  %new = add i64 %old, %step
  %pair = cmpxchg ptr %word, i64 %old, i64 %new seq_cst seq_cst
  %ours = extractvalue {{i64, i1}} %pair, 1
  br i1 %ours, label %work, label %look
work:
  %until = add i64 %begin, %taken
  call void %f(ptr %args, i64 %begin, i64 %until)
  br label %look
done:
  ret void
}}

define void @steal(ptr %call, i64 %t, i64 %threads) {{
entry:
  %f = load ptr, ptr %call, align 8
  %p1 = getelementptr i64, ptr %call, i64 1
  %p2 = getelementptr i64, ptr %call, i64 2
  %p3 = getelementptr i64, ptr %call, i64 3
  %args = load ptr, ptr %p1, align 8
  %grain = load i64, ptr %p2, align 8
  %words = load ptr, ptr %p3, align 8
  br label %next
next:
  %n = phi i64 [1, %entry], [%n.next, %empty]
  %left = icmp ult i64 %n, %threads
  br i1 %left, label %other, label %done
other:
  %sum = add i64 %t, %n
  %v = urem i64 %sum, %threads
  %word = getelementptr i64, ptr %words, i64 %v
  br label %look
look:
  %old = load atomic i64, ptr %word seq_cst, align 8
  %begin = lshr i64 %old, 32
  %end = and i64 %old, 4294967295
  %some = icmp ult i64 %begin, %end
  br i1 %some, label %try, label %empty
try:
  %count = sub i64 %end, %begin
  %few = icmp ult i64 %count, %grain
  %taken = select i1 %few, i64 %count, i64 %grain
  %new = sub i64 %old, %taken
  %pair = cmpxchg ptr %word, i64 %old, i64 %new seq_cst seq_cst
  %ours = extractvalue {{i64, i1}} %pair, 1
  br i1 %ours, label %work, label %look
work:
  %from = sub i64 %end, %taken
  call void %f(ptr %args, i64 %from, i64 %end)
  br label %look
empty:
  %n.next = add i64 %n, 1
  br label %next
done:
  ret void
}}

declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)

define i64 @publish(ptr %state, ptr %programs, i64 %threads, ptr %shares) {{
entry:
  %shared = icmp ne ptr %shares, null
  br i1 %shared, label %reset, label %start
reset:
  %bytes = load i64, ptr %shares, align 8
  %first = getelementptr i64, ptr %shares, i64 1
  %live = getelementptr i8, ptr %first, i64 %bytes
  call void @llvm.memcpy.p0.p0.i64(ptr %live, ptr %first, i64 %bytes, i1 false)
  br label %start
start:
  store atomic i64 0, ptr %state seq_cst, align 8
  br label %next
next:
  %t = phi i64 [1, %start], [%t.next, %give]
  %mask = phi i64 [0, %start], [%mask.next, %give]
  %more = icmp ult i64 %t, %threads
  br i1 %more, label %give, label %end
give:
  %words = mul i64 %t, {line}
  %at = add i64 %words, {jobs}
  %job = getelementptr i64, ptr %state, i64 %at
  %sleeping = getelementptr i64, ptr %job, i64 1
  %count = getelementptr i64, ptr %job, i64 2
  %from = getelementptr i64, ptr %programs, i64 %t
  %program = load i64, ptr %from, align 8
  store i64 %threads, ptr %count, align 8
  store atomic i64 %program, ptr %job seq_cst, align 8
  %slept = atomicrmw xchg ptr %sleeping, i64 0 seq_cst
  %bit = shl i64 %slept, %t
  %mask.next = or i64 %mask, %bit
  %t.next = add i64 %t, 1
  br label %next
end:
  ret i64 %mask
}}

define i64 @wake(ptr %state, i64 %threads) {{
entry:
  br label %next
next:
  %t = phi i64 [1, %entry], [%t.next, %give]
  %mask = phi i64 [0, %entry], [%mask.next, %give]
  %more = icmp ult i64 %t, %threads
  br i1 %more, label %give, label %end
give:
  %words = mul i64 %t, {line}
  %at = add i64 %words, {jobs_sleeping}
  %sleeping = getelementptr i64, ptr %state, i64 %at
  %slept = atomicrmw xchg ptr %sleeping, i64 0 seq_cst
  %bit = shl i64 %slept, %t
  %mask.next = or i64 %mask, %bit
  %t.next = add i64 %t, 1
  br label %next
end:
  ret i64 %mask
}}

define void @lead(ptr %state, ptr %program, i64 %threads, ptr %times) {{
entry:
  call void @run(ptr %state, ptr %program, i64 %threads, ptr %times)
  br label %next
next:
  %t = phi i64 [1, %entry], [%t.next, %done]
  %more = icmp ult i64 %t, %threads
  br i1 %more, label %wait, label %end
wait:
  %words = mul i64 %t, {line}
  %at = add i64 %words, {jobs}
  %job = getelementptr i64, ptr %state, i64 %at
  br label %look
look:
  %n = phi i64 [0, %wait], [%n.next, %again]
  %left = load atomic i64, ptr %job seq_cst, align 8
  %ready = icmp eq i64 %left, 0
  br i1 %ready, label %done, label %spin
spin:
  {pause}
  %n.next = add i64 %n, 1
  %long = icmp ugt i64 %n.next, {barrier_spins}
  br i1 %long, label %give, label %again
give:
  %ignored = call i32 @{yield}()
  br label %again
again:
  br label %look
done:
  %t.next = add i64 %t, 1
  br label %next
end:
  ret void
}}

define void @follow(ptr %state, i64 %t) {{
entry:
  %words = mul i64 %t, {line}
  %at = add i64 %words, {jobs}
  %job = getelementptr i64, ptr %state, i64 %at
  %sleeping = getelementptr i64, ptr %job, i64 1
  %count = getelementptr i64, ptr %job, i64 2
  br label %look
look:
  %n = phi i64 [0, %entry], [0, %work], [%n.next, %idle], [0, %late]
  %program = load atomic i64, ptr %job seq_cst, align 8
  %none = icmp eq i64 %program, 0
  br i1 %none, label %idle, label %work
work:
  %threads = load i64, ptr %count, align 8
  %where = inttoptr i64 %program to ptr
  call void @run(ptr %state, ptr %where, i64 %threads, ptr null)
  store atomic i64 0, ptr %job seq_cst, align 8
  br label %look
idle:
  {pause}
  %n.next = add i64 %n, 1
  %long = icmp ugt i64 %n.next, {idle_spins}
  br i1 %long, label %sleep, label %look
sleep:
  store atomic i64 1, ptr %sleeping seq_cst, align 8
  %again = load atomic i64, ptr %job seq_cst, align 8
  %still = icmp eq i64 %again, 0
  br i1 %still, label %end, label %late
late:
  %was = atomicrmw xchg ptr %sleeping, i64 0 seq_cst
  %ours = icmp eq i64 %was, 1
  br i1 %ours, label %look, label %end
end:
  ret void
}}
"""


class Functions(NamedTuple):
    """The functions of the pool as ctypes callables.

    Attributes:
      publish: (state, programs of the threads, threads, shares or 0) -> mask of the threads that
        sleep. Shares: bytes of all words of shared calls, their first values, the words.
      wake: (state, threads) -> mask of the threads that sleep; gives them no job.
      lead: (state, own program, threads, times or 0): runs it, waits for the other threads.
      follow: (state, number of the thread): takes jobs; returns when there was none for a while.
      own, steal: functions of records of shared calls.
    """

    publish: Any
    wake: Any
    lead: Any
    follow: Any
    own: Any
    steal: Any


@functools.cache
def functions() -> Functions:
    """Returns the native functions, compiled (or loaded) at the first call."""
    machine = isa.current().triple.split("-")[0]
    pause, declare_pause = _PAUSE.get({"arm64": "aarch64"}.get(machine, machine), ("", ""))
    text = _IR.format(**{
        "yield": _YIELD.get(platform.system(), "sched_yield"),
        "pause": pause,
        "declare_pause": declare_pause,
        "barrier_spins": _SPINS_AT_BARRIER,
        "idle_spins": _SPINS_WITHOUT_JOB,
        "line": LINE_WORDS,
        "jobs": _JOBS,
        "jobs_sleeping": _JOBS + 1,
        "record": RECORD_WORDS,
        "minus_record": -RECORD_WORDS,
        "record_bytes": 8 * RECORD_WORDS,
    })  # fmt: skip
    module = jit.compile_module(text, "pool")
    return Functions(
        module.function("publish", c_int64, c_void_p, c_void_p, c_int64, c_void_p),
        module.function("wake", c_int64, c_void_p, c_int64),
        module.function("lead", None, c_void_p, c_void_p, c_int64, c_void_p),
        module.function("follow", None, c_void_p, c_int64),
        module.function("own", None, c_void_p, c_int64, c_int64),
        module.function("steal", None, c_void_p, c_int64, c_int64),
    )
