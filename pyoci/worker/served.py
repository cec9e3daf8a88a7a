"""Served: tells the application of the requests that have a thread or wait for one, and finds the clients
that have left.

A client that has closed its connection looks like one that has closed only its sending side and waits for
the answer (a half close), until something is sent to it. So the worker sends an interim answer, which every
client of HTTP/1.1 has to ignore (RFC 9110, section 15.2). If the client has left, its system then resets the
connection.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import Any

from pyoci.worker.answers import ServerThread

WAITED_SECONDS = 0.5  # that a request waits for a thread before other requests are asked to return theirs
_INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
_RESET = select.POLLHUP | select.POLLERR
_TARGET_LIMIT = 4096  # bytes of a request's first line that are looked at

Tick = Callable[[Iterable[ServerThread], Collection[str]], None]


class Served:
    """Looks at requests about once a second, and calls `tick` with the threads of those that have one, and
    the registries of those that wait for one. `registry_of` takes a path. So does `group_of`, which returns
    the group in which a request waits for a thread.
    """

    def __init__(
        self,
        tick: Tick = lambda _threads, _waiting: None,
        registry_of: Callable[[str], str] = lambda _path: "",
        group_of: Callable[[str], str] = lambda _path: "",
    ) -> None:
        self._tick, self._registry_of, self._group_of = tick, registry_of, group_of

    def group(self, conn: Any) -> str:
        """The group in which the request of a connection waits for a thread."""
        return self._group_of(_path(conn.sock.gathered))

    def departed(self, waiting: Iterable[Any]) -> list[Any]:
        """The connections among `waiting`, which wait for a thread, whose clients have left."""
        return _closed(waiting, _probe_waiting)

    def look(self, busy: Iterable[Any], waiting: Iterable[Any]) -> None:
        """`busy` are connections that have a thread, `waiting` those that wait for one."""
        served = [conn for conn in busy if _has_thread(conn)]
        for conn in _closed(served, _probe_served):
            conn.answer.thread.client_has_left = True
        self._tick(
            [conn.answer.thread for conn in served],
            {self._registry_of(_path(conn.sock.gathered)) for conn in waiting},
        )


def take_reason(conn: Any) -> str | None:
    """Why the application has ended the last request of a connection; None if it hasn't. The next call
    returns None.
    """
    answer = getattr(conn, "answer", None)
    if answer is None:
        return None
    reason, answer.thread.ended_for = answer.thread.ended_for, None
    return str(reason) if reason is not None else None


def _has_thread(conn: Any) -> bool:
    """Whether a thread works on the answer. `answer` may still be that of the request before."""
    answer = getattr(conn, "answer", None)
    return answer is not None and answer.thread.since is not None


def _closed(conns: Iterable[Any], probe: Callable[[Any], None]) -> list[Any]:
    """The connections that are closed in both directions. Those that their clients have closed in one are
    probed: the next look shows whether it is both.
    """
    poll, by_number = select.poll(), {conn.sock.fileno(): conn for conn in conns}
    for number in by_number:
        poll.register(number, select.POLLRDHUP)
    closed = []
    for number, events in poll.poll(0):
        conn = by_number[number]
        if events & _RESET:
            closed.append(conn)
        elif events & select.POLLRDHUP and not conn.sock.was_cut:
            with suppress(OSError):  # the next look shows it
                probe(conn)
    return closed


def _probe_served(conn: Any) -> None:
    if conn.answer.takes_interim:
        _probe(conn)


def _probe_waiting(conn: Any) -> None:
    """The request has no thread yet: its first line tells whether it is HTTP/1.1."""
    line = bytes(conn.sock.gathered[:_TARGET_LIMIT]).lstrip(b"\r\n").partition(b"\r\n")[0]
    if line.endswith(b" HTTP/1.1"):
        _probe(conn)


def _probe(conn: Any) -> None:
    """Send an interim answer once for a request, unless its answer has begun."""
    if not conn.sock.was_probed:
        conn.sock.was_probed = True
        conn.sock.send_interim(_INTERIM)


def _path(head: bytes | bytearray) -> str:
    """The path of a request, "" where it can't be read."""
    words = bytes(head[:_TARGET_LIMIT]).lstrip(b"\r\n").partition(b"\r\n")[0].split(b" ")
    return words[1].partition(b"?")[0].decode("latin-1") if len(words) > 1 else ""
