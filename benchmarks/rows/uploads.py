"""A wheel of 1 GB through PyOCI, compared with the same upload directly to a registry; and eight at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.memory import now, peak, worker_of
from benchmarks.results import Bar, Row, at_most, more, times
from benchmarks.servers import Site, Stage
from benchmarks.transfers import Transfer, put_blob, put_blob_by_curl, send_form, upload
from benchmarks.wheels import MB, File, large_wheel

_SIZE = 1000  # MB
_EACH, _AT_ONCE = 200, 8  # MB of each of several uploads, and how many there are
_PROJECT, _REPOSITORY = "large", "bench/large"
_REGISTRY = "PUT to docker-registry"


def upload_rows(stage: Stage, rounds: int) -> list[Row]:
    """The total time, the wait for the answer after the last byte, and the memory. The direct uploads have a
    registry of their own, so that neither has the other's blobs.
    """
    rounds = max(rounds - 1, 1)  # they are long
    site, direct = stage.pyoci(stage.docker_registry(), workers=1), stage.docker_registry()
    idle = _idle(stage, site)
    with peak(_worker(site)) as highest:
        by_curl = _both(
            stage,
            rounds,
            "1",
            lambda file: send_form(f"{site.server.url}{site.upload}", file, stage.folder),
            lambda file: put_blob_by_curl(direct, _REPOSITORY, file, stage.folder),
        )
        waits = _both(
            stage,
            rounds,
            "2",
            lambda file: upload(site.address, site.upload, file).wait,
            lambda file: put_blob(direct, _REPOSITORY, file).wait,
        )
    about = f"upload of {_SIZE} MB"
    return [
        _row(f"{about} by curl", by_curl, bar=times(1.4)),
        _row(f"{about}, last byte to answer", waits, bar=more(1, "s")),
        Row(
            name=f"{about}, worker's peak over idle",
            unit="MB",
            runs=((highest.total - idle) / MB,),
            bar=at_most(20, "MB"),
        ),
        _eight(stage, site, idle),
    ]


def _idle(stage: Stage, site: Site) -> int:
    """The memory of a worker that has already handled small files."""
    for turn in range(3):
        upload(site.address, site.upload, large_wheel(stage.folder, _PROJECT, f"0.{turn}", MB))
    return now(_worker(site)).total


def _both(
    stage: Stage, rounds: int, major: str, pyoci: Callable[[File], float], direct: Callable[[File], float]
) -> list[list[float]]:
    """The seconds of both ways for one new file in each round."""
    found: list[list[float]] = [[], []]
    for turn in range(rounds):
        file = large_wheel(stage.folder, _PROJECT, f"{major}.{turn}", _SIZE * MB)
        for way in ((0, 1), (1, 0))[turn % 2]:
            found[way].append((pyoci, direct)[way](file))
        file.path.unlink()
    return found


def _row(name: str, found: list[list[float]], bar: Bar) -> Row:
    pyoci, direct = map(tuple, found)
    return Row(name=name, unit="s", runs=pyoci, beside=_REGISTRY, others=direct, bar=bar)


def _eight(stage: Stage, site: Site, idle: int) -> Row:
    """Several at once, of 200 MB each: if they were kept in memory, it would show."""
    files = [large_wheel(stage.folder, _PROJECT, f"3.{number}", _EACH * MB) for number in range(_AT_ONCE)]
    start = threading.Barrier(_AT_ONCE)

    def send(file: File) -> Transfer:
        start.wait()
        return upload(site.address, site.upload, file)

    with peak(_worker(site)) as highest, ThreadPoolExecutor(_AT_ONCE) as senders:
        done = list(senders.map(send, files))
    return Row(
        name=f"{_AT_ONCE} uploads of {_EACH} MB at once, worker's peak over idle",
        unit="MB",
        runs=((highest.total - idle) / MB,),
        bar=at_most(100, "MB"),
        details={
            "seconds": [transfer.seconds for transfer in done],
            "waits": [transfer.wait for transfer in done],
        },
    )


def _worker(site: Site) -> int:
    return worker_of(site.server.process.pid)
