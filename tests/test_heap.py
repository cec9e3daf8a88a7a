"""pyoci.heap: how much unused memory a process keeps."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

on_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="tells glibc")

# Eight threads that take memory at the same time, and how many heaps there are then.
_THREADS = """
import ctypes, threading
from pyoci.heap import use_one_heap

use_one_heap()
barrier = threading.Barrier(8)

def take():
    kept = [bytes(50_000) for _ in range(20)]
    barrier.wait(30)

threads = [threading.Thread(target=take) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc = ctypes.CDLL(None)
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""
# Nine pieces of ten are let go, and the last of all is held.
_HOLES = """
from pathlib import Path
from pyoci.heap import give_back

def pages():
    return int(Path("/proc/self/statm").read_text().split()[1])

pieces = [b"x" * 50_000 for _ in range(1000)]
pieces = pieces[9::10]
before = pages()
give_back()
print(before - pages())
"""
# A document of 8 MB is freed after a larger one. Smaller objects that are in use come after it in the heap.
_DOCUMENT = """
from pathlib import Path
from pyoci.heap import use_one_heap

def pages():
    return int(Path("/proc/self/statm").read_text().split()[1])

use_one_heap()
larger = bytearray(b"x" * 30_000_000)
del larger
document = bytearray(b"x" * 8_000_000)
used = [b"x" * 1000 for _ in range(1000)]
before = pages()
del document
print(before - pages())
"""
# What the collector looks at in a worker; and whether a cycle is there before and after.
_CYCLES = """
import gc, weakref
import pyoci.app
from pyoci.heap import freeze, give_back

class Cycle:
    def __init__(self):
        self.itself = self

freeze()
print(len(gc.get_objects()))
gone = weakref.ref(Cycle())
print(gone() is None)
give_back()
print(gone() is None)
"""


def ran(program: str, **environ: str) -> str:
    environ["PATH"] = os.environ["PATH"]
    return subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, timeout=60, check=True
    ).stdout


@on_glibc
@pytest.mark.parametrize(
    ("environ", "heaps"),
    [
        pytest.param({}, {1}, id="one"),
        pytest.param({"MALLOC_ARENA_MAX": "4"}, {2, 3, 4}, id="as the operator says"),
    ],
)
def test_heaps(environ: dict[str, str], heaps: set[int]) -> None:
    """All threads share one heap: memory that one has freed is used by another."""
    assert ran(_THREADS, **environ).count("<heap nr=") in heaps


@on_glibc
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_holes() -> None:
    """Free memory between used pieces is returned to the system: nine tenths of 50 MB."""
    assert int(ran(_HOLES)) * os.sysconf("SC_PAGE_SIZE") > 30_000_000


@on_glibc
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_large_document() -> None:
    """The memory of a large document is returned to the system when the document is freed."""
    assert int(ran(_DOCUMENT)) * os.sysconf("SC_PAGE_SIZE") > 7_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_is_large() -> None:
    """A process with more than 200 MiB of memory is large."""
    size = "from pyoci.heap import is_large; print(is_large()); x = b'x' * 250_000_000; print(is_large())"
    assert ran(size).split() == ["False", "True"]


def test_cycles() -> None:
    """Reference cycles are collected soon, and objects from before the fork aren't visited."""
    looked_at, before, after = ran(_CYCLES).split()
    assert int(looked_at) < 1000
    assert (before, after) == ("False", "True")
