"""A closed network: clients in a network namespace of their own, which reach one server and nothing else.

As a program it is the inside: `closed_network.py SOCKET PORT COMMAND…` runs a command, and passes connections
to 127.0.0.1:PORT on to a Unix socket, which namespaces share. `Gate` is the outside.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

_PIECE = 256 * 1024
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
_NAMESPACE = ("unshare", "--net") if os.geteuid() == 0 else ("unshare", "--net", "--map-root-user")


def is_possible() -> bool:
    """Whether this machine lets its users have such a namespace."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return (
            subprocess.run([*_NAMESPACE, "true"], capture_output=True, timeout=20, check=False).returncode
            == 0
        )
    return False


class Gate:
    """Passes what arrives at a Unix socket on to a server of this machine."""

    def __init__(self, path: Path, port: int) -> None:
        self.path, self.port = path, port
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(100)
        _serve(self._listener, lambda: socket.create_connection(("127.0.0.1", port)))

    def command(self) -> tuple[str, ...]:
        """What a command has to be preceded by, to run in the closed network."""
        return (*_NAMESPACE, sys.executable, __file__, str(self.path), str(self.port))

    def close(self) -> None:
        """Let nobody in any more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@dataclass(frozen=True)
class _Passage:
    source: socket.socket
    target: socket.socket

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while piece := self.source.recv(_PIECE):
                self.target.sendall(piece)
        with contextlib.suppress(OSError):
            self.target.shutdown(socket.SHUT_WR)


def _serve(listener: socket.socket, connect: Callable[[], socket.socket]) -> None:
    """Pass each connection on, in threads that end with the process."""

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                theirs, _ = listener.accept()
                _start(partial(_pass_on, theirs, connect))

    _start(accept)


def _pass_on(theirs: socket.socket, connect: Callable[[], socket.socket]) -> None:
    with theirs, contextlib.suppress(OSError), connect() as ours:
        back = threading.Thread(target=_Passage(ours, theirs).run, daemon=True)
        back.start()
        _Passage(theirs, ours).run()
        back.join()


def _start(work: Callable[[], Any]) -> None:
    threading.Thread(target=work, daemon=True).start()


def _open_loopback() -> None:
    """A new namespace has an interface to itself, which is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def _main(path: str, port: int, command: Sequence[str]) -> int:
    _open_loopback()

    def connect() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        return sock

    listener = socket.create_server(("127.0.0.1", port), backlog=100)
    _serve(listener, connect)
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
