"""Another server that shares a cache: `python -m tests.cache.neighbour <address> record <prefix> <count>`, or
`… hold <name>`, which prints "held" and holds a lock until it is killed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyoci.cache.address import CacheAddress, open_backend

CHECKOUT = Path(__file__).parents[2]


def started(address: str, *command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.cache.neighbour", address, *command],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
    )


@contextmanager
def holding(address: str, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another server that holds a lock. It is killed at the end."""
    with started(address, "hold", name) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            yield process
        finally:
            process.kill()


def main() -> None:
    address, command, what, *count = sys.argv[1:]
    backend = open_backend(CacheAddress.parse(address))
    if command == "record":
        for number in range(int(count[0])):
            backend.record("name", f"{what}{number}")
        backend.close()
        return
    with backend.lock(what, 10) as held:
        print("held" if held else "busy", flush=True)
        time.sleep(600)


if __name__ == "__main__":
    main()
