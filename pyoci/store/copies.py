"""StoredCopies: copies of upstream's files in a namespace of the operator's, with the operator's credentials.

They are ordinary packages. Callers don't ask for them: they ask for upstream's page and its files, and these
come from here if upstream can't be asked for them.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from cachetools import LRUCache, TTLCache

import pyoci
from pyoci.distributions.names import ProjectName
from pyoci.errors import (
    Denied,
    InvalidRequest,
    NotFound,
    PyOCIError,
    RateLimited,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from pyoci.events import Events
from pyoci.oci.credentials import Credentials
from pyoci.oci.errors import RegistryFailed
from pyoci.oci.references import Repository
from pyoci.simple_api.model import File
from pyoci.store.copying import CopyJob, CopyQueue, KeptFile
from pyoci.store.models import FileStream, Imported, Namespace, PackageFile, ProjectPage
from pyoci.store.service import PackageStore
from pyoci.store.status import REASON_LIMIT, yank_reason
from pyoci.upstream.client import UpstreamPage
from pyoci.upstream.file_source import Body, Wanted
from pyoci.upstream.files import UpstreamFiles

_REST = 30.0  # seconds for which a store that didn't answer isn't asked
_MISSING = 60.0  # seconds for which a file is known to be missing, or its bytes to be unreadable
_FILES = 10_000  # files of which that is known
_PAGES = 256  # pages that are kept in upstream's form
_LOGIN = 60.0  # seconds for which the operator's credentials are used before they are read again

Stored = tuple[str, str]  # the names of a project and a file


class OperatorLogin:
    """The operator's credentials for the store's registry, read again after a minute or a refusal."""

    def __init__(self, read: Callable[[], Credentials], clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._guard = threading.Lock()
        self._known: TTLCache[str, Credentials] = TTLCache(1, _LOGIN, timer=clock)

    def __call__(self) -> Credentials:
        """The credentials. Raises Unauthorized if they can't be read."""
        with self._guard:
            known = self._known.get("")
            if known is None:
                known = self._known[""] = self._read()
            return known

    def forget(self) -> None:
        """Read them again the next time."""
        with self._guard:
            self._known.clear()


class StoredCopies:
    """One for the process. `store` asks no other package index."""

    def __init__(
        self,
        store: PackageStore,
        namespace: Namespace,
        login: OperatorLogin,
        events: Events,
        *,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._namespace, self._login, self._events = store, namespace, login, events
        self._clock = clock
        self._resting_until = 0.0
        self._guard = threading.Lock()
        self._missing: TTLCache[Stored, bool] = TTLCache(_FILES, _MISSING, timer=clock)
        self._pages: LRUCache[str, tuple[str, UpstreamPage]] = LRUCache(_PAGES)
        self.queue = CopyQueue(events, pause=pause, clock=clock)

    def page(self, name: str) -> UpstreamPage | None:
        """The page of a project, with the files that are stored; None if there are none."""
        try:
            with self._asking():
                project, login = ProjectName.parse(name), self._login()
                page = self._store.find(self._namespace, project, login, ask_upstream=False)
        except (NotFound, InvalidRequest):
            return None
        except (Unauthorized, Denied) as exc:  # some registries deny what they don't have
            self._report(exc)
            return None
        if not isinstance(page, ProjectPage) or not (page.files or page.withheld):
            return None
        with self._guard:
            known = self._pages.get(name)
        if known is not None and page.fingerprint and known[0] == page.fingerprint:
            return known[1]
        # Its URL isn't known, nor requested: `provenance` reads it.
        made = UpstreamPage.of(page.as_page(_url, lambda file: _url(file) if file.provenance else None))
        with self._guard:
            self._pages[name] = page.fingerprint, made
        return made

    def open(self, wanted: Wanted) -> Body | None:
        """The bytes of a file, or of its METADATA; None if they aren't stored. Raises PyOCIError."""
        if wanted.entry is None:
            return None
        place = wanted.project, wanted.entry.filename
        with self._guard:
            if place in self._missing:
                return None
        try:
            with self._asking():
                if wanted.is_metadata:
                    return self._metadata(wanted, wanted.entry)
                stream = self._store.open(*self._address(wanted, wanted.entry), sha256=wanted.sha256)
        except (NotFound, InvalidRequest):
            self._miss(place)
            return None
        except (Unauthorized, Denied) as exc:
            self._report(exc)
            self._miss(place)
            return None
        return Body(stream.size, self._pieces(stream, place), stream.close)

    def provenance(self, wanted: Wanted) -> bytes | None:
        """The provenance of a file; None if it isn't stored. Raises PyOCIError."""
        if wanted.entry is None:
            return None
        sha256 = wanted.entry.hashes.get("sha256", "")
        try:
            with self._asking():
                return self._store.provenance(*self._address(wanted, wanted.entry), sha256=sha256)
        except (NotFound, InvalidRequest):
            return None

    def offer(self, wanted: Wanted, files: UpstreamFiles) -> None:
        """Store a file that was served, later and in another thread."""
        yanked = wanted.entry.yanked if wanted.entry is not None else None
        key, state = (wanted.project, wanted.filename, wanted.sha256), ("kept", yanked)
        self.queue.offer(CopyJob(key, state, wanted.filename, lambda: self.keep(wanted, files)))

    def quarantine(self, name: str, reason: str) -> None:
        """Note, later and in another thread, that upstream has quarantined a project. Its copies are offered
        no more, until somebody ends that in the registry.
        """
        self.queue.offer(CopyJob(name, None, name, lambda: self._quarantine(name, reason)))

    def _quarantine(self, name: str, reason: str) -> str:
        try:
            project, login = ProjectName.parse(name), self._login()
            page = self._store.find(self._namespace, project, login, ask_upstream=False)
        except (NotFound, Unauthorized, Denied):
            return "present"
        if isinstance(page, ProjectPage) and page.status is not None and page.status.is_quarantined:
            return "present"
        reason = reason[:REASON_LIMIT]
        where = self._namespace.repository(project)
        with _audited(self._events, where, "status", status="quarantined", reason=reason):
            self._store.set_status(self._namespace, project, "quarantined", reason, login)
        return "quarantined"

    def keep(self, wanted: Wanted, files: UpstreamFiles) -> str:
        """Store a file unless it is there, and its yank state. Returns what was done. Raises InvalidRequest
        and AlreadyExists if it can't be stored, and the errors of the registry and of `files`.
        """
        entry = wanted.entry
        if entry is None:
            raise InvalidRequest(f"{wanted.filename} is not on the upstream package index's page")
        yanked = yank_reason(entry)
        where = self._namespace.repository(ProjectName.parse(wanted.project))
        present = self._present(wanted, entry)
        if present is not None:
            if present.yanked == yanked:
                return "present"
            namespace, name, filename, login = self._address(wanted, entry)
            action = "unyank" if yanked is None else "yank"
            with _audited(self._events, where, action, filename, wanted.sha256, reason=yanked):
                self._store.yank(namespace, name, filename, yanked, login)
            return "yanked"
        wanted = files.sized(wanted)
        with files.whole(wanted) as content:
            provenance = self._provenance(entry, files)
            imported = Imported(_moment(entry), yanked, entry.url, provenance)
            try:
                with _audited(self._events, where, "publish", entry.filename, wanted.sha256):
                    self._store.publish(self._namespace, KeptFile(wanted, content), self._login(), imported)
            except (Unauthorized, Denied):
                self._login.forget()
                raise
        with self._guard:
            self._missing.pop((wanted.project, entry.filename), None)
        return "stored"

    def _address(self, wanted: Wanted, entry: File) -> tuple[Namespace, ProjectName, str, Credentials]:
        return self._namespace, ProjectName.parse(wanted.project), entry.filename, self._login()

    def _present(self, wanted: Wanted, entry: File) -> PackageFile | None:
        try:
            return self._store.describe(*self._address(wanted, entry), sha256=wanted.sha256)
        except (NotFound, Unauthorized, Denied):
            return None

    def _metadata(self, wanted: Wanted, entry: File) -> Body | None:
        sha256 = entry.hashes.get("sha256", "")
        content = self._store.metadata(*self._address(wanted, entry), sha256=sha256)
        if hashlib.sha256(content).hexdigest() != wanted.sha256:
            return None
        return Body(len(content), iter((content,)), lambda: None)

    def _pieces(self, stream: FileStream, place: Stored) -> Iterator[bytes]:
        try:
            yield from stream
        except PyOCIError:
            self._miss(place)
            raise

    def _provenance(self, entry: File, files: UpstreamFiles) -> str:
        try:
            return files.provenance(entry)
        except PyOCIError as exc:
            if entry.provenance is not None:
                self._events.info("store", "provenance not copied", file=entry.filename, reason=exc.message)
            return ""

    def _miss(self, place: Stored) -> None:
        with self._guard:
            self._missing[place] = True

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Ask the store in the block. After a failure it isn't asked for some seconds."""
        if self._clock() < self._resting_until:
            raise Unavailable(
                "the registry of PYOCI_UPSTREAM_STORE did not answer; it is asked again within half a minute"
            )
        try:
            yield
        except (Unauthorized, Denied):
            self._login.forget()
            raise
        except (Unreachable, RegistryFailed, RateLimited):
            self._resting_until = self._clock() + _REST
            raise

    def _report(self, exc: PyOCIError) -> None:
        self._events.count("copies", "denied")
        self._events.info("store", "copies not read", namespace=str(self._namespace), reason=exc.message)


def _url(file: PackageFile) -> str:
    """The URL that a copy was fetched from."""
    return file.upstream_url or ""


def _moment(entry: File) -> datetime | None:
    return None if entry.upload_time is None else datetime.fromisoformat(entry.upload_time)


@contextmanager
def _audited(
    events: Events,
    repository: Repository,
    action: str,
    file: str = "",
    sha256: str = "",
    **facts: str | None,
) -> Iterator[None]:
    """The line in the audit log for a write in the block, or its failure. No request asked for it."""
    result = "failed"
    try:
        yield
        result = "done"
    except PyOCIError as exc:
        result = exc.kind
        raise
    finally:
        found = {
            "action": action,
            "registry": str(repository.registry),
            "repository": repository.name,
            "file": file,
            "sha256": [sha256] if sha256 else None,
            **facts,
            "result": result,
            "client": f"pyoci/{pyoci.__version__}",
        }
        events.info("audit", "audit", **{key: fact for key, fact in found.items() if fact})
