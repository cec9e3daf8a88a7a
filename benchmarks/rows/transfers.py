"""A large wheel, up and down: how fast, and how much memory the worker takes for it.

The same transfers give both. The servers have one worker each, so that it is known which one to watch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from benchmarks.memory import Memory, now, peak, worker_of
from benchmarks.results import Row, alternate
from benchmarks.servers import PYPISERVER, Site, Stage
from benchmarks.transfers import Transfer, download, upload
from benchmarks.wheels import MB, File, large_wheel

SMALL, LARGE = 20, 200  # MB
SPREAD = 8  # MB by which the peaks for the two sizes may differ
_PROJECT = "large"


@dataclass(frozen=True, slots=True)
class _Done:
    """One transfer, and how far the worker's memory rose above idle for it, in MB."""

    transfer: Transfer
    growth: float
    anonymous: float


_Runs = list[tuple[Site, list[_Done]]]


def transfer_rows(stage: Stage, rounds: int) -> list[Row]:
    """Throughput and peak memory of uploads and downloads."""
    sites = stage.everybody(workers=1)
    idle = {site.label: _warmed(stage, site) for site in sites}
    up: dict[int, _Runs] = {}
    down: dict[int, _Runs] = {}
    for size in (SMALL, LARGE):
        files = [large_wheel(stage.folder, _PROJECT, f"{size}.{turn}", size * MB) for turn in range(rounds)]

        def send(site: Site, turn: int, files: list[File] = files) -> _Done:
            return _watched(site, idle, lambda: upload(site.address, site.upload, files[turn]))

        def fetch(site: Site, turn: int, files: list[File] = files) -> _Done:
            path = site.file_of(_PROJECT, files[turn].name)
            return _watched(site, idle, lambda: download(site.address, path, files[turn]))

        up[size] = alternate(sites, rounds, send)
        down[size] = alternate(sites, rounds, fetch)
    return [*_speed(up[LARGE], down[LARGE]), *_memory("upload", up), *_memory("download", down)]


def _warmed(stage: Stage, site: Site) -> Memory:
    """Send and fetch small files, and see that the bytes come back; then what the idle worker takes."""
    for turn in range(3):
        file = large_wheel(stage.folder, _PROJECT, f"0.{turn}", MB)
        upload(site.address, site.upload, file)
        download(site.address, site.file_of(_PROJECT, file.name), file, verify=True)
    return now(worker_of(site.server.process.pid))


def _watched(site: Site, idle: dict[str, Memory], transfer: Callable[[], Transfer]) -> _Done:
    with peak(worker_of(site.server.process.pid)) as highest:
        done = transfer()
    before = idle[site.label]
    return _Done(done, (highest.total - before.total) / MB, (highest.anonymous - before.anonymous) / MB)


def _speed(up: _Runs, down: _Runs) -> list[Row]:
    about = f"of a {LARGE} MB wheel"
    return [
        Row(
            name=f"upload {about}",
            unit="MB/s",
            more_is_better=True,
            runs={site.label: tuple(done.transfer.rate for done in all_done) for site, all_done in up},
        ),
        Row(
            name=f"upload {about}, last byte to answer",
            unit="s",
            more_is_better=False,
            runs={site.label: tuple(done.transfer.wait for done in all_done) for site, all_done in up},
        ),
        Row(
            name=f"download {about}",
            unit="MB/s",
            more_is_better=True,
            runs={site.label: tuple(done.transfer.rate for done in all_done) for site, all_done in down},
        ),
    ]


def _memory(direction: str, runs: dict[int, _Runs]) -> list[Row]:
    """Two rows of peaks, the second with the bar: what a file ten times as large may take more."""
    growth = {
        size: {site.label: tuple(done.growth for done in all_done) for site, all_done in measured}
        for size, measured in runs.items()
    }
    anonymous = {
        size: {site.label: tuple(done.anonymous for done in all_done) for site, all_done in measured}
        for size, measured in runs.items()
    }
    return [
        Row(
            name=f"worker's peak over idle, {direction} of {size} MB",
            unit="MB",
            more_is_better=False,
            runs=growth[size],
            barred=size == LARGE,
            failures=_failures(direction, growth) if size == LARGE else (),
            details={"anonymous": anonymous[size]},
        )
        for size in (SMALL, LARGE)
    ]


def _failures(direction: str, growth: dict[int, dict[str, tuple[float, ...]]]) -> tuple[str, ...]:
    failures = []
    for label in growth[LARGE]:
        more = median(growth[LARGE][label]) - median(growth[SMALL][label])
        if label != PYPISERVER and abs(more) > SPREAD:
            failures.append(
                f"{label}: the {direction} of {LARGE} MB takes {more:+.1f} MB more than that of {SMALL} MB;"
                f" expected at most {SPREAD}"
            )
    return tuple(failures)
