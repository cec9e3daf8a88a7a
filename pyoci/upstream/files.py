"""UpstreamFiles: files of upstream's pages, downloaded once for all callers, verified, and kept in a folder.

A thread of its own downloads a file into the folder. Callers read the file there while it arrives, so a slow
client delays nobody. Whoever serves a file has to check first that the caller may see upstream's page.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from io import FileIO
from typing import BinaryIO

from pyoci import request_scope
from pyoci.cache.backend import Backend
from pyoci.cache.memory import MemoryBackend
from pyoci.errors import (
    NO_MEMORY,
    Exhausted,
    ProtocolError,
    PyOCIError,
    Unavailable,
    Unreachable,
)
from pyoci.events import Events
from pyoci.net.transport import Transport
from pyoci.request_scope import concern, result_of
from pyoci.simple_api.model import File
from pyoci.upstream.address import FileHosts, UpstreamAddress
from pyoci.upstream.arrivals import PAUSE, Arrivals
from pyoci.upstream.copies import Copies, CopiesFirst
from pyoci.upstream.file_source import (
    NAME,
    REDIRECTS,
    Body,
    FileSource,
    Wanted,
    broken_off,
    verified,
    wrong_bytes,
)
from pyoci.upstream.folder import DamagedCopy, Folder
from pyoci.upstream.parts import VerifiedParts
from pyoci.upstream.provenance import ProvenanceCache

DOWNLOADS = 16  # at once in one process
_TURN = 10.0  # seconds that a request waits until one of them has ended; uv asks for 50 files at once
_ATTEMPTS = 3  # to get a file whose download fails for other requests
_WITHOUT_FOLDER = 60.0  # seconds for which files aren't kept after the folder couldn't be written


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


class _Downloads:
    """Downloads files into the folder, each in a thread of its own. `disk_failed` is called if the folder
    can't be written.
    """

    def __init__(
        self,
        source: CopiesFirst,
        folder: Folder,
        events: Events,
        head_seconds: float,
        disk_failed: Callable[[OSError], None],
        sleep: Callable[[float], None],
        clock: Callable[[], float],
    ) -> None:
        self._source, self._folder, self._events = source, folder, events
        self._head_seconds, self._disk_failed = head_seconds, disk_failed
        self._sleep, self._clock = sleep, clock
        self._slots = threading.BoundedSemaphore(DOWNLOADS)

    def start(self, wanted: Wanted, writer: FileIO) -> None:
        """Start the download, and wait until its answer begins."""
        try:
            self._wait_for_turn()
        except BaseException:
            self._folder.abandon(wanted.sha256, writer)
            raise
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

    def _wait_for_turn(self) -> None:
        deadline = self._clock() + _TURN
        while not self._slots.acquire(blocking=False):
            if self._clock() > deadline:
                raise Unavailable("too many files of upstream are being downloaded; try again later")
            self._sleep(PAUSE)

    def _download(self, wanted: Wanted, writer: FileIO, begun: Future[None]) -> None:
        try:
            body = self._source.fetch(wanted)
            begun.set_result(None)
            try:
                self._receive(body, wanted, writer)
            finally:
                body.close()
            self._folder.commit(wanted.sha256, writer)
        except Exception as exc:  # noqa: BLE001  # the request that waits for it raises it
            reason = exc.message if isinstance(exc, PyOCIError) else type(exc).__name__
            self._events.warning("upstream", "file not downloaded", **wanted.facts, reason=reason)
            if isinstance(exc, OSError):
                self._disk_failed(exc)
            self._folder.abandon(wanted.sha256, writer)  # before its caller learns of it, and tries again
            if not begun.done():
                begun.set_exception(exc.bare() if isinstance(exc, PyOCIError) else broken_off(wanted))
        finally:
            self._folder.abandon(wanted.sha256, writer)
            self._slots.release()

    def _receive(self, body: Body, wanted: Wanted, writer: FileIO) -> None:
        """Write the body to the folder. Raises ProtocolError if it isn't the file that the page names."""
        limit = self._folder.size if wanted.size is None else wanted.size
        announced = body.size if wanted.size is None else wanted.size
        self._folder.sweep(min(announced or 0, self._folder.size))
        seen, count = hashlib.sha256(), 0
        for piece in body.pieces:
            seen.update(piece)
            count += len(piece)
            if count > limit:
                raise ProtocolError(f"{NAME} sent more than {limit} bytes of {wanted.filename}")
            rest = memoryview(piece)
            while rest:
                rest = rest[writer.write(rest) :]
        if seen.hexdigest() != wanted.sha256 or wanted.size not in {None, count}:
            raise wrong_bytes(wanted)


class UpstreamFiles:
    """One for the process. `hosts` are the further hosts that files may come from. `provenances` has the
    provenance of files.
    """

    def __init__(
        self,
        address: UpstreamAddress,
        transport: Transport,
        folder: Folder,
        hosts: FileHosts,
        *,
        backend: Backend | None = None,
        events: Events | None = None,
        sleep: Callable[[float], None] = request_scope.sleep,
        clock: Callable[[], float] = time.monotonic,
        copies: Copies | None = None,
        offline: bool = False,
    ) -> None:
        """`copies` are asked before upstream, and are offered what was served. If it is `offline`, upstream
        is never asked.
        """
        self._copies = None if offline else copies
        self._events = events or Events()
        self._source = CopiesFirst(
            FileSource(address, transport, hosts), copies, self._events, offline=offline
        )
        self._folder, self._parts = folder, VerifiedParts(folder)
        self._arrivals = Arrivals(folder, sleep, clock)
        self.provenances = ProvenanceCache(
            self.provenance, backend or MemoryBackend(), copies, offline=offline, events=self._events
        )
        seconds = transport.document_seconds * (1 + REDIRECTS)
        self._downloads = _Downloads(
            self._source, folder, self._events, seconds, self._do_without_folder, sleep, clock
        )
        self._clock, self._without_folder_until = clock, 0.0

    def sized(self, wanted: Wanted) -> Wanted:
        """The file with its size. If the page doesn't say it, the file is downloaded."""
        if wanted.size is not None:
            return wanted
        file = self._opened(wanted)
        if file is None:
            body = self._source.fetch(wanted)
            body.close()
            if body.size is None:
                raise ProtocolError(f"{NAME} doesn't say how long {wanted.filename} is")
            return replace(wanted, size=body.size)
        with self._arrivals.complete(wanted, file) as kept:
            return replace(wanted, size=os.fstat(kept.fileno()).st_size)

    def open(self, wanted: Wanted, span: range | None = None) -> Download:
        """The bytes of a file. A file that can't be kept is passed on whole, whatever the span."""
        wanted = self.sized(wanted)
        size = wanted.size or 0
        file = self._opened(wanted) if size <= self._folder.size else None
        if file is None:
            return Download(wanted, size, None, self._offered(wanted, self._straight(wanted, size)))
        pieces = self._from_folder(wanted, size, span, file)
        return Download(wanted, size, span, self._offered(wanted, pieces), file)

    def whole(self, wanted: Wanted) -> BinaryIO:
        """The whole file, verified, for reading and seeking. It is fetched again if it isn't kept. Raises
        DamagedCopy if the disk has changed it, and removes it then.
        """
        wanted = self.sized(wanted)
        size = wanted.size or 0
        kept = self._opened(wanted) if size <= self._folder.size else None
        with ExitStack() as opened:
            if kept is not None:
                complete = opened.enter_context(self._arrivals.complete(wanted, kept))
                if hashlib.file_digest(complete, "sha256").hexdigest() != wanted.sha256:
                    self._folder.remove(wanted.sha256)
                    self._report_damaged(wanted)
                    raise DamagedCopy(wanted.filename)
                complete.seek(0)
                opened.pop_all()
                return complete
            file = opened.enter_context(tempfile.TemporaryFile())
            for piece in self._straight(wanted, size):
                file.write(piece)
            file.seek(0)
            opened.pop_all()
        return file

    def provenance(self, file: File) -> str:
        """The provenance of a file, as upstream has it (PEP 740). Raises NotFound if it has none."""
        return self._source.provenance(file)

    def _offered(self, wanted: Wanted, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The pieces. After the last one the file is offered to the copies."""
        yield from pieces
        if self._copies is not None and not wanted.is_metadata:
            self._copies.offer(wanted, self)

    def _opened(self, wanted: Wanted) -> FileIO | None:
        """The file in the folder, complete or arriving; None if the folder can't be used. Raises what the
        download raises before its first byte.
        """
        for _ in range(_ATTEMPTS):
            kept = self._arrivals.kept(wanted)
            if kept is not None or self._clock() < self._without_folder_until:
                return kept
            concern(self._source.host(wanted))
            try:
                reader, writer = self._folder.begin(wanted.sha256)
            except OSError as exc:
                self._do_without_folder(exc)
                return None
            if writer is not None:
                return self._started(wanted, reader, writer)
            if self._arrivals.has_begun(reader):
                return reader
            reader.close()  # the download has failed for others, and is tried again
        raise Unavailable(f"{wanted.filename} could not be fetched for other requests; try again later")

    def _started(self, wanted: Wanted, reader: FileIO, writer: FileIO) -> FileIO:
        kept = self._arrivals.kept(wanted)
        if kept is not None:  # it was committed in this moment
            reader.close()
            self._folder.abandon(wanted.sha256, writer)
            return kept
        try:
            self._downloads.start(wanted, writer)
        except BaseException:
            reader.close()
            raise
        return reader

    def _from_folder(self, wanted: Wanted, size: int, span: range | None, file: FileIO) -> Iterator[bytes]:
        """The bytes of a file in the folder. If the disk has changed it, it is fetched again, unless the
        first bytes were passed on already.
        """
        has_begun = False
        try:
            for piece in self._read(wanted, size, span, file):
                has_begun = True
                yield piece
            return
        except DamagedCopy:
            self._report_damaged(wanted)
            again = None if has_begun else self._opened(wanted)
            if again is None:
                raise
        yield from self._read(wanted, size, span, again)

    def _read(self, wanted: Wanted, size: int, span: range | None, file: FileIO) -> Iterator[bytes]:
        if span is None:
            return self._arrivals.read(wanted, size, file)
        return self._parts.read(wanted, self._arrivals.complete(wanted, file), span)

    def _report_damaged(self, wanted: Wanted) -> None:
        self._events.warning("upstream", "cached file was damaged", **wanted.facts)

    def _straight(self, wanted: Wanted, size: int) -> Iterator[bytes]:
        """The bytes of a file that can't be kept, as they arrive."""
        body = self._source.fetch(wanted)
        try:
            yield from verified(body.pieces, wanted, size)
        finally:
            body.close()

    def _do_without_folder(self, exc: OSError) -> None:
        self._without_folder_until = self._clock() + _WITHOUT_FOLDER
        self._events.warning("upstream", "files can't be cached", reason=exc.strerror)
