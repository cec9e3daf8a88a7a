"""MetadataBackfill: METADATA of wheels that were published without it, read from the ends of the wheels."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Mapping

from cachetools import TTLCache

from pyoci.cache.backend import Backend
from pyoci.distributions.filenames import Wheel
from pyoci.distributions.members import METADATA_LIMIT
from pyoci.distributions.metadata import read_distant_metadata
from pyoci.errors import (
    Denied,
    InvalidRequest,
    NotFound,
    NotSupported,
    PyOCIError,
    RequestEnded,
    Unauthorized,
)
from pyoci.oci.distant import DistantBlob
from pyoci.oci.errors import RegistryRefused
from pyoci.oci.references import Digest
from pyoci.store.models import PackageFile
from pyoci.store.project import StoredProject

WHEELS = 4000  # remembered of one repository; the oldest is forgotten first
_RECORD_LIMIT = 200 * WHEELS  # bytes; a wheel takes 136
_READ_LIMIT = METADATA_LIMIT + 1024 * 1024  # bytes: a zip's directory too
_FAILURES = 10_000
_FAILURE_SECONDS = 3600.0
_PATIENCE = 15.0  # seconds to wait for another request that reads the same METADATA
_RECORD_PATIENCE = 5.0  # seconds to wait for others that write the same record
_HEX = re.compile(r"[0-9a-f]*")


class MetadataBackfill:
    """Reads METADATA of wheels, and remembers it. One for the server, used by all threads.

    Cache keys have origin, repository and digest, never a digest alone: anyone who may push to one repository
    could put the digest of another repository's file there. A wheel of more than 66 KiB is read only in part,
    so its digest can't be verified: the registry is trusted. Name and version must match the file name.
    """

    def __init__(self, backend: Backend, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._backend = backend
        self._guard = threading.Lock()
        self._failures: TTLCache[str, None] = TTLCache(_FAILURES, _FAILURE_SECONDS, clock)

    def known(self, project: StoredProject) -> Mapping[str, str]:
        """The wheels whose METADATA is remembered: SHA-256 of the wheel to SHA-256 of METADATA, in hex. It is
        one look-up in the cache.
        """
        return _parsed(self._backend.get(_record_key(project)), project.cache.key)

    def fill_in(self, project: StoredProject, file: PackageFile) -> str | None:
        """Read a wheel's METADATA unless it is known. The registry has just let the caller read the wheel.

        Returns the SHA-256 of METADATA in hex. Returns None for an sdist, while another request is reading
        it, and if it can't be read. After a failure nobody tries again for an hour, unless the registry has
        refused this caller. Never raises.
        """
        if not isinstance(file.distribution, Wheel):
            return None
        known = self.known(project).get(file.sha256)
        if known is not None or self._is_hopeless(project, file):
            return known
        with self._backend.lock(_key(project, file), 0) as mine:
            if not mine:
                return None
            known = self.known(project).get(file.sha256)
            if known is not None:
                return known
            try:
                text = _read(project, file)
            except RequestEnded:
                return None  # the next request may read it
            except PyOCIError as exc:
                self._failed(project, file, exc)
                return None
            return self._remember(project, file, text)

    def text(self, project: StoredProject, file: PackageFile) -> bytes | None:
        """METADATA, byte-exact: remembered, or read again, because a page may have announced it. None if the
        file has no METADATA that can be read.

        Only for a caller whom the registry has let read: if METADATA is remembered, the registry isn't asked.
        Raises the registry's refusal.
        """
        if not isinstance(file.distribution, Wheel):
            return None
        text = self._recall(project, file)
        if text is not None or (self._is_hopeless(project, file) and file.sha256 not in self.known(project)):
            return text
        with self._backend.lock(_key(project, file), _PATIENCE):
            text = self._recall(project, file)
            if text is not None:
                return text
            try:
                text = _read(project, file)
            except (InvalidRequest, NotSupported) as exc:
                if isinstance(exc, RegistryRefused):
                    raise
                self._failed(project, file, exc)
                return None
            self._remember(project, file, text)
            return text

    def _recall(self, project: StoredProject, file: PackageFile) -> bytes | None:
        """METADATA from the backend, if its hash is the recorded one."""
        text = self._backend.get(_key(project, file))
        if text is None or _sha256(text) != self.known(project).get(file.sha256):
            return None
        return text

    def _remember(self, project: StoredProject, file: PackageFile, text: bytes) -> str | None:
        """The hash of `text`; None if the backend didn't store it, so that no page announces it."""
        sha256, record = _sha256(text), _record_key(project)
        # METADATA is stored before the record of it, because pages announce what is recorded.
        self._backend.put(_key(project, file), text)
        with self._backend.lock(record, _RECORD_PATIENCE) as mine:
            known = dict(self.known(project)) if mine else {}
            is_new = known.pop(file.sha256, None) != sha256
            known[file.sha256] = sha256
            if mine:
                self._backend.put(record, _written(project.cache.key, known))
        if self._recall(project, file) is None:
            if mine:  # else others were writing for too long, and the next download tries again
                self._give_up(project, file)
            return None
        if is_new:
            project.cache.invalidate_pages()
        return sha256

    def _is_hopeless(self, project: StoredProject, file: PackageFile) -> bool:
        with self._guard:
            return _key(project, file) in self._failures

    def _give_up(self, project: StoredProject, file: PackageFile) -> None:
        with self._guard:
            self._failures[_key(project, file)] = None

    def _failed(self, project: StoredProject, file: PackageFile, exc: PyOCIError) -> None:
        if not isinstance(exc, Unauthorized | Denied | NotFound):  # another caller may succeed
            self._give_up(project, file)
        project.events.warning(
            "store",
            "METADATA not read",
            repository=str(project.repository),
            file=file.filename,
            why=exc.message,
        )


def _read(project: StoredProject, file: PackageFile) -> bytes:
    """METADATA from the wheel's end."""
    wheel = file.distribution
    assert isinstance(wheel, Wheel)  # the callers have returned for an sdist
    blob = DistantBlob(project.session, project.repository, Digest("sha256", file.sha256), limit=_READ_LIMIT)
    metadata = read_distant_metadata(blob, wheel)
    if not metadata.is_utf8:
        # For such a `.metadata` file pip shows a traceback; for such a wheel it shows a message.
        raise InvalidRequest("METADATA is not UTF-8; expected core metadata")
    project.events.debug(
        "store",
        "METADATA read",
        repository=str(project.repository),
        file=file.filename,
        requests=blob.requests,
        bytes=blob.fetched,
    )
    return metadata.text


def _key(project: StoredProject, file: PackageFile) -> str:
    return f"METADATA\0{project.cache.key}\0{file.sha256}"


def _record_key(project: StoredProject) -> str:
    return f"learned\0{project.cache.key}"


def _sha256(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _written(repository: str, known: Mapping[str, str]) -> bytes:
    newest = dict(list(known.items())[-WHEELS:])
    return json.dumps({"of": repository, "wheels": newest}, separators=(",", ":")).encode()


def _parsed(record: bytes | None, repository: str) -> Mapping[str, str]:
    """The hashes in a record; none if it is broken, or is that of another repository."""
    try:
        document = json.loads(record) if record and len(record) <= _RECORD_LIMIT else None
    except (ValueError, RecursionError):
        return {}
    if not isinstance(document, dict) or document.get("of") != repository:
        return {}
    wheels = document.get("wheels")
    return wheels if isinstance(wheels, dict) and _are_hashes([*wheels, *wheels.values()]) else {}


def _are_hashes(values: list[object]) -> bool:
    """Whether each value is a SHA-256 in hex. They are matched together, because there may be thousands."""
    texts = [value for value in values if isinstance(value, str) and len(value) == 64]
    return len(texts) == len(values) and _HEX.fullmatch("".join(texts)) is not None
