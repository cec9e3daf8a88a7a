"""Whether this server can do its work: what it keeps on a disk can be written."""

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
_LIMIT = 2.0  # seconds that an answer may take; who asks gives up after about so long
_FRESH = 1.0  # seconds for which a trial counts


@dataclass(frozen=True, slots=True)
class Place:
    """A directory that has to take files, and the setting that names it. One that is `remade` comes back when
    it is written to; a store that is gone has taken its packages with it.
    """

    setting: str
    path: Path
    remade: bool = False

    def try_out(self) -> None:
        """Write a small file, which has no name and so leaves nothing behind. Raises OSError."""
        if self.remade:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.path, prefix="_trial-") as file:
            file.write(_TRIAL)


class Readiness:
    """Tries the places out when somebody asks, once in a while, in a thread of its own: a disk that hangs
    holds that one, and nobody who asks waits for it longer than `limit` seconds. Asks no registry.
    """

    def __init__(
        self,
        places: Sequence[Place],
        events: Events | None = None,
        *,
        limit: float = _LIMIT,
        clock: Callable[[], float] = time.monotonic,
        try_out: Callable[[Place], None] = Place.try_out,
    ) -> None:
        self._places = tuple(places)
        self._events = events or Events()
        self._limit = limit
        self._clock = clock
        self._try_out = try_out
        self._guard = threading.Lock()
        self._trial: Future[str | None] = Future()
        self._trial.set_result(None)
        self._begun_at = float("-inf")
        self._told: str | None = None

    def obstacle(self) -> str | None:
        """What is in the way, as a sentence; None where nothing is."""
        with self._guard:
            now = self._clock()
            if self._places and self._trial.done() and now - self._begun_at >= _FRESH:
                self._begin(now)
            trial, rest = self._trial, self._begun_at + self._limit - now
        try:
            found = trial.result(max(rest, 0))
        except TimeoutError:
            found = f"{self._named()} can't be written: the disk takes too long"
        self._tell(found)
        return found

    def _begin(self, now: float) -> None:
        self._begun_at = now
        self._trial = Future()
        try:
            threading.Thread(target=self._run, args=(self._trial,), name="ready", daemon=True).start()
        except RuntimeError:
            self._trial.set_result("no thread is to be had")

    def _run(self, trial: Future[str | None]) -> None:
        for place in self._places:
            try:
                self._try_out(place)
            except OSError as exc:
                trial.set_result(f"the directory of {place.setting} can't be written: {exc.strerror}")
                return
        trial.set_result(None)

    def _named(self) -> str:
        return " or ".join(f"the directory of {place.setting}" for place in self._places)

    def _tell(self, found: str | None) -> None:
        """Once for each obstacle, however many ask."""
        with self._guard:
            changed, self._told = found != self._told, found
        if changed and found is not None:
            self._events.error("web", "not ready", problem=found)
        elif changed:
            self._events.warning("web", "ready again")
