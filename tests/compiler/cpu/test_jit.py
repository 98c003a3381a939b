"""Machine code and its cache on disk."""

import ctypes
import os
import signal
import subprocess
import sys
import threading

import pytest

from distflow.base import flags
from distflow.compiler.cpu import isa, jit

pytest.importorskip("llvmlite")

TEMPLATE = """
define double @twice_plus(double %x) {{
  %y = fadd double %x, %x
  %z = fadd double %y, {constant}
  ret double %z
}}
declare float @llvm.fma.f32(float, float, float)
define float @fused(float %x, float %y, float %z) {{
  %r = call float @llvm.fma.f32(float %x, float %y, float %z)
  ret float %r
}}
"""
_counter = iter(range(1000))


def fresh_text():
    """IR that this process has not compiled yet."""
    return TEMPLATE.format(constant=f"{next(_counter)}.5")


def call(module, x):
    return module.function("twice_plus", ctypes.c_double, ctypes.c_double)(x)


@pytest.fixture
def folder(tmp_path):
    with flags.override(DISTFLOW_CACHE_DIR=str(tmp_path)):
        yield tmp_path / "code"


def forget():
    """Makes this process forget its modules, as a new one would."""
    jit._modules.clear()


def test_compiles_and_runs(folder):
    text = TEMPLATE.format(constant="0.25")
    assert call(jit.compile_module(text, "t"), 2.0) == 4.25


def test_plain_modules_are_compiled_as_they_stand(folder):
    text = fresh_text()
    as_it_stands = jit.compile_module(jit.plain(text), "a")
    assert call(as_it_stands, 2.0) == call(jit.compile_module(text, "b"), 2.0)
    assert as_it_stands is not jit.compile_module(text, "b")


def test_same_text_gives_the_same_module(folder):
    text = fresh_text()
    assert jit.compile_module(text, "a") is jit.compile_module(text, "b")


def test_two_modules_may_define_the_same_symbol(folder):
    a = jit.compile_module(TEMPLATE.format(constant="1000.0"), "a")
    b = jit.compile_module(TEMPLATE.format(constant="2000.0"), "b")
    assert (call(a, 0.0), call(b, 0.0)) == (1000.0, 2000.0)


@pytest.mark.parametrize("level", ["native", *isa.offered()])
def test_fma_rounds_once_on_every_level(folder, level):
    # (1 + 2^-12)^2 - (1 + 2^-11) = 2^-24 exactly; with a rounded product it would be 0.
    with flags.override(DISTFLOW_CPU=level):
        f = jit.compile_module(fresh_text(), "t").function(
            "fused", ctypes.c_float, ctypes.c_float, ctypes.c_float, ctypes.c_float
        )
        assert f(1 + 2**-12, 1 + 2**-12, -(1 + 2**-11)) == 2**-24


def test_second_start_compiles_nothing(folder):
    text = fresh_text()
    jit.compile_module(text, "t")
    forget()
    before = jit.counts()
    assert call(jit.compile_module(text, "t"), 0.0) > 0
    after = jit.counts()
    assert after["compiled"] == before["compiled"]
    assert after["loaded"] == before["loaded"] + 1


def test_described_module_is_written_only_if_the_cache_has_no_code_for_it(folder):
    written = []

    def make():
        written.append(fresh_text())
        return written[-1]

    first = jit.compile_described("a", "twice_plus", make)
    assert jit.compile_described("a", "twice_plus", make) is first
    forget()
    assert call(jit.compile_described("a", "twice_plus", make), 0.0) == call(first, 0.0)
    assert len(written) == 1
    assert call(jit.compile_described("b", "twice_plus", make), 0.0) != call(first, 0.0)


def test_described_module_is_written_again_when_the_sources_change(folder, monkeypatch):
    first = jit.compile_described("sources", "twice_plus", fresh_text)
    monkeypatch.setattr(jit, "_sources", lambda: "others")
    assert jit.compile_described("sources", "twice_plus", fresh_text) is not first


def test_folder_is_private(folder):
    jit.compile_module(fresh_text(), "t")
    assert folder.stat().st_mode & 0o777 == 0o700


def corrupt_last_byte(data):
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize(
    "damage", [corrupt_last_byte, lambda d: d[:50], lambda d: b"", lambda d: b"x" * len(d)]
)
def test_corrupt_entry_is_made_anew(folder, damage):
    text = fresh_text()
    key = jit.compile_module(text, "t").key
    good = (folder / key).read_bytes()
    (folder / key).write_bytes(damage(good))
    forget()
    before = jit.counts()["compiled"]
    call(jit.compile_module(text, "t"), 0.0)
    assert jit.counts()["compiled"] == before + 1
    assert (folder / key).read_bytes() == good


def test_entry_under_another_name_is_not_trusted(folder):
    first, second = fresh_text(), fresh_text()
    a, b = jit.compile_module(first, "a"), jit.compile_module(second, "b")
    (folder / b.key).write_bytes((folder / a.key).read_bytes())
    wanted = call(b, 0.0)
    forget()
    assert call(jit.compile_module(second, "b"), 0.0) == wanted


def test_link_in_place_of_an_entry_is_not_followed(folder, tmp_path):
    text = fresh_text()
    key = jit.compile_module(text, "t").key
    (folder / key).rename(tmp_path / "elsewhere")
    (folder / key).symlink_to(tmp_path / "elsewhere")
    forget()
    before = jit.counts()["compiled"]
    jit.compile_module(text, "t")
    assert jit.counts()["compiled"] == before + 1


def test_folder_open_to_others_is_not_used(folder):
    folder.mkdir(mode=0o700)
    os.chmod(folder, 0o755)
    jit.compile_module(fresh_text(), "t")
    assert list(folder.iterdir()) == []


def test_entries_differ_by_target(folder):
    text = fresh_text()
    keys = set()
    for level in isa.offered():
        with flags.override(DISTFLOW_CPU=level):
            keys.add(jit.compile_module(text, "t").key)
    assert len(keys) == len(isa.offered())


def test_threads_may_compile_at_once(folder):
    text = fresh_text()
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(jit.compile_module(text, "t")))
        for _ in range(8)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(found) == 8
    assert len(set(map(id, found))) == 1


CHILD = """
import ctypes, sys
from distflow.compiler.cpu import jit
module = jit.compile_module(sys.stdin.read(), "child")
assert module.function("twice_plus", ctypes.c_double, ctypes.c_double)(1.0) == 9.0
print(jit.counts()["compiled"])
"""


@pytest.mark.spawn
def test_two_processes_at_once_then_a_third_compiles_nothing(folder):
    def start():
        return subprocess.Popen(
            [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "DISTFLOW_CACHE_DIR": str(folder.parent)}, text=True,
        )  # fmt: skip

    text = TEMPLATE.format(constant="7.0")
    both = [start(), start()]
    for process in both:
        process.stdin.write(text)
        process.stdin.close()
    for process in both:
        assert process.wait(timeout=60) == 0
        process.stdout.close()
    out, _ = start().communicate(text, timeout=60)
    assert out.strip() == "0"


@pytest.mark.spawn
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_code_runs_and_compiles_after_a_fork(folder):
    module = jit.compile_module(fresh_text(), "t")
    new = fresh_text()
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        status = 1
        try:
            call(module, 1.0)
            call(jit.compile_module(new, "t"), 1.0)
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_code_for_aarch64_is_emitted(folder):
    assert jit.verify_for(fresh_text(), "aarch64-unknown-linux-gnu")[:4] == b"\x7fELF"
