"""Download of a wheel of 1 GB from PyOCI, compared with a simple Python loop, and through a limited
connection.
"""

from __future__ import annotations

import sys

from benchmarks.environments import CHECKOUT
from benchmarks.load import ask
from benchmarks.memory import now, peak, worker_of
from benchmarks.relay import relay_to
from benchmarks.results import Bar, Row, alternate, at_most, times
from benchmarks.servers import Site, Stage
from benchmarks.transfers import download, upload
from benchmarks.wheels import MB, File, large_wheel

_SIZE = 1000  # MB
_PROJECT = "large"
_ROAD = 125  # MB/s, 1 Gbit/s
_REDIRECTED = 2.0  # seconds of each run
_BARE, _DIRECT = "bare Python loop", "direct GET"
_Way = tuple[str, tuple[str, int], str]  # label, address, path


def download_rows(stage: Stage, rounds: int) -> list[Row]:
    """Speed, memory, and speed if clients are redirected."""
    registry = stage.docker_registry()
    site = stage.pyoci(registry, workers=1)
    small = large_wheel(stage.folder, _PROJECT, "0.1", MB)
    large = large_wheel(stage.folder, _PROJECT, "1.0", _SIZE * MB)
    for file in (small, large):
        upload(site.address, site.upload, file)
        file.path.unlink()
    return [
        *_at_full_speed(stage, registry, site, (small, large), rounds),
        _on_a_road(stage, registry, large, max(rounds - 1, 1)),
        _elsewhere(stage, registry, small, rounds),
    ]


def _at_full_speed(
    stage: Stage, registry: str, site: Site, files: tuple[File, File], rounds: int
) -> list[Row]:
    small, large = files
    for _ in range(3):
        download(site.address, site.file_of(_PROJECT, small.name), small, verify=True)
    idle = now(worker_of(site.server.process.pid)).total
    port = _bare(stage, registry)
    ways: list[_Way] = [
        ("PyOCI", site.address, site.file_of(_PROJECT, large.name)),
        (_BARE, ("127.0.0.1", port), _blob(large)),
        (_DIRECT, _address(registry), _blob(large)),
    ]
    with peak(worker_of(site.server.process.pid)) as highest:
        runs = _rates(ways, large, rounds)
    about = f"download of {_SIZE} MB, verified"
    return [
        _row(about, runs, _BARE, times(0.8, at_least=True)),
        _row(about, runs, _DIRECT, None),
        Row(
            name=f"{about}, worker's peak over idle",
            unit="MB",
            runs=((highest.total - idle) / MB,),
            bar=at_most(10, "MB"),
        ),
    ]


def _on_a_road(stage: Stage, registry: str, file: File, rounds: int) -> Row:
    """PyOCI's connection to the registry has the same limit as the direct GET."""
    with relay_to(registry, rate=_ROAD * MB) as relay:
        site = stage.pyoci(relay.url, workers=1)
        ways: list[_Way] = [
            ("PyOCI", site.address, site.file_of(_PROJECT, file.name)),
            (_DIRECT, _address(relay.url), _blob(file)),
        ]
        runs = _rates(ways, file, rounds)
        stage.end(site.server)
    about = f"download of {_SIZE} MB, verified, {_ROAD} MB/s to the registry"
    return _row(about, runs, _DIRECT, times(0.95, at_least=True))


def _elsewhere(stage: Stage, registry: str, file: File, rounds: int) -> Row:
    """With PYOCI_REDIRECT=yes, in front of a registry that redirects downloads, like the hosted ones."""
    storage = registry.replace("127.0.0.1", "localhost")
    with relay_to(registry, redirect=storage) as relay:
        site = stage.pyoci(relay.url, PYOCI_REDIRECT="yes")
        targets = ((site.file_of(_PROJECT, file.name), 307), (site.page_of(_PROJECT), 200))
        for path, status in targets:
            ask(site.address, path, clients=8, seconds=0.5, status=status)
        runs = alternate(
            targets,
            rounds,
            lambda target, _: (
                ask(site.address, target[0], clients=1, seconds=_REDIRECTED, status=target[1]).median
            ),
        )
        stage.end(site.server)
    redirected, page = (tuple(seconds * 1000 for seconds in found) for _, found in runs)
    return Row(
        name="download, redirected, median latency",
        unit="ms",
        runs=redirected,
        beside="a warm page",
        others=page,
        bar=times(3),
    )


def _bare(stage: Stage, registry: str) -> int:
    """Start the simple loop; yields its port."""
    port = stage.port()
    command = [sys.executable, "-m", "benchmarks.bare", str(port.number), registry]
    stage.start(stage.name("bare"), command, port.url, "/v2/", cwd=CHECKOUT)
    return port.number


def _rates(ways: list[_Way], file: File, rounds: int) -> dict[str, tuple[float, ...]]:
    """MB a second, by label."""
    measured = alternate(ways, rounds, lambda way, _: download(way[1], way[2], file).rate)
    return {way[0]: tuple(rates) for way, rates in measured}


def _row(name: str, runs: dict[str, tuple[float, ...]], beside: str, bar: Bar | None) -> Row:
    return Row(name=name, unit="MB/s", runs=runs["PyOCI"], beside=beside, others=runs[beside], bar=bar)


def _blob(file: File) -> str:
    return f"/v2/bench/{_PROJECT}/blobs/sha256:{file.sha256}"


def _address(url: str) -> tuple[str, int]:
    return "127.0.0.1", int(url.rpartition(":")[2])
