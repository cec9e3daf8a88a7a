"""MetadataBackfill: METADATA of wheels whose publisher kept none, read from their ends."""

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
from pyoci.errors import Denied, InvalidRequest, NotFound, NotSupported, PyOCIError, Unauthorized
from pyoci.events import Events
from pyoci.oci.distant import DistantBlob
from pyoci.oci.errors import RegistryRefused
from pyoci.oci.references import Digest, Repository
from pyoci.oci.session import OCISession
from pyoci.store.models import PackageFile

WHEELS = 4000  # of one repository that are remembered; the one learned first goes first
_RECORD_LIMIT = 200 * WHEELS  # bytes; a wheel takes 136
_READ_LIMIT = METADATA_LIMIT + 1024 * 1024  # bytes: a zip's directory too
_FAILURES = 10_000
_FAILURE_SECONDS = 3600.0
_PATIENCE = 15.0  # seconds to wait for another who reads the same METADATA
_RECORD_PATIENCE = 5.0  # seconds to wait for others who write into the same record
_HEX = re.compile(r"[0-9a-f]*")


class MetadataBackfill:
    """Which wheels' METADATA was read once, and METADATA itself. One for the server, used by all threads.

    Keys are (origin, repository, digest), never a digest alone: whoever may push to one repository could name
    another's there. What a wheel's METADATA says is the word of the registry that was asked: only a part of
    the wheel is read, so only a wheel of up to 66 KiB can be verified by its digest. It is what a download
    from there would have shown; name and version have to be those of the file name.
    """

    def __init__(
        self,
        backend: Backend,
        events: Events | None = None,
        *,
        changed: Callable[[Repository], None] = lambda repository: None,
        key_of: Callable[[Repository], str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`changed` is called after something new was remembered, so that the project's page shows it;
        `key_of` gives what a repository is kept under.
        """
        self._backend = backend
        self._events = events or Events()
        self._changed = changed
        self._key_of = key_of or _plain
        self._guard = threading.Lock()
        self._failures: TTLCache[str, None] = TTLCache(_FAILURES, _FAILURE_SECONDS, clock)

    def known(self, repository: Repository) -> Mapping[str, str]:
        """Whose METADATA is remembered: sha256 hex of the wheel to that of its METADATA. One look-up."""
        return _parsed(self._backend.get(self._record_key(repository)), self._key_of(repository))

    def learn(self, session: OCISession, repository: Repository, file: PackageFile) -> str | None:
        """Read a wheel's METADATA unless it is known, for a caller who has just read of the wheel itself.

        Its sha256; None where it is no wheel, where somebody else is reading it at the moment, and where it
        can't be read: then nobody tries again for an hour, unless this caller was refused. Never raises.
        """
        if not isinstance(file.distribution, Wheel):
            return None
        known = self.known(repository).get(file.sha256)
        if known is not None or self._is_hopeless(repository, file):
            return known
        with self._backend.lock(self._key(repository, file), 0) as mine:
            if not mine:
                return None
            known = self.known(repository).get(file.sha256)
            if known is not None:
                return known
            try:
                text = self._read(session, repository, file)
            except PyOCIError as exc:
                self._told_failure(repository, file, exc)
                return None
            return self._remember(repository, file, text)

    def text(self, session: OCISession, repository: Repository, file: PackageFile) -> bytes | None:
        """METADATA, byte-exact: remembered, else read, for what a page announced must not be missing.

        Never for a caller whom the registry has not let in: what is remembered is given without asking it.
        Raises what the registry says where that is asked; None where there is no METADATA to be had.
        """
        if not isinstance(file.distribution, Wheel):
            return None
        text = self._recall(repository, file)
        if text is not None or (self._is_hopeless(repository, file) and not self._is_known(repository, file)):
            return text
        with self._backend.lock(self._key(repository, file), _PATIENCE):
            text = self._recall(repository, file)
            if text is not None:
                return text
            try:
                text = self._read(session, repository, file)
            except (InvalidRequest, NotSupported) as exc:
                if isinstance(exc, RegistryRefused):
                    raise
                self._told_failure(repository, file, exc)
                return None
            self._remember(repository, file, text)
            return text

    def _read(self, session: OCISession, repository: Repository, file: PackageFile) -> bytes:
        wheel = file.distribution
        assert isinstance(wheel, Wheel)  # nobody asks for an sdist's
        blob = DistantBlob(session, repository, Digest("sha256", file.sha256), limit=_READ_LIMIT)
        metadata = read_distant_metadata(blob, wheel)
        if not metadata.is_utf8:
            # pip ends with a traceback at such a `.metadata`, and with a sentence at such a wheel.
            raise InvalidRequest("METADATA is not UTF-8; expected core metadata")
        self._events.debug(
            "store",
            "metadata learned",
            repository=str(repository),
            file=file.filename,
            requests=blob.requests,
            bytes=blob.fetched,
        )
        return metadata.text

    def _recall(self, repository: Repository, file: PackageFile) -> bytes | None:
        """METADATA as the backend has it, if it has the hash that the record says."""
        text = self._backend.get(self._key(repository, file))
        if text is None or _sha256(text) != self.known(repository).get(file.sha256):
            return None
        return text

    def _remember(self, repository: Repository, file: PackageFile, text: bytes) -> str | None:
        """The hash of `text`; None where it wasn't kept, so that no page announces it."""
        sha256 = _sha256(text)
        # First what is announced, then the announcement.
        self._backend.put(self._key(repository, file), text)
        with self._backend.lock(self._record_key(repository), _RECORD_PATIENCE) as mine:
            known = dict(self.known(repository)) if mine else {}
            news = known.pop(file.sha256, None) != sha256
            known[file.sha256] = sha256
            if mine:
                self._backend.put(self._record_key(repository), _written(self._key_of(repository), known))
        if self._recall(repository, file) is None:
            if mine:  # else others were writing for too long, and the next download tries again
                self._give_up(repository, file)
            return None
        if news:
            self._changed(repository)
        return sha256

    def _is_known(self, repository: Repository, file: PackageFile) -> bool:
        return file.sha256 in self.known(repository)

    def _is_hopeless(self, repository: Repository, file: PackageFile) -> bool:
        with self._guard:
            return self._key(repository, file) in self._failures

    def _give_up(self, repository: Repository, file: PackageFile) -> None:
        with self._guard:
            self._failures[self._key(repository, file)] = None

    def _key(self, repository: Repository, file: PackageFile) -> str:
        return f"METADATA\0{self._key_of(repository)}\0{file.sha256}"

    def _record_key(self, repository: Repository) -> str:
        return f"learned\0{self._key_of(repository)}"

    def _told_failure(self, repository: Repository, file: PackageFile, exc: PyOCIError) -> None:
        if not isinstance(exc, Unauthorized | Denied | NotFound):  # that is about the caller: another may
            self._give_up(repository, file)
        self._events.warning(
            "store", "metadata not learned", repository=str(repository), file=file.filename, why=exc.message
        )


def _plain(repository: Repository) -> str:
    return f"{repository.registry.origin}\0{repository.name}"


def _sha256(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _written(place: str, known: Mapping[str, str]) -> bytes:
    newest = dict(list(known.items())[-WHEELS:])
    return json.dumps({"of": place, "wheels": newest}, separators=(",", ":")).encode()


def _parsed(record: bytes | None, place: str) -> Mapping[str, str]:
    """What a record says; nothing where it is broken, or another's."""
    try:
        document = json.loads(record) if record and len(record) <= _RECORD_LIMIT else None
    except (ValueError, RecursionError):
        return {}
    if not isinstance(document, dict) or document.get("of") != place:
        return {}
    wheels = document.get("wheels")
    return wheels if isinstance(wheels, dict) and _are_hashes([*wheels, *wheels.values()]) else {}


def _are_hashes(values: list[object]) -> bool:
    """Whether each is the hex of a sha256; all at once, for there may be thousands."""
    texts = [value for value in values if isinstance(value, str) and len(value) == 64]
    return len(texts) == len(values) and _HEX.fullmatch("".join(texts)) is not None
