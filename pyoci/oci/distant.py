"""DistantBlob: a blob as a seekable file, which fetches the end and then only the ranges that are read."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable

from pyoci.errors import InvalidRequest, NotSupported, ProtocolError, Unreachable
from pyoci.oci.blobs import BlobStream
from pyoci.oci.errors import RegistryNotFound, RegistryNotSupported, RegistryRefused
from pyoci.oci.references import Digest, Repository
from pyoci.oci.session import OCISession

# The end of a zip: 76 bytes of zip64, 22 bytes, and a comment of at most 65,535.
TAIL = 66 * 1024
_AHEAD = 16 * 1024  # the minimum that a further request fetches, in bytes: enough for METADATA in most cases
_REQUESTS = 8
_SECONDS = 30.0  # after which no further request begins


class DistantBlob:
    """A file for reading small parts of a blob. The end is fetched at construction, other parts when they are
    read.

    The blob's digest can't verify a part of it, so partial content is not verified. A blob that is no longer
    than the end is verified. The limits are eight requests (each may be redirected), `limit` bytes and 30
    seconds. Raises RegistryError, NotSupported if the registry doesn't support ranges, and InvalidRequest at
    a limit.
    """

    def __init__(
        self,
        session: OCISession,
        repository: Repository,
        digest: Digest,
        *,
        limit: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session, self._repository, self._digest = session, repository, digest
        self._clock, self._deadline = clock, clock() + _SECONDS
        self.requests = 0
        self.fetched = 0  # bytes
        self._limit = limit
        self._known: list[tuple[int, bytes]] = []  # fetched ranges by their start
        self._position = 0
        self.size = 0
        self._fetch_end()

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise OSError("a position before the beginning")  # as files do; zipfile relies on it
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """The next `size` bytes; fewer only at the end."""
        stop = self.size if size < 0 else min(self._position + size, self.size)
        pieces = []
        while self._position < stop:
            pieces.append(self._piece(stop))
            self._position += len(pieces[-1])
        return b"".join(pieces)

    def _piece(self, stop: int) -> bytes:
        """The bytes at the current position, up to the end of one fetched range. A missing range is
        fetched.
        """
        upto = self.size
        for start, data in self._known:
            if start <= self._position < start + len(data):
                return data[self._position - start : stop - start]
            if start > self._position:
                upto = start
                break
        span = range(self._position, min(max(stop, self._position + _AHEAD), upto))
        data = self._fetch(span)
        self._known = sorted([*self._known, (span.start, data)])
        return data[: stop - span.start]

    def _fetch_end(self) -> None:
        """Fetch the end and determine the size, with one request if the registry supports that."""
        self._count()
        try:
            blob = self._session.open_tail(self._repository, self._digest, TAIL)
        except (ProtocolError, RegistryRefused, RegistryNotSupported):
            # Some servers refuse `bytes=-500`, or send the first 500 bytes.
            self.size = self._requested_size()
        else:
            if blob.size is not None and (blob.partial or blob.size <= TAIL):
                self.size = blob.size
                return self._set_end(self._bytes(blob, min(blob.size, TAIL)))
            # Azure's storage ignores such a range and sends the whole blob, so only the size is used.
            blob.close()
            self.size = self._requested_size() if blob.size is None else blob.size
        return self._set_end(self._fetch(range(max(self.size - TAIL, 0), self.size)))

    def _set_end(self, end: bytes) -> None:
        if len(end) == self.size and hashlib.new(self._digest.algorithm, end).hexdigest() != self._digest.hex:
            raise ProtocolError(f"the registry sent bytes that don't match {self._digest}")
        self._known = [(self.size - len(end), end)]

    def _requested_size(self) -> int:
        self._count()
        size = self._session.blob_size(self._repository, self._digest)
        if size is None:
            raise RegistryNotFound(f"{self._repository} has no blob {self._digest}")
        return size

    def _fetch(self, span: range) -> bytes:
        if not span:
            return b""
        self._count(len(span))
        blob = self._session.open_blob(self._repository, self._digest, span)
        if not blob.partial:
            blob.close()
            raise NotSupported(f"{self._session.registry} doesn't support requests for a part of a blob")
        if blob.size not in {None, self.size}:
            blob.close()
            raise ProtocolError(f"{self._session.registry} reports two sizes for one blob")
        return self._bytes(blob, len(span))

    def _bytes(self, blob: BlobStream, count: int) -> bytes:
        data = b"".join(blob.pieces)
        self.fetched += count
        return data

    def _count(self, wanted: int = TAIL) -> None:
        """Count a request for `wanted` bytes. Raises an error if it exceeds a limit."""
        self.requests += 1
        if self.requests > _REQUESTS or self.fetched + wanted > self._limit:
            raise InvalidRequest(
                f"too much of {self._digest} would have to be read; expected at most"
                f" {_REQUESTS} parts and {self._limit} bytes"
            )
        if self._clock() > self._deadline:
            raise Unreachable(f"{self._session.registry} did not send a part of a blob in time")
