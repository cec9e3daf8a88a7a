"""Watches: the connections of a call are cut when its time is over.

A socket's own timeout starts again with every byte, so a peer that sends one a second would never meet it.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_IDLE = 10.0  # seconds without a call after which the watching thread ends


class Watch:
    """The time of one call and the sockets that it uses. A `Watchdog` cuts them."""

    def __init__(self) -> None:
        self.fired = False
        self.deadline = 0.0
        self._sockets: list[socket.socket] = []
        self._copies: list[socket.socket] = []
        self._lock = threading.Lock()

    def allow(self, seconds: float) -> None:
        """From now on the call may take so long. Bytes have moved, say."""
        self.deadline = time.monotonic() + seconds

    def follow_new(self, sock: socket.socket) -> None:
        """Follow a copy of a socket that has just been connected: a TLS handshake takes the socket itself
        away, and is to be cut like everything else.
        """
        self._keep(self._copies, sock.dup())

    def follow(self, sock: socket.socket) -> None:
        """Follow a socket that is set up."""
        self._drop_copies()
        self._keep(self._sockets, sock)

    def _keep(self, kept: list[socket.socket], sock: socket.socket) -> None:
        with self._lock:
            kept.append(sock)
            if self.fired:
                _shut(sock)

    def _drop_copies(self) -> None:
        with self._lock:
            while self._copies:
                self._copies.pop().close()

    def _cut(self) -> None:
        with self._lock:
            self.fired = True
            for sock in (*self._sockets, *self._copies):
                _shut(sock)


def _shut(sock: socket.socket) -> None:
    # Past the TLS layer: another thread is reading from it at this moment.
    with suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


_current = threading.local()


def current_watch() -> Watch | None:
    """The watch of the call that this thread is making."""
    return getattr(_current, "watch", None)


class Watchdog:
    """One thread that looks at the time of every call of a `Transport`; there is none while nobody calls."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watches: set[Watch] = set()
        self._thread: threading.Thread | None = None
        self._wakes = 0.0

    @contextmanager
    def watched(self, seconds: float, watch: Watch | None = None) -> Iterator[Watch]:
        """Everything that this thread sends and reads in the block is cut after `seconds`.

        Afterwards `watch.fired` tells whether it was: what has been read then may be half of it. Given
        again, a watch follows the sockets that it knows.
        """
        watch = watch or Watch()
        outer = current_watch()
        watch.allow(seconds)
        self._add(watch)
        _current.watch = watch
        try:
            yield watch
        finally:
            _current.watch = outer
            with self._changed:
                # Cutting happens under this lock too: from here on the sockets may be somebody else's.
                self._watches.discard(watch)
            watch._drop_copies()

    @contextmanager
    def suspended(self, watch: Watch, seconds: float) -> Iterator[None]:
        """Cut nothing of `watch` in the block, which waits for somebody else; it has `seconds` after that."""
        with self._changed:
            self._watches.discard(watch)
        try:
            yield
        finally:
            watch.allow(seconds)
            self._add(watch)

    def _add(self, watch: Watch) -> None:
        with self._changed:
            self._watches.add(watch)
            # After a fork the thread of the parent is not there.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
                self._thread.start()
            elif watch.deadline < self._wakes:
                self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for watch in [watch for watch in self._watches if watch.deadline <= now]:
                    self._watches.discard(watch)
                    watch._cut()
                self._wakes = min((watch.deadline for watch in self._watches), default=now + _IDLE)
                if not self._changed.wait(self._wakes - now) and not self._watches:
                    self._thread = None
                    return
