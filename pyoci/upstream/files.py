"""UpstreamFiles: files of upstream's pages, downloaded once for all callers, verified, and kept in a folder.

A thread of its own downloads a file into the folder. Callers read the file there while it arrives, so a slow
client delays nobody. Whoever serves a file has to check first that the caller may see upstream's page.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from io import FileIO
from typing import Self
from urllib.parse import urlsplit

from pyoci import request_scope
from pyoci.errors import (
    NO_MEMORY,
    Denied,
    Exhausted,
    NotFound,
    ProtocolError,
    PyOCIError,
    Unavailable,
    Unreachable,
)
from pyoci.events import Events
from pyoci.net.addresses import Reach
from pyoci.net.messages import READ_PIECE, Call, Stream
from pyoci.net.reading import content_length
from pyoci.net.transport import Transport
from pyoci.request_scope import Host, concern, result_of
from pyoci.simple_api import model
from pyoci.simple_api.model import File
from pyoci.upstream.address import FileHosts, UpstreamAddress, origin_of
from pyoci.upstream.folder import Folder, is_arriving

NAME = "the server of upstream's files"
DOWNLOADS = 16  # at once in one process
_REDIRECTS = 3
_REDIRECTED = frozenset({301, 302, 303, 307, 308})
_PAUSE = 0.02  # seconds between two looks at a file that arrives
_STALL = 90.0  # seconds without a byte after which a reader gives up; the download itself gives up earlier
_COMPLETE = 300.0  # seconds that a caller waits for a whole file
_WITHOUT_FOLDER = 60.0  # seconds for which files aren't kept after the folder couldn't be written


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file of upstream, or its METADATA. `size` is in bytes; None if the page doesn't say it."""

    filename: str
    url: str = field(repr=False)
    sha256: str
    size: int | None = None

    @classmethod
    def of(cls, file: File) -> Self | None:
        """The file of a page; None if it has no sha256, so that it can't be verified."""
        sha256 = file.hashes.get("sha256")
        return None if sha256 is None else cls(file.filename, file.url, sha256, file.size)

    @classmethod
    def metadata_of(cls, file: File) -> Self | None:
        """The METADATA of a file (PEP 658); None if the page has no sha256 of it."""
        hashes = file.core_metadata
        sha256 = hashes.get("sha256") if isinstance(hashes, dict) else None
        return None if sha256 is None else cls(f"{file.filename}.metadata", f"{file.url}.metadata", sha256)


@dataclass(slots=True)
class Download:
    """The bytes of a file, or of the offsets `span` of it. A whole file is verified: iteration raises before
    the last piece if the bytes don't match the sha256. Iterate to the end, or close it.
    """

    file: Wanted
    size: int  # of the whole file, in bytes
    span: range | None
    pieces: Iterator[bytes] = field(repr=False)
    source: FileIO | None = field(default=None, repr=False)

    def __iter__(self) -> Iterator[bytes]:
        return self.pieces

    def close(self) -> None:
        """Close the file or the connection."""
        close = getattr(self.pieces, "close", None)
        if close is not None:
            close()
        if self.source is not None:
            self.source.close()


class UpstreamFiles:
    """One for the process. `hosts` are the further hosts that files may come from."""

    def __init__(
        self,
        address: UpstreamAddress,
        transport: Transport,
        folder: Folder,
        hosts: FileHosts,
        *,
        events: Events | None = None,
        sleep: Callable[[float], None] = request_scope.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = _Source(address, transport, hosts)
        self._folder = folder
        self._events = events or Events()
        self._head_seconds = transport.document_seconds * (1 + _REDIRECTS)
        self._sleep, self._clock = sleep, clock
        self._slots = threading.BoundedSemaphore(DOWNLOADS)
        self._without_folder_until = 0.0

    def sized(self, wanted: Wanted) -> Wanted:
        """The file with its size. If the page doesn't say it, the file is downloaded."""
        if wanted.size is not None:
            return wanted
        file = self._opened(wanted)
        if file is None:
            stream = self._source.fetch(wanted)
            stream.close()
            size = content_length(stream.headers)
            if size is None:
                raise ProtocolError(f"{NAME} doesn't say how long {wanted.filename} is")
            return replace(wanted, size=size)
        with self._complete(wanted, file) as kept:
            return replace(wanted, size=os.fstat(kept.fileno()).st_size)

    def open(self, wanted: Wanted, span: range | None = None) -> Download:
        """The bytes of a file. A file that can't be kept is passed on whole, whatever the span."""
        wanted = self.sized(wanted)
        size = wanted.size or 0
        file = self._opened(wanted) if size <= self._folder.size else None
        if file is None:
            return Download(wanted, size, None, self._straight(wanted, size))
        if span is not None:
            file = self._complete(wanted, file)
            return Download(wanted, size, span, _part(file, span), file)
        return Download(wanted, size, None, self._verified(wanted, size, file), file)

    def _opened(self, wanted: Wanted) -> FileIO | None:
        """The file in the folder, complete or arriving; None if the folder can't be used. Raises what the
        download raises before its first byte.
        """
        kept = self._kept(wanted)
        if kept is not None or self._clock() < self._without_folder_until:
            return kept
        concern(self._source.host(wanted))
        try:
            reader, writer = self._folder.begin(wanted.sha256)
        except OSError as exc:
            self._do_without_folder(exc)
            return None
        if writer is None:
            return reader
        kept = self._kept(wanted)
        if kept is not None:  # it was committed in this moment
            reader.close()
            self._folder.abandon(wanted.sha256, writer)
            return kept
        try:
            self._start(wanted, writer)
        except BaseException:
            reader.close()
            raise
        return reader

    def _kept(self, wanted: Wanted) -> FileIO | None:
        kept = self._folder.kept(wanted.sha256)
        if kept is not None:
            if wanted.size in {None, os.fstat(kept.fileno()).st_size}:
                concern(None)
                return kept
            kept.close()
            self._folder.remove(wanted.sha256)
        return None

    def _start(self, wanted: Wanted, writer: FileIO) -> None:
        """Start the download, and wait until its answer begins."""
        if not self._slots.acquire(blocking=False):
            self._folder.abandon(wanted.sha256, writer)
            raise Unavailable("too many files of upstream are being downloaded; try again later")
        begun: Future[None] = Future()
        thread = threading.Thread(
            target=self._download, args=(wanted, writer, begun), name="upstream-file", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            self._slots.release()
            self._folder.abandon(wanted.sha256, writer)
            raise Exhausted(NO_MEMORY) from None
        try:
            result_of(begun, self._head_seconds)
        except TimeoutError:
            raise Unreachable(f"{NAME} did not answer in time") from None
        except PyOCIError as exc:
            raise exc.bare() from None

    def _download(self, wanted: Wanted, writer: FileIO, begun: Future[None]) -> None:
        try:
            stream = self._source.fetch(wanted)
            begun.set_result(None)
            try:
                self._receive(stream, wanted, writer)
            finally:
                stream.close()
            self._folder.commit(wanted.sha256, writer)
        except Exception as exc:  # noqa: BLE001  # the request that waits for it raises it
            reason = exc.message if isinstance(exc, PyOCIError) else type(exc).__name__
            self._events.warning("upstream", "file not downloaded", file=wanted.filename, reason=reason)
            if isinstance(exc, OSError):
                self._do_without_folder(exc)
            self._folder.abandon(wanted.sha256, writer)  # before its caller learns of it, and tries again
            if not begun.done():
                begun.set_exception(exc.bare() if isinstance(exc, PyOCIError) else _broken_off(wanted))
        finally:
            self._folder.abandon(wanted.sha256, writer)
            self._slots.release()

    def _receive(self, stream: Stream, wanted: Wanted, writer: FileIO) -> None:
        """Write the body to the folder. Raises ProtocolError if it isn't the file that the page names."""
        limit = self._folder.size if wanted.size is None else wanted.size
        announced = content_length(stream.headers) if wanted.size is None else wanted.size
        self._folder.sweep(min(announced or 0, self._folder.size))
        seen, count = hashlib.sha256(), 0
        for piece in stream.pieces(READ_PIECE):
            seen.update(piece)
            count += len(piece)
            if count > limit:
                raise ProtocolError(f"{NAME} sent more than {limit} bytes of {wanted.filename}")
            rest = memoryview(piece)
            while rest:
                rest = rest[writer.write(rest) :]
        if seen.hexdigest() != wanted.sha256 or wanted.size not in {None, count}:
            raise _wrong(wanted)

    def _complete(self, wanted: Wanted, file: FileIO) -> FileIO:
        """The complete and verified file. Waits while it arrives."""
        deadline = self._clock() + _COMPLETE
        with file:
            while True:
                arriving = is_arriving(file)
                kept = self._kept(wanted)
                if kept is not None:
                    return kept
                if not arriving:
                    raise _broken_off(wanted)
                if self._clock() > deadline:
                    raise Unreachable(f"{wanted.filename} takes too long to arrive; try again later")
                self._sleep(_PAUSE)

    def _verified(self, wanted: Wanted, size: int, file: FileIO) -> Iterator[bytes]:
        try:
            yield from _verified(self._arriving(wanted, size, file), wanted, size)
        except ProtocolError:
            self._folder.remove(wanted.sha256)  # the disk has changed it
            raise
        finally:
            file.close()

    def _arriving(self, wanted: Wanted, size: int, file: FileIO) -> Iterator[bytes]:
        """The bytes of a file in the folder, while it arrives."""
        count, deadline = 0, self._clock() + _STALL
        while count < size:
            arriving = is_arriving(file)  # before the read: what was written last is read then
            piece = file.read(min(READ_PIECE, size - count)) or b""
            if piece:
                count += len(piece)
                yield piece
                deadline = self._clock() + _STALL
            elif not arriving:
                raise _broken_off(wanted)
            elif self._clock() > deadline:
                raise Unreachable(f"{wanted.filename} stopped arriving; try again later")
            else:
                self._sleep(_PAUSE)

    def _straight(self, wanted: Wanted, size: int) -> Iterator[bytes]:
        """The bytes of a file that can't be kept, as they arrive."""
        stream = self._source.fetch(wanted)
        try:
            yield from _verified(stream.pieces(READ_PIECE), wanted, size)
        finally:
            stream.close()

    def _do_without_folder(self, exc: OSError) -> None:
        self._without_folder_until = self._clock() + _WITHOUT_FOLDER
        self._events.warning("upstream", "files can't be kept", reason=exc.strerror)


class _Source:
    """Requests files where upstream's pages say: at upstream's own origin, at a public host by https, or at
    one of `hosts`. Upstream's credentials are sent to its own origin alone.
    """

    def __init__(self, address: UpstreamAddress, transport: Transport, hosts: FileHosts) -> None:
        self._address, self._transport, self._hosts = address, transport, hosts

    def host(self, wanted: Wanted) -> Host | None:
        return self._call(wanted.url, at_home=True).asked_host

    def fetch(self, wanted: Wanted) -> Stream:
        """The answer with the whole file. Raises NotFound, Denied, ProtocolError, Unreachable."""
        call = self._call(wanted.url, at_home=True)
        for _ in range(1 + _REDIRECTS):
            try:
                stream = self._transport.stream(call)
            except Denied as exc:
                # The transport's message mentions registries, and may contain an internal host name.
                raise _refused() from exc
            if stream.status == 200:
                return stream
            stream.close()
            if stream.status not in _REDIRECTED:
                raise _failure(stream.status, wanted)
            url = model.url(stream.headers.get("location", ""), call.url)
            if url is None:
                raise ProtocolError(f"{NAME} redirects to an unusable URL")
            call = self._call(url, at_home="Authorization" in call.headers)
        raise ProtocolError(f"{NAME} redirects more than {_REDIRECTS} times")

    def _call(self, url: str, *, at_home: bool) -> Call:
        """The call for a URL; `at_home`: no other host has redirected here."""
        origin, own = origin_of(urlsplit(url)), self._address.origin
        headers = {}
        if origin == own:
            reach = Reach.LISTED
            if at_home and self._address.authorization is not None:
                headers["Authorization"] = self._address.authorization
        elif origin in self._hosts.origins:
            reach = Reach.LISTED
        elif origin[0] == "https":
            reach = Reach.VOUCHED
        else:
            raise _refused()
        return Call(method="GET", url=url, headers=headers, reach=reach, name=NAME, operation="upstream")


def _verified(pieces: Iterable[bytes], wanted: Wanted, size: int) -> Iterator[bytes]:
    """The pieces. The last one is yielded after all of them have been verified."""
    seen, count = hashlib.sha256(), 0
    for piece in pieces:
        seen.update(piece)
        count += len(piece)
        if count >= size:
            if count > size or seen.hexdigest() != wanted.sha256:
                raise _wrong(wanted)
            yield piece
            return
        yield piece
    if count < size:
        raise _broken_off(wanted)
    if seen.hexdigest() != wanted.sha256:
        raise _wrong(wanted)


def _part(file: FileIO, span: range) -> Iterator[bytes]:
    with file:
        file.seek(span.start)
        left = len(span)
        while left and (piece := file.read(min(READ_PIECE, left))):
            left -= len(piece)
            yield piece


def _wrong(wanted: Wanted) -> ProtocolError:
    return ProtocolError(f"{NAME} sent other bytes of {wanted.filename} than upstream's page says")


def _broken_off(wanted: Wanted) -> Unavailable:
    return Unavailable(f"the download of {wanted.filename} from upstream broke off; try again")


def _refused() -> ProtocolError:
    return ProtocolError(
        "upstream's page names an address for this file that may not be requested; expected one of upstream"
        " itself, a public one with https, or one that PYOCI_UPSTREAM_FILE_HOSTS lists"
    )


def _failure(status: int, wanted: Wanted) -> PyOCIError:
    if status in {404, 410}:
        return NotFound(f"upstream's page names {wanted.filename}, but {NAME} doesn't have it")
    if status == 401:
        return ProtocolError(f"{NAME} rejects the credentials of PYOCI_UPSTREAM_AUTH")
    if status in {403, 451}:
        return Denied(f"{NAME} does not give out {wanted.filename}")
    if status == 429 or status >= 500:
        return Unavailable(f"{NAME} can't answer now; try again later")
    return ProtocolError(f"{NAME} answered {status}; expected a file")
