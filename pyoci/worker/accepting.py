"""Accepting: which connections a worker accepts, and which ones it leaves to other workers."""

from __future__ import annotations

import errno
import math
import time
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker  # type: ignore[import-untyped]

from pyoci.worker.balance import Balance, shared_loads
from pyoci.worker.clients import Clients
from pyoci.worker.sockets import ClientSocket
from pyoci.worker.threads import Threads

_AT_ONCE = 100  # connections accepted in one turn of the loop
_FULL = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Accepting(ThreadWorker):  # type: ignore[misc]
    """The part of a worker that accepts connections. `_clients` then wait for them."""

    left_seconds = 0.002  # for which connections are left to a worker that has less to do
    sockets: list[Any]
    alive: bool
    _threads: Threads
    _clients: Clients

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._has_tls = bool(self.cfg.is_ssl)
        self._accept_at = 0.0
        # Connections that are idle don't count.
        self._balance = Balance(shared_loads(), self.age, lambda: self.nr_conns - len(self.keepalived_conns))

    def set_accept_enabled(self, enabled: bool) -> None:
        """Leave new connections to other workers while all threads here are busy. A worker that stops accepts
        those that are waiting and closes its listeners: others are refused at once instead of at its end.
        """
        if self.alive:
            can_accept = self._threads.have_one_free and time.monotonic() >= self._accept_at
            super().set_accept_enabled(enabled and can_accept)
            return
        super().set_accept_enabled(False)
        listeners, self.sockets = self.sockets, []  # this is called again while the worker stops
        self._accept_leftovers(listeners, self.worker_connections)
        for listener in listeners:
            listener.close()

    def accept(self, listener: Any) -> None:
        """Accept a connection, unless another worker has less to do and accepts it within a moment."""
        if self._balance.leaves_one():
            self._accept_at = time.monotonic() + self.left_seconds
            self.set_accept_enabled(False)
        else:
            self._accept(listener)
            self._balance.record()

    def _accept_leftovers(self, listeners: list[Any], at_once: int = _AT_ONCE) -> None:
        """Accept connections that no other worker has accepted in time. They are queued here, or refused."""
        for listener in listeners:
            listener.setblocking(False)
            for _ in range(at_once):
                if self.nr_conns >= self.worker_connections or not self._accept(listener):
                    break

    def _pause(self) -> float:
        """For how many seconds no connection is accepted; infinite if they are accepted now."""
        pause = self._accept_at - time.monotonic()
        return pause if pause > 0 else math.inf

    def _accept(self, listener: Any) -> bool:
        """Accept a connection, which doesn't get a thread yet. False if there is none."""
        if self._has_tls:
            super().accept(listener)
            return False
        try:
            accepted, client = listener.accept()
            sock = ClientSocket(accepted)
        except OSError as exc:
            # In gunicorn this error ends the worker.
            if exc.errno in _FULL and not self._clients.make_room():
                self._accept_at = time.monotonic() + 1
                self.set_accept_enabled(False)
            return False
        if self.nr_conns >= self.cfg.worker_connections:
            self._clients.make_room()
        self.nr_conns += 1
        conn = TConn(self.cfg, sock, client, listener.getsockname())
        conn.data_ready = True  # so that no thread waits for data
        self._clients.accept(conn)
        return True
