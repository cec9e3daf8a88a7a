"""Whether this server is ready: the directories that it needs can be written to."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from pyoci.events import Events

_TRIAL = bytes(4096)
_LIMIT = 2.0  # seconds that an answer may take; probes give up after about as long
_FRESH = 1.0  # seconds for which a result is reused


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory that must be writable, and the setting that names it.

    A `recreated` directory is created again if it is missing. A registry's directory is not: if it is
    missing, its packages are lost, and the operator has to know.
    """

    setting: str
    path: Path
    recreated: bool = False

    def try_out(self) -> None:
        """Write a small unnamed file, which the system removes on close. Raises OSError."""
        if self.recreated:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.path, prefix="_trial-") as file:
            file.write(_TRIAL)


class Readiness:
    """Writes to the directories on request, at most once a second, in a separate thread.

    A hanging disk blocks only that thread: a caller waits at most `limit` seconds. Registries are not
    checked.
    """

    def __init__(
        self,
        directories: Sequence[Directory],
        events: Events | None = None,
        *,
        limit: float = _LIMIT,
        clock: Callable[[], float] = time.monotonic,
        try_out: Callable[[Directory], None] = Directory.try_out,
    ) -> None:
        self._directories = tuple(directories)
        self._events = events or Events()
        self._limit = limit
        self._clock = clock
        self._try_out = try_out
        self._guard = threading.Lock()
        self._trial: Future[str | None] = Future()
        self._trial.set_result(None)
        self._begun_at = float("-inf")
        self._reported: str | None = None

    def not_ready_reason(self) -> str | None:
        """A sentence that says why this server isn't ready, or None if it is."""
        with self._guard:
            now = self._clock()
            if self._directories and self._trial.done() and now - self._begun_at >= _FRESH:
                self._begin(now)
            trial, rest = self._trial, self._begun_at + self._limit - now
        try:
            found = trial.result(max(rest, 0))
        except TimeoutError:
            found = f"{self._named()} can't be written: the disk takes too long"
        self._report(found)
        return found

    def _begin(self, now: float) -> None:
        self._begun_at = now
        self._trial = Future()
        try:
            threading.Thread(target=self._run, args=(self._trial,), name="ready", daemon=True).start()
        except RuntimeError:
            self._trial.set_result("no thread can be started")

    def _run(self, trial: Future[str | None]) -> None:
        for directory in self._directories:
            try:
                self._try_out(directory)
            except OSError as exc:
                trial.set_result(f"the directory of {directory.setting} can't be written: {exc.strerror}")
                return
        trial.set_result(None)

    def _named(self) -> str:
        return " or ".join(f"the directory of {directory.setting}" for directory in self._directories)

    def _report(self, found: str | None) -> None:
        """Log each change once, whatever the number of callers."""
        with self._guard:
            changed, self._reported = found != self._reported, found
        if changed and found is not None:
            self._events.error("web", "not ready", problem=found)
        elif changed:
            self._events.warning("web", "ready again")
