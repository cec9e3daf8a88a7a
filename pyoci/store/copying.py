"""CopyQueue: stores files of upstream, one after another, in a thread of its own.

A request only adds to the queue. The queue has a limit: what doesn't fit is dropped, and offered again the
next time that it is served.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from cachetools import LRUCache

from pyoci.errors import AlreadyExists, Denied, InvalidRequest, PyOCIError
from pyoci.events import Events
from pyoci.oci.errors import RegistryError
from pyoci.store.models import Upload
from pyoci.upstream.file_source import Wanted

QUEUE = 1000  # files that wait in one process
ATTEMPTS = 3
PAUSE = 30.0  # seconds until a store that failed is asked again
_DONE = 20_000  # files of which a process knows that nothing is left to do
_PIECE = 1024 * 1024  # bytes
_QUIET = 60.0  # seconds between two warnings of a full queue


@dataclass(frozen=True, slots=True)
class CopyJob:
    """What is to be done in the store, for the file or the project `key`. A job that was done isn't done
    again until another one with the same key has another `state`; with the state None it is.

    `run` returns what was done: a value of the metric. It raises PyOCIError.
    """

    key: Hashable
    state: Hashable
    subject: str  # for the log
    run: Callable[[], str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file that was read from upstream, as an `IncomingForm` of the store."""

    wanted: Wanted
    content: BinaryIO

    def ahead(self) -> Upload:
        """The fields that are known before the file is read."""
        return self._upload()

    def pieces(self) -> Iterator[bytes]:
        """The bytes of the file."""
        self.content.seek(0)
        while piece := self.content.read(_PIECE):
            yield piece

    def whole(self) -> Upload:
        """The form with the whole file."""
        self.content.seek(0)
        return self._upload()

    def _upload(self) -> Upload:
        file = self.wanted
        return Upload(
            filename=file.filename,
            content=self.content,
            size=file.size or 0,
            name=file.project,
            digests={"sha256": file.sha256},
        )


class CopyQueue:
    """One for the process."""

    def __init__(
        self,
        events: Events,
        *,
        size: int = QUEUE,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._events, self._size = events, size
        self._pause, self._clock = pause, clock
        self._changed = threading.Condition()
        self._waiting: deque[CopyJob] = deque()
        self._pending: set[Hashable] = set()
        self._done: LRUCache[Hashable, Hashable] = LRUCache(_DONE)  # the state by key
        self._thread: threading.Thread | None = None
        self._quiet_until = 0.0

    def offer(self, job: CopyJob) -> None:
        """Add a job, unless it is known to be done already."""
        with self._changed:
            is_done = job.state is not None and self._done.get(job.key) == job.state
            if is_done or job.key in self._pending:
                return
            if len(self._pending) >= self._size:
                self._drop()
                return
            self._pending.add(job.key)
            self._waiting.append(job)
            self._start()
            self._changed.notify()

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is left to do, at most so long. Returns whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._pending, seconds)

    def _drop(self) -> None:
        self._events.count("copies", "dropped")
        if self._clock() >= self._quiet_until:
            self._quiet_until = self._clock() + _QUIET
            self._events.warning(
                "store", "copies dropped", reason=f"{self._size} files wait to be stored already"
            )

    def _start(self) -> None:
        """Start the thread, which no process inherits by a fork."""
        if self._thread is not None and self._thread.is_alive():
            return
        self._thread = threading.Thread(target=self._work, name="upstream-copies", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no thread is left; the next offer tries again
            self._thread = None

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                job = self._waiting.popleft()
            done = self._run(job)
            with self._changed:
                self._pending.discard(job.key)
                if done:
                    self._done[job.key] = job.state
                self._changed.notify_all()
            del job  # it refers to the file that was served

    def _run(self, job: CopyJob) -> bool:
        """Do a job, and say whether nothing is left to do for it. A store that fails is asked again."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._events.count("copies", job.run())
                return True
            except PyOCIError as exc:
                if _is_final(exc):
                    self._report(job, "refused", exc.message)
                    return True
                self._report(job, "failed", exc.message)
            except OSError as exc:
                self._report(job, "failed", exc.strerror)
            except Exception as exc:  # noqa: BLE001  # a defect with one file must not end the thread
                self._report(job, "failed", type(exc).__name__)
                return False
            if attempt < ATTEMPTS:
                self._pause(PAUSE)
        return False

    def _report(self, job: CopyJob, outcome: str, reason: object) -> None:
        self._events.count("copies", outcome)
        self._events.warning("store", f"copy {outcome}", file=job.subject, reason=reason)


def _is_final(exc: PyOCIError) -> bool:
    """Whether the job can't be done, whatever the registry says."""
    kinds = InvalidRequest | AlreadyExists | Denied  # files of a quarantined project are Denied
    return isinstance(exc, kinds) and not isinstance(exc, RegistryError)
