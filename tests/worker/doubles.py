"""A clock that the test advances, a listener to events, and the connections of clients."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pyoci.events import Events
from pyoci.worker.pace import Pace
from pyoci.worker.sockets import ClientSocket
from tests.clock import Clock


class Listener:
    """Records events."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.counted: list[tuple[object, ...]] = []
        self.events = Events(log=self._log, count=lambda *values: self.counted.append(values))

    def _log(self, event: str, **facts: object) -> None:
        self.lines.append({"event": event, **facts})


@dataclass(eq=False)
class Connection:
    """Both ends of a client's connection."""

    sock: ClientSocket
    client: socket.socket

    def reset(self) -> None:
        """The client leaves, and resets the connection."""
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.client.close()


@dataclass
class Connections:
    """Connections over TCP. Records which are watched, and what has become of each."""

    listener: socket.socket
    clock: Clock = field(default_factory=Clock)
    made: list[Connection] = field(default_factory=list)
    watched: set[Any] = field(default_factory=set)
    closed: list[Any] = field(default_factory=list)

    def connect(self) -> Connection:
        client = socket.create_connection(self.listener.getsockname(), timeout=30)
        accepted, _ = self.listener.accept()
        conn = Connection(ClientSocket(accepted), client)
        conn.sock.setblocking(False)
        conn.sock.pace = Pace(self.clock)
        self.made.append(conn)
        return conn

    def reset(self, conn: Connection) -> None:
        """Reset a connection from the client's side, and wait until the server's system has noticed."""
        conn.reset()
        poll = select.poll()
        poll.register(conn.sock, 0)
        assert poll.poll(30_000)


@contextmanager
def listening() -> Iterator[Connections]:
    """Connections with small buffers on the client's side, which are closed after the test."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        connections = Connections(listener)
        yield connections
        for conn in connections.made:
            conn.sock.close()
            conn.client.close()
