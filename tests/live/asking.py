"""Clients that send requests without a pause, while the server's processes change."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from tests.live.servers import Server
from tests.live.sockets import exchange, make_head, statuses
from tests.waiting import until

AUTHORIZATION = "Authorization: Basic bWU6bWU="  # me:me


class Asking:
    """Clients that request `path` as fast as they can until they are stopped."""

    def __init__(self, server: Server, path: str = "/health") -> None:
        self._server = server
        self._path = path
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(4)
        self.futures: list[Future[int]] = []

    def __enter__(self) -> Asking:
        self.futures = [self._pool.submit(ask) for ask in (self.anew, self.anew, self.again, self.again)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._pool.shutdown()

    def anew(self) -> int:
        """On a new connection each time; none may fail."""
        count = 0
        while not self._stopped.is_set():
            line = f"GET {self._path} HTTP/1.1"
            answer = exchange(self._server, make_head(line, "Connection: close", AUTHORIZATION))
            assert statuses(answer) == [200], answer[:500]
            count += 1
        return count

    def again(self) -> int:
        """On a kept connection. If it was closed, the request is sent once more."""
        count = 0
        parts = urlsplit(self._server.url)
        connection = HTTPConnection(str(parts.hostname), parts.port, timeout=60)
        while not self._stopped.is_set():
            with suppress(HTTPException, ConnectionError):
                assert self._once(connection) == 200
                count += 1
                continue
            connection.close()
            assert self._once(connection) == 200
        connection.close()
        return count

    def _once(self, connection: HTTPConnection) -> int:
        connection.request("GET", self._path, headers=dict([AUTHORIZATION.split(": ")]))
        answer = connection.getresponse()
        answer.read()
        return answer.status


def workers(server: Server) -> set[str]:
    pid = server.process.pid
    return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def wait_for_others(server: Server, before: set[str]) -> None:
    until(lambda: (now := workers(server)) and not now & before, "other workers", seconds=60)
