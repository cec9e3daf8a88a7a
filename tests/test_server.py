"""pyoci.server: what gunicorn does for its workers."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

# Eight threads that take memory at the same time, and how many heaps there are then.
_PROGRAM = """
import ctypes, threading
from pyoci.server import post_fork

post_fork(None, None)
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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="asks glibc")
@pytest.mark.parametrize(
    ("environ", "heaps"),
    [
        pytest.param({}, {1}, id="one"),
        pytest.param({"MALLOC_ARENA_MAX": "4"}, {2, 3, 4}, id="as the operator says"),
    ],
)
def test_heaps(environ: dict[str, str], heaps: set[int]) -> None:
    """All threads of a worker share one heap: what one has given back another takes."""
    environ = {"PATH": os.environ["PATH"], **environ}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.count("<heap nr=") in heaps
