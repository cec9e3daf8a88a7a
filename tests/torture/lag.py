"""A registry that lags behind its own writes, as ghcr.io and Docker Hub do for some seconds."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable

from tests.torture.relay import Exchange, Fault, Way

_TAG = re.compile(r"(GET|PUT|DELETE) (/v2/.+/manifests/[^:]+)")


class Lag:
    """The fault of a relay: a tag reads as it was `seconds` ago."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._lock = threading.Lock()
        self._answers: dict[str, list[tuple[float, bytes]]] = {}  # of each tag, and since when

    def choose(self, exchange: Exchange) -> Fault | None:
        found = _TAG.fullmatch(exchange.line)
        if found is None:
            return None
        return self._read if found[1] == "GET" else self._write

    def _write(self, way: Way) -> None:
        path = way.exchange.line.partition(" ")[2]
        with self._lock:
            if path not in self._answers:
                self._answers[path] = [(-math.inf, way.ask(_get(path)))]
            answer = way.ask()
            self._answers[path].append((self._clock(), way.ask(_get(path))))
        way.answer(answer)

    def _read(self, way: Way) -> None:
        path, then = way.exchange.line.partition(" ")[2], self._clock() - self._seconds
        with self._lock:
            past = [answer for since, answer in self._answers.get(path, ()) if since <= then]
        way.answer(past[-1] if past else way.ask())


def _get(path: str) -> bytes:
    accept = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {accept}\r\nConnection: close\r\n\r\n".encode()
