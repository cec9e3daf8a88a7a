"""Prometheus: one page of metrics for all the workers of a server, by prometheus_client's multiprocess mode.

Each worker counts in its own files in a shared directory. The counts of workers that have ended are added up
in one file, which limits the number of files.
"""

from __future__ import annotations

import fcntl
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from flask import Blueprint, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest, values
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from pyoci.telemetry.logs import Log
from pyoci.telemetry.measures import MEASURES, Kind, Measure

_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
_TOTALS = ("counter", "histogram")
_FILES = {Kind.COUNTER: "counter", Kind.LEVEL: "gauge_livesum", Kind.HISTOGRAM: "histogram"}
_LEAST = 64 * 1024  # bytes of a new file; prometheus_client doubles the size when a file is full
_LABELS = 32 * 1024  # bytes that a measure with new labels takes, at most
_ENDED = 0  # no process has this number
_PATIENCE = 2.0  # seconds that a reader waits while counts of ended workers are added up
_UNITS = {"s": "_seconds", "By": "_bytes"}


class _AllProcesses(Collector):
    """The sums of the files in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterable[Metric]:
        files = [str(path) for path in self._directory.glob("*.db") if _has_values(path)]
        merged: Iterable[Metric] = MultiProcessCollector.merge(files)
        return merged


class Prometheus:
    """Must be created before the server forks. Every process counts, and each can serve the sum.

    If the directory is removed, its file system is full, or a file can't be opened, requests are served as
    before, and only the counts are lost. Raises OSError if that is so from the start.
    """

    def __init__(self, directory: Path, log: Log | None = None) -> None:
        self._directory, self._log = directory, log
        self._lock = directory / "lock"
        self._lock.touch()
        self._dead: set[int] = set()
        self._is_lost = False  # whether this process found no directory for its files
        self._reported_by = 0  # the process that has reported what isn't counted
        self._guard = threading.Lock()
        self._process = 0  # the one whose files have the `_reserved` sizes in bytes
        self._reserved = dict.fromkeys(Kind, _LEAST)
        self._reserve_all()
        # prometheus_client reads this variable on import, so it is set here first.
        os.environ[_DIRECTORY] = str(directory)
        values.ValueClass = values.MultiProcessValue()
        registry = CollectorRegistry()
        self._metrics = {measure.name: _metric(measure, registry) for measure in MEASURES}
        self._adders: dict[tuple[str, ...], Callable[[float], None]] = {}

    def record(self, measure: Measure, amount: float, values: tuple[str, ...]) -> None:
        """Add to a measure of this process."""
        if self._is_lost:
            return
        try:
            if self._process != os.getpid():
                with self._guard:
                    self._reserve_all()
            add = self._adders.get((measure.name, *values)) or self._new_adder(measure, values)
            add(amount)
        except OSError as exc:
            self._is_lost = isinstance(exc, FileNotFoundError)
            if self._log is not None and self._reported_by != os.getpid():
                self._reported_by = os.getpid()
                self._log.write("metrics not counted", room="telemetry", level="warning", reason=exc.strerror)

    def page(self) -> bytes:
        """The sum of all processes, in Prometheus' text format. Raises OSError, of which TimeoutError is
        one.
        """
        deadline = time.monotonic() + _PATIENCE
        while True:
            with self._locked(fcntl.LOCK_SH) as held:
                if held:
                    registry = CollectorRegistry()
                    registry.register(_AllProcesses(self._directory))
                    return generate_latest(registry)
            if time.monotonic() > deadline:
                raise TimeoutError("another process has been writing the files for too long")
            time.sleep(0.01)

    def mark_process_dead(self, process: int) -> None:
        """Add up the counts of a process that has ended. Must be called in the process that starts
        workers.
        """
        mark_process_dead(process, str(self._directory))
        self._dead.add(process)
        # Otherwise its files stay and are still read, until the next process ends.
        with suppress(OSError), self._locked(fcntl.LOCK_EX) as held:
            if held:
                for each in tuple(self._dead):
                    self._add_up(each)
                    self._dead.discard(each)

    def blueprint(self) -> Blueprint:
        """`GET /metrics`."""
        metrics = Blueprint("metrics", __name__)
        metrics.add_url_rule("/metrics", view_func=self._show, provide_automatic_options=False)
        return metrics

    def _new_adder(self, measure: Measure, values: tuple[str, ...]) -> Callable[[float], None]:
        with self._guard:
            self._reserve(measure.kind, _LABELS)
            metric = self._metrics[measure.name]
            child = metric.labels(*values) if values else metric
            add: Callable[[float], None] = child.observe if measure.kind is Kind.HISTOGRAM else child.inc
            self._adders[(measure.name, *values)] = add
            return add

    def _reserve_all(self) -> None:
        """Reserve this process's files, before prometheus_client creates them: at the start, and after a
        fork, when it writes the values of the process that was forked to new ones.
        """
        if self._process != os.getpid():
            for kind in Kind:
                self._reserve(kind, _LABELS)
            self._process = os.getpid()

    def _reserve(self, kind: Kind, more: int) -> None:
        file = self._directory / f"{_FILES[kind]}_{os.getpid()}.db"
        self._reserved[kind] = _reserve(file, more, self._reserved[kind])

    def _show(self) -> Response:
        try:
            answer = Response(self.page(), content_type=CONTENT_TYPE_PLAIN_0_0_4)
        except TimeoutError as exc:
            answer = _unavailable(str(exc))
        except FileNotFoundError:
            answer = _unavailable("the directory of the metrics was removed; a restart of PyOCI creates it")
        except OSError as exc:
            answer = _unavailable(f"the files of the metrics can't be read: {exc.strerror}; try again")
        answer.headers["Cache-Control"] = "no-store"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        return answer

    def _add_up(self, process: int) -> None:
        for kind in _TOTALS:
            ended = self._directory / f"{kind}_{process}.db"
            if _has_values(ended):
                self._add(ended, kind)
            ended.unlink(missing_ok=True)

    def _add(self, ended: Path, kind: str) -> None:
        file = self._directory / f"{kind}_{_ENDED}.db"
        _reserve(file, ended.stat().st_size)
        sums = MmapedDict(str(file))
        try:
            for key, value, _time, _place in MmapedDict.read_all_values_from_file(str(ended)):
                sums.write_value(key, sums.read_value(key)[0] + value, 0.0)
        finally:
            sums.close()

    @contextmanager
    def _locked(self, how: int) -> Iterator[bool]:
        """Lock the files for reading (LOCK_SH) or moving (LOCK_EX), without waiting. Yields False if another
        process holds the lock.
        """
        with self._lock.open("rb") as lock:
            try:
                fcntl.flock(lock, how | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True


def _unavailable(reason: str) -> Response:
    return Response(f"{reason}\n", 503, content_type="text/plain; charset=utf-8")


def _reserve(file: Path, more: int, least: int = _LEAST) -> int:
    """Create a file if there is none, and reserve the disk space of its values and `more` bytes of further
    ones. Returns the size of the file, which is at least `least`. Raises OSError if the disk is full.

    The file is written through a memory map. If the system finds no space for what is written there, it kills
    the process (SIGBUS).
    """
    # Not with O_APPEND: the C library can't reserve space then on file systems that can't do it themselves.
    with open(os.open(file, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0) as opened:
        used = int.from_bytes(os.pread(opened.fileno(), 4, 0), sys.byteorder)
        size = least
        while size < used + more:
            size *= 2
        if hasattr(os, "posix_fallocate"):  # not on macOS
            os.posix_fallocate(opened.fileno(), 0, size)
    return size


def _has_values(file: Path) -> bool:
    """Whether a file exists and isn't empty. prometheus_client creates a file before it gives it a size, and
    can't read one without.
    """
    try:
        return file.stat().st_size > 0
    except FileNotFoundError:
        return False


def _metric(measure: Measure, registry: CollectorRegistry) -> Any:
    name = measure.name.replace(".", "_") + _UNITS.get(measure.unit, "")
    labels = [label.replace(".", "_") for label in measure.labels]
    match measure.kind:
        case Kind.COUNTER:
            return Counter(name, measure.about, labels, registry=registry)
        case Kind.LEVEL:
            return Gauge(name, measure.about, labels, registry=registry, multiprocess_mode="livesum")
        case Kind.HISTOGRAM:
            return Histogram(name, measure.about, labels, registry=registry, buckets=measure.bounds)
