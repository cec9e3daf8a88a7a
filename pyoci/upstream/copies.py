"""Copies: a store that has copies of upstream's files. CopiesFirst: fetches files from there, or else from
upstream.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from pyoci.errors import NotFound, ProtocolError, PyOCIError, RequestEnded
from pyoci.events import Events
from pyoci.request_scope import Host
from pyoci.simple_api.model import File, Page, version_of
from pyoci.upstream.client import UpstreamPage
from pyoci.upstream.file_source import Body, FileSource, Wanted
from pyoci.upstream.folder import Folder

if TYPE_CHECKING:
    from pyoci.upstream.files import UpstreamFiles

PROVENANCE_LIMIT = 256 * 1024  # bytes
OFFLINE = "PYOCI_UPSTREAM_OFFLINE keeps PyOCI from asking for more"


class Copies(Protocol):
    """A store of copies. Methods raise PyOCIError if the store can't be asked."""

    def page(self, name: str) -> UpstreamPage | None:
        """The page of a project, by its normalised name, with the files that are stored; None if there are
        none.
        """
        ...

    def open(self, wanted: Wanted) -> Body | None:
        """The bytes of a file, or of its METADATA; None if they aren't stored."""
        ...

    def provenance(self, wanted: Wanted) -> bytes | None:
        """The provenance of a file; None if it isn't stored."""
        ...

    def offer(self, wanted: Wanted, files: UpstreamFiles) -> None:
        """Store a file that was served, later and in another thread, which reads it from `files`."""
        ...

    def quarantine(self, name: str, reason: str) -> None:
        """Note, later and in another thread, that upstream has quarantined a project (PEP 792)."""
        ...


@dataclass(frozen=True, slots=True)
class KeptFiles:
    """The files that are kept here: copies, and those in the folder."""

    copies: Copies | None = None
    folder: Folder | None = None

    def page(self, name: str, known: UpstreamPage | None) -> UpstreamPage | None:
        """The page of a project with the files that are kept. Files in the folder are found by the `known`
        page of upstream. None if there are none. Raises PyOCIError if the copies can't be read.
        """
        copied = self.copies.page(name) if self.copies is not None else None
        if known is None:
            return copied
        if known.status is not None and known.status.is_quarantined:
            return replace(known, files=())
        in_store = {file.hashes.get("sha256"): file for file in copied.files} if copied is not None else {}
        in_folder = self.folder.names() if self.folder is not None else frozenset()
        files = [kept for file in known.files if (kept := _as_kept(file, in_store.keys(), in_folder))]
        named = {file.filename for file in known.files}
        files += [file for file in in_store.values() if file.filename not in named]
        if not files:
            return None
        versions = dict.fromkeys(str(found) for file in files if (found := version_of(file)) is not None)
        return UpstreamPage.of(
            Page(name=known.name, files=tuple(files), versions=tuple(versions), status=known.status)
        )


def _as_kept(file: File, in_store: Container[str | None], in_folder: Container[str]) -> File | None:
    """A file of upstream's page, without its METADATA if that isn't kept; None if it isn't kept itself."""
    sha256 = file.hashes.get("sha256")
    if sha256 is None or sha256 in in_store:
        return None if sha256 is None else file
    if sha256 not in in_folder:
        return None
    metadata = file.core_metadata
    is_kept = isinstance(metadata, dict) and metadata.get("sha256") in in_folder
    return file if is_kept else file._replace(core_metadata=None)


class CopiesFirst:
    """A source of files that asks `copies` first. If it is `offline`, it never asks upstream."""

    def __init__(
        self, source: FileSource, copies: Copies | None, events: Events, *, offline: bool = False
    ) -> None:
        self._source, self._copies, self._events = source, copies, events
        self._offline = offline

    def host(self, wanted: Wanted) -> Host | None:
        """The host that a request for the file waits for, as far as that is known before."""
        if self._offline:
            return None
        try:
            return self._source.host(wanted)
        except ProtocolError:  # a copy of it may be served; without one, `fetch` raises this
            return None

    def fetch(self, wanted: Wanted) -> Body:
        """The bytes of the file. If the store breaks off, the rest comes from upstream."""
        body = self._copy(wanted)
        if body is not None:
            return body if self._offline else Body(body.size, self._completed(wanted, body), body.close)
        if self._offline:
            raise NotFound(f"{wanted.filename} is not stored here, and {OFFLINE}")
        return self._source.fetch(wanted)

    def provenance(self, file: File) -> str:
        """The provenance of a file, as upstream has it (PEP 740). Raises NotFound if it has none."""
        if file.provenance is None or self._offline:
            raise NotFound(f"there is no provenance of {file.filename}")
        content = self._source.document(file.provenance, PROVENANCE_LIMIT)
        try:
            document = json.loads(content)
            text = content.decode()
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise ProtocolError(f"the provenance of {file.filename} is no JSON object")
        return text

    def _copy(self, wanted: Wanted) -> Body | None:
        if self._copies is None:
            return None
        try:
            return self._copies.open(wanted)
        except RequestEnded:
            raise
        except PyOCIError as exc:
            if self._offline:
                raise
            self._report(wanted, exc)
            return None

    def _completed(self, wanted: Wanted, body: Body) -> Iterator[bytes]:
        count = 0
        try:
            for piece in body.pieces:
                yield piece
                count += len(piece)
            return
        except RequestEnded:
            raise
        except PyOCIError as exc:
            self._report(wanted, exc)
        rest = self._source.fetch(wanted)
        try:
            for piece in rest.pieces:
                if count < len(piece):
                    yield piece[count:]
                count = max(count - len(piece), 0)
        finally:
            rest.close()

    def _report(self, wanted: Wanted, exc: PyOCIError) -> None:
        self._events.count("copies", "unreadable")
        self._events.warning("upstream", "copy not read", file=wanted.filename, reason=exc.message)
