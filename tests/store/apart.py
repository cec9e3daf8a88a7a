"""Servers that share nothing but a registry, in a world whose time passes only when everybody waits.

Each worker is a thread, and one of them runs at a time: whoever waits lets the one run whose time comes next.
So hours of a slow registry take seconds, and the same seed gives the same course of events.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from pyoci.errors import Unreachable
from pyoci.oci.errors import RegistryNotFound
from pyoci.oci.models import IMAGE_MANIFEST, Descriptor, Document, ImageIndex, Platform
from pyoci.oci.references import Digest, Repository, Tag
from pyoci.store.layout import PACKAGE_TYPE, digest_of
from pyoci.store.writing.lag import RecentWrites
from pyoci.store.writing.queue import Already, IndexUpdate, TagLocks
from pyoci.store.writing.update import IndexUpdater
from tests.registry import make_repository

REPOSITORY, TAG = make_repository(), Tag.parse("1.0")


class World:
    """Time, and the workers who live in it."""

    def __init__(self) -> None:
        self.now = 0.0
        self._waiting: list[tuple[float, int, threading.Semaphore]] = []
        self._order = itertools.count()
        self._ended = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []

    def clock(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        """Let others run until this worker's time has come."""
        gate = threading.Semaphore(0)
        heapq.heappush(self._waiting, (self.now + seconds, next(self._order), gate))
        self._next()
        gate.acquire()

    def add(self, work: Callable[[], None]) -> None:
        """One more worker."""
        gate = threading.Semaphore(0)
        heapq.heappush(self._waiting, (0.0, next(self._order), gate))

        def live() -> None:
            gate.acquire()
            try:
                work()
            finally:
                self._next()

        self._threads.append(threading.Thread(target=live, daemon=True))

    def run(self) -> None:
        """Until everybody's work is done."""
        for thread in self._threads:
            thread.start()
        self._next()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _next(self) -> None:
        if self._waiting:
            self.now, _, gate = heapq.heappop(self._waiting)
            gate.release()


@dataclass
class SlowRegistry:
    """One tag. Each call takes some time to get there, and some time back."""

    world: World
    delay: Callable[[], float]
    tag: Digest | None = None
    documents: dict[str, Document] = field(default_factory=dict)

    def pull(self, _repository: Repository, reference: Any) -> Document:
        self.world.wait(self.delay())
        digest = self.tag if isinstance(reference, Tag) else reference
        self.world.wait(self.delay())
        if digest is None:
            raise RegistryNotFound("no such tag")
        return self.documents[str(digest)]

    def push(self, _repository: Repository, _reference: Any, document: Document) -> None:
        self.world.wait(self.delay())
        self.documents[str(document.digest)] = document
        self.tag = document.digest
        self.world.wait(self.delay())

    def same_caller(self, other: object) -> bool:
        return self is other

    def names(self) -> set[str]:
        """The files that are there."""
        image_index = self.documents[str(self.tag)].image_index() if self.tag else None
        return names_in(image_index)


class Server:
    """Workers that share a lock and what they remember of their writes, with nobody else."""

    def __init__(self, world: World, random: Random) -> None:
        self._world, self._random = world, random
        self._held = False
        self._writes = RecentWrites(world.clock)

    @contextmanager
    def _lock(self, _name: str, _seconds: float) -> Iterator[bool]:
        while self._held:
            self._world.wait(0.005)
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
            sleep=self._world.wait,
            clock=self._world.clock,
            jitter=self._random.random,
        )


@dataclass
class Outcome:
    """What became of the uploads of one world."""

    taken: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    there: set[str] = field(default_factory=set)
    slowest: float = 0.0

    @property
    def lost(self) -> set[str]:
        return self.taken - self.there


def course(seed: int, *, mean: float, servers: int = 2, workers: int = 3, uploads: int = 6) -> Outcome:
    """Every worker of every server publishes files of one version; a call takes `mean` seconds or so."""
    random, world, outcome = Random(seed), World(), Outcome()
    registry = SlowRegistry(world, lambda: random.expovariate(2 / mean))

    def work(changer: IndexUpdater, prefix: str) -> None:
        for number in range(uploads):
            name, begun = f"{prefix}-{number}", world.now
            try:
                changer.change(registry, REPOSITORY, TAG, adding(name))  # type: ignore[arg-type]
            except Unreachable:
                outcome.refused.add(name)
            else:
                outcome.taken.add(name)
            outcome.slowest = max(outcome.slowest, world.now - begun)

    for number in range(servers):
        server = Server(world, random)
        for each in range(workers):
            changer = server.worker()
            world.add(lambda changer=changer, prefix=f"{number}-{each}": work(changer, prefix))  # type: ignore[misc]
    world.run()
    outcome.there = registry.names()
    return outcome


def adding(name: str) -> IndexUpdate:
    """The change that an upload is, for a file of that name."""
    digest = digest_of(name.encode())
    entry = Descriptor(media_type=IMAGE_MANIFEST, digest=digest, size=1, platform=Platform(name, "any"))

    def apply(present: ImageIndex | None) -> ImageIndex | Already:
        if name in names_in(present):
            return Already.SO
        manifests = present.manifests if present else ()
        return ImageIndex(artifact_type=PACKAGE_TYPE, manifests=(*manifests, entry), annotations={})

    return IndexUpdate(apply, lambda present: name in names_in(present))


def names_in(image_index: ImageIndex | None) -> set[str]:
    """The files of an image index."""
    found = image_index.manifests if image_index else ()
    return {entry.platform.architecture for entry in found if entry.platform}
