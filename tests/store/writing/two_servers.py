"""A simulation of servers that share nothing but a registry. Its clock advances only while all threads wait.

Each worker is a thread, and one of them runs at a time: the one whose time comes next. So hours with a slow
registry take seconds, and the same seed gives the same run.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Any

from pyoci.errors import Unreachable
from pyoci.oci.errors import RegistryNotFound
from pyoci.oci.models import IMAGE_MANIFEST, Descriptor, Document, ImageIndex, Platform
from pyoci.oci.references import Digest, Repository, Tag
from pyoci.store.layout import PACKAGE_TYPE, digest_of
from pyoci.store.writing.lag import RecentWrites
from pyoci.store.writing.queue import TagLocks
from pyoci.store.writing.update import IndexUpdate, IndexUpdater
from tests.registry import make_repository
from tests.stores import make_cache

REPOSITORY, TAG = make_repository(), Tag.parse("1.0")


class Simulation:
    """A clock, and the workers whose waits advance it."""

    def __init__(self) -> None:
        self.now = 0.0
        self._waiting: list[tuple[float, int, threading.Semaphore]] = []
        self._order = itertools.count()
        self._ended = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []

    def clock(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        """Let other workers run for so many seconds."""
        wakes = threading.Semaphore(0)
        heapq.heappush(self._waiting, (self.now + seconds, next(self._order), wakes))
        self._next()
        wakes.acquire()

    def add(self, work: Callable[[], None]) -> None:
        """Add a worker."""
        wakes = threading.Semaphore(0)
        heapq.heappush(self._waiting, (0.0, next(self._order), wakes))

        def run() -> None:
            wakes.acquire()
            try:
                work()
            finally:
                self._next()

        self._threads.append(threading.Thread(target=run, daemon=True))

    def run(self) -> None:
        """Run until all workers have finished."""
        for thread in self._threads:
            thread.start()
        self._next()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _next(self) -> None:
        if self._waiting:
            self.now, _, wakes = heapq.heappop(self._waiting)
            wakes.release()


@dataclass
class SlowRegistry:
    """A registry of one tag. Each request and each response takes some time."""

    simulation: Simulation
    delay: Callable[[], float]
    tag: Digest | None = None
    documents: dict[str, Document] = field(default_factory=dict)

    def pull(self, _repository: Repository, reference: Any) -> Document:
        self.simulation.wait(self.delay())
        digest = self.tag if isinstance(reference, Tag) else reference
        self.simulation.wait(self.delay())
        if digest is None:
            raise RegistryNotFound("no such tag")
        return self.documents[str(digest)]

    def push(self, _repository: Repository, _reference: Any, document: Document) -> None:
        self.simulation.wait(self.delay())
        self.documents[str(document.digest)] = document
        self.tag = document.digest
        self.simulation.wait(self.delay())

    def begin_update(self) -> None:
        """Nothing ends these requests."""

    def same_caller(self, other: object) -> bool:
        return self is other

    def names(self) -> set[str]:
        """The files under the tag."""
        image_index = self.documents[str(self.tag)].image_index() if self.tag else None
        return names_in(image_index)


class Server:
    """Workers that share locks and recent writes with each other, and with no other server."""

    def __init__(self, simulation: Simulation, random: Random) -> None:
        self._simulation, self._random = simulation, random
        self._held = False
        self._writes = RecentWrites(make_cache(), simulation.clock)

    @contextmanager
    def _lock(self, _name: str, _seconds: float) -> Iterator[bool]:
        while self._held:
            self._simulation.wait(0.005)
        self._held = True
        try:
            yield True
        finally:
            self._held = False

    def worker(self) -> IndexUpdater:
        return IndexUpdater(
            lambda _repository, _tag: None,
            self._writes,
            locks=TagLocks(self._lock),
            now=lambda: datetime.now(UTC),
            sleep=self._simulation.wait,
            clock=self._simulation.clock,
            jitter=self._random.random,
        )


@dataclass
class Outcome:
    """What became of the uploads of one run."""

    accepted: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    present: set[str] = field(default_factory=set)
    slowest: float = 0.0

    @property
    def lost(self) -> set[str]:
        return self.accepted - self.present


def simulate(seed: int, *, mean: float, servers: int = 2, workers: int = 3, uploads: int = 6) -> Outcome:
    """Every worker of every server publishes files of one version; calls take `mean` seconds on average."""
    random, simulation, outcome = Random(seed), Simulation(), Outcome()
    registry = SlowRegistry(simulation, lambda: random.expovariate(2 / mean))

    def work(updater: IndexUpdater, prefix: str) -> None:
        for number in range(uploads):
            name, begun = f"{prefix}-{number}", simulation.now
            try:
                updater.update(registry, REPOSITORY, TAG, adding(name))  # type: ignore[arg-type]
            except Unreachable:
                outcome.refused.add(name)
            else:
                outcome.accepted.add(name)
            outcome.slowest = max(outcome.slowest, simulation.now - begun)

    for number in range(servers):
        server = Server(simulation, random)
        for each in range(workers):
            simulation.add(partial(work, server.worker(), f"{number}-{each}"))
    simulation.run()
    outcome.present = registry.names()
    return outcome


def adding(name: str) -> IndexUpdate:
    """The update that adds a file of that name."""
    digest = digest_of(name.encode())
    entry = Descriptor(media_type=IMAGE_MANIFEST, digest=digest, size=1, platform=Platform(name, "any"))

    def apply(present: ImageIndex | None) -> ImageIndex | None:
        if name in names_in(present):
            return present
        manifests = present.manifests if present else ()
        return ImageIndex(artifact_type=PACKAGE_TYPE, manifests=(*manifests, entry), annotations={})

    return IndexUpdate(apply, lambda present: name in names_in(present))


def names_in(image_index: ImageIndex | None) -> set[str]:
    """The files of an image index."""
    found = image_index.manifests if image_index else ()
    return {entry.platform.architecture for entry in found if entry.platform}
