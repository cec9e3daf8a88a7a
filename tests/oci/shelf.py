"""A registry with one blob, over a real socket, that handles Range headers in its own way."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pyoci.net.transport import Transport
from pyoci.oci.credentials import Basic
from pyoci.oci.references import Digest, Registry, Repository
from pyoci.oci.session import Gateway, OCISession
from tests.serving import served

_PIECE = 65536


@dataclass
class BlobShelf:
    """Serves `content` as the blob of any digest. `quirk` is one of

    - `no suffix`: takes `bytes=-5` for no range and sends everything, as Azure's storage does;
    - `refused suffix`, `first for last`: answers it with 400, or with the first bytes;
    - `no ranges`: sends everything, always; `no length`: that, without telling how much;
    - `next range`: sends other bytes than were asked for; `half`: ends before the last byte;
    - `two sizes`: says something else with each answer; `other bytes`: sends zeros;
    - `gone`: refuses ranges with 416 and has lost the blob; a number: refuses with that status.
    """

    content: bytes
    quirk: str = ""
    asked: list[str] = field(default_factory=list)  # method and Range of each request
    told: list[int] = field(default_factory=list)  # Content-Length of each answer to GET
    registry: Registry = field(init=False)
    session: OCISession = field(init=False)

    @property
    def digest(self) -> Digest:
        return Digest("sha256", hashlib.sha256(self.content).hexdigest())

    @property
    def repository(self) -> Repository:
        return Repository.parse(self.registry, "acme/hello_world")

    @contextmanager
    def running(self) -> Iterator[BlobShelf]:
        transport = Transport(sleep=lambda _: None)
        with served(self) as url:
            self.registry = Registry.parse(url, listed=True)
            self.session = Gateway(transport, ttl=60).session(self.registry, Basic("user", "secret"))
            yield self
        transport.close()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method, asked = environ["REQUEST_METHOD"], environ.get("HTTP_RANGE", "")
        self.asked.append(f"{method} {asked}".strip())
        status = ("404" if method == "HEAD" else "416") if self.quirk == "gone" else self.quirk
        if status.isdigit():
            start_response(f"{status} Refused", [("Content-Length", "0")])
            return []
        content = bytes(len(self.content)) if self.quirk == "other bytes" else self.content
        span = None if method == "HEAD" else self._span(asked)
        if span is not None and not span:
            start_response("416 Refused", [("Content-Length", "0")])
            return []
        start, stop = (0, len(content)) if span is None else (span.start, span.stop)
        headers = [("Content-Type", "application/octet-stream")]
        if span is not None:
            size = len(content) + (len(self.asked) if self.quirk == "two sizes" else 0)
            headers.append(("Content-Range", f"bytes {start}-{stop - 1}/{size}"))
        if self.quirk != "no length" or method == "HEAD":
            headers.append(("Content-Length", str(stop - start)))
        start_response("200 OK" if span is None else "206 Partial Content", headers)
        if method == "HEAD":
            return []
        self.told.append(stop - start)
        if self.quirk == "half":
            stop -= 1
        pieces = (content[at : min(at + _PIECE, stop)] for at in range(start, stop, _PIECE))
        return (
            itertools.chain(pieces, itertools.repeat(b"x" * _PIECE)) if self.quirk == "no length" else pieces
        )

    def _span(self, asked: str) -> range | None:
        found = re.fullmatch(r"bytes=(\d*)-(\d*)", asked)
        if found is None or self.quirk in {"no ranges", "no length"}:
            return None
        size, first, last = len(self.content), found[1], int(found[2])
        if first:
            moved = 1 if self.quirk == "next range" else 0
            return range(min(int(first) + moved, size), min(last + 1 + moved, size))
        if self.quirk == "no suffix":
            return None
        if self.quirk == "refused suffix":
            return range(0)
        if self.quirk == "first for last":
            return range(min(last, size))
        return range(max(size - last, 0), size)
