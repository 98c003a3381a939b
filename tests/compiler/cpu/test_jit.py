"""Machine code and its cache on disk."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from distflow.base import flags
from distflow.compiler.cpu import isa, jit, size_limit

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
    jit.wait()
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

    first = jit.compile_described("a", ["twice_plus"], make)
    assert jit.compile_described("a", ["twice_plus"], make) is first
    forget()
    assert call(jit.compile_described("a", ["twice_plus"], make), 0.0) == call(first, 0.0)
    assert len(written) == 1
    assert call(jit.compile_described("b", ["twice_plus"], make), 0.0) != call(first, 0.0)


def test_described_module_is_written_again_when_the_sources_change(folder, monkeypatch):
    first = jit.compile_described("sources", ["twice_plus"], fresh_text)
    monkeypatch.setattr(jit, "sources", lambda: "others")
    assert jit.compile_described("sources", ["twice_plus"], fresh_text) is not first


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


# -- the size of the folder ----------------------------------------------------------------

DAY = size_limit.DAY_SECONDS
MIB = 1 << 20


def put(folder, name, size, days=0.0):
    """Makes an entry of zeros that was last used some days ago."""
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / (f"{name:064x}" if isinstance(name, int) else name)
    path.touch(mode=0o600)
    os.truncate(path, size)
    os.utime(path, times=(time.time() - days * DAY,) * 2)
    return path


def size_of(folder):
    return sum(path.stat().st_size for path in folder.iterdir())


def test_entries_used_longest_ago_go_when_a_new_one_is_too_much(folder):
    paths = [put(folder, number, MIB // 4, days=number) for number in range(5)]
    with flags.override(DISTFLOW_CACHE_MB=1):
        new = jit.compile_module(fresh_text(), "t").key
    left = {path.name for path in folder.iterdir()}
    assert left == {new, *(path.name for path in paths[:3])}
    assert size_of(folder) <= MIB - MIB // 8


def test_folder_within_its_limit_is_left_alone(folder):
    for number in range(3):
        put(folder, number, MIB // 4, days=1000)
    with flags.override(DISTFLOW_CACHE_MB=1):
        jit.compile_module(fresh_text(), "t")
    assert len(list(folder.iterdir())) == 4


def test_what_others_write_is_noticed_while_this_process_writes(folder, monkeypatch):
    with flags.override(DISTFLOW_CACHE_MB=1):
        jit.compile_module(fresh_text(), "t")
        old = put(folder, 1, 2 * MIB, days=1)
        for _ in range(17):
            size_limit.note_written(folder, MIB // 256)
    assert not old.exists()


def test_few_writes_do_not_look_at_the_folder(folder, monkeypatch):
    looks = []
    trim = size_limit.trim
    monkeypatch.setattr(size_limit, "trim", lambda *a: looks.append(a) or trim(*a))
    for _ in range(3):
        jit.compile_module(fresh_text(), "t")
    assert len(looks) == 1


def test_files_of_other_names_stay_and_do_not_count(folder):
    other = put(folder, "notes", 3 * MIB, days=9)
    entry = put(folder, 1, MIB, days=9)
    assert size_limit.trim(folder, MIB) == MIB
    assert other.exists()
    assert entry.exists()


def test_unfinished_files_go_once_nobody_can_be_writing_them(folder):
    old = put(folder, ".new-old", MIB, days=2)
    young = put(folder, ".new-young", MIB, days=0.5)
    assert size_limit.trim(folder, MIB) == MIB
    assert not old.exists()
    assert young.exists()


def test_links_are_not_followed_nor_removed(folder, tmp_path):
    outside = put(tmp_path / "outside", 1, 5 * MIB, days=9)
    put(folder, 2, 1)
    link = folder / f"{3:064x}"
    link.symlink_to(outside)
    assert size_limit.trim(folder, MIB) == 1
    assert link.is_symlink()
    assert outside.exists()


def test_entry_that_another_process_removes_first_counts_as_gone(folder, monkeypatch):
    paths = [put(folder, number, MIB, days=number) for number in range(4)]
    unlink = os.unlink

    def lose(path):
        unlink(path)
        unlink(path)

    monkeypatch.setattr(os, "unlink", lose)
    assert size_limit.trim(folder, 3 * MIB) == 2 * MIB
    assert [path.exists() for path in paths] == [True, True, False, False]


def test_entries_that_cannot_be_removed_fail_nothing(folder, monkeypatch):
    put(folder, 1, 2 * MIB)

    def refuse(path):
        raise PermissionError(path)

    monkeypatch.setattr(os, "unlink", refuse)
    with flags.override(DISTFLOW_CACHE_MB=1):
        assert call(jit.compile_module(fresh_text(), "t"), 0.0) > 0


def test_folder_that_is_gone_fails_nothing(folder):
    assert size_limit.trim(folder / "nowhere", 1) == 0


@pytest.mark.parametrize(("days", "is_touched"), [(0.9, False), (1.1, True), (-1.1, True)])
def test_load_marks_an_entry_as_used_once_a_day(folder, days, is_touched):
    text = fresh_text()
    path = folder / jit.compile_module(text, "t").key
    before = time.time() - days * DAY
    os.utime(path, (before, before))
    forget()
    jit.compile_module(text, "t")
    assert (abs(path.stat().st_mtime - time.time()) < 60) == is_touched


def test_code_of_removed_entries_still_runs(folder):
    text = fresh_text()
    module = jit.compile_module(text, "t")
    value = call(module, 0.0)
    size_limit.trim(folder, 1)
    assert list(folder.iterdir()) == []
    assert call(module, 0.0) == value
    forget()
    assert call(jit.compile_module(text, "t"), 0.0) == value


WRITER = """
import sys
from distflow.compiler.cpu import jit, store
for number in range(8):
    text = f"define double @f() {{ ret double {sys.argv[1]}{number}.0 }}"
    folder = store.folder()
    for extra in range(20):
        store.write(folder, f"{sys.argv[1]}{number}{extra:02}".zfill(64), bytes(40_000))
    jit.compile_module(text, "child")
"""


@pytest.mark.spawn
def test_several_processes_may_write_and_remove_at_once(folder):
    for number in range(8):
        put(folder, 1 << number, MIB // 4, days=3)
    environment = {
        **os.environ, "DISTFLOW_CACHE_DIR": str(folder.parent), "DISTFLOW_CACHE_MB": "1",
    }  # fmt: skip
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(number)], env=environment, stderr=subprocess.PIPE
        )
        for number in (1, 2, 3)
    ]
    for process in writers:
        assert process.communicate(timeout=60)[1] == b""
        assert process.returncode == 0
    assert not any((folder / f"{1 << number:064x}").exists() for number in range(8))
    # Each may write a sixteenth, and an entry, before it looks again.
    assert size_of(folder) < MIB + 3 * (MIB // 16 + 50_000)


def test_code_for_aarch64_is_emitted(folder):
    assert jit.verify_for(fresh_text(), "aarch64-unknown-linux-gnu")[:4] == b"\x7fELF"
