"""Watchdog: shuts down the connections of a call when its time is over.

A socket's own timeout starts again with every byte, so a peer that sends one byte a second never reaches it.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_IDLE = 10.0  # seconds without a call after which the watching thread ends
# Between two looks at the deadlines. A call with more time doesn't wake the watching thread: that would cost
# each call two switches between threads.
_LOOK_SECONDS = 1.0


class Watch:
    """The deadline of one call, and the sockets that a `Watchdog` shuts down at that time. `on_connect` is
    called with an address before a connection to it is opened, and may refuse it by an exception.
    """

    def __init__(self, on_connect: Callable[[str], None] = lambda _address: None) -> None:
        self.on_connect = on_connect
        self.on_failure: Callable[[], None] = lambda: None  # to be called if the call fails
        self.has_fired = False
        self.is_in_use = False
        self.deadline = 0.0
        self._sockets: list[socket.socket] = []
        self._copies: list[socket.socket] = []
        self._lock = threading.Lock()

    def allow(self, seconds: float) -> None:
        """Restart the deadline, for example because bytes have moved."""
        self.deadline = time.monotonic() + seconds

    def follow_new(self, sock: socket.socket) -> None:
        """Watch a duplicate of a socket that has just been connected. The TLS handshake detaches the socket
        itself, and must be interruptible as well.
        """
        self._add(self._copies, sock.dup())

    def follow(self, sock: socket.socket) -> None:
        """Watch a socket whose handshake is complete."""
        self._drop_copies()
        self._add(self._sockets, sock)

    def _add(self, sockets: list[socket.socket], sock: socket.socket) -> None:
        with self._lock:
            sockets.append(sock)
            if self.has_fired:
                _shut(sock)

    def _drop_copies(self) -> None:
        with self._lock:
            while self._copies:
                self._copies.pop().close()

    def _cut(self) -> None:
        with self._lock:
            self.has_fired = True
            for sock in (*self._sockets, *self._copies):
                _shut(sock)


def _shut(sock: socket.socket) -> None:
    # Shut down the TCP socket, because another thread is reading from the TLS socket.
    with suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


_current = threading.local()


def current_watch() -> Watch | None:
    """The watch of the call that this thread is making."""
    return getattr(_current, "watch", None)


class Watchdog:
    """One thread for all calls of a `Transport`; it ends when there have been no calls for a while."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watches: set[Watch] = set()
        self._thread: threading.Thread | None = None
        self._wakes = 0.0

    @contextmanager
    def watched(self, seconds: float, watch: Watch | None = None) -> Iterator[Watch]:
        """Shut down the sockets that this thread uses in the block after `seconds`.

        `watch.has_fired` says afterwards whether that happened; if so, the data that was read may be
        incomplete. A `watch` that is passed in still watches its former sockets.
        """
        watch = watch or Watch()
        outer = current_watch()
        watch.allow(seconds)
        watch.is_in_use = True
        self._add(watch)
        _current.watch = watch
        try:
            yield watch
        finally:
            _current.watch = outer
            with self._changed:
                # Sockets are shut down under this lock. From here on another call may use them.
                self._watches.discard(watch)
                watch.is_in_use = False
            watch._drop_copies()

    def cut(self, watch: Watch) -> None:
        """Shut down the sockets of a watch now, if its block hasn't been left."""
        with self._changed:
            self._watches.discard(watch)
            if watch.is_in_use:
                watch._cut()

    @contextmanager
    def suspended(self, watch: Watch, seconds: float) -> Iterator[None]:
        """Stop watching in the block, which waits for a client; the call has `seconds` after that."""
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
            # A forked process doesn't have its parent's thread.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
                self._thread.start()
            elif watch.deadline < self._wakes:
                self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            ends_at = time.monotonic() + _IDLE
            while True:
                now = time.monotonic()
                for watch in [watch for watch in self._watches if watch.deadline <= now]:
                    self._watches.discard(watch)
                    watch._cut()
                if self._watches:
                    ends_at = now + _IDLE
                elif now >= ends_at:
                    self._thread = None
                    return
                self._wakes = min((now + _LOOK_SECONDS, *(watch.deadline for watch in self._watches)))
                self._changed.wait(self._wakes - now)
