"""PyOCI as the gateway to PyPI: a client that resolves a large graph, and files that pass through."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.relay import relay_to
from benchmarks.results import Missed, Row, alternate, times
from benchmarks.servers import Site, Stage
from benchmarks.static import nginx
from benchmarks.transfers import download, upload
from benchmarks.wheels import MB, File, large_wheel
from tests.live.clients import Clients
from tests.live.environments import Environments
from tests.live.pypi import where_pypi_is

_GRAPH = "apache-airflow"
_WARMING = 3  # resolutions, so that each worker has had each page
_SIZE = 200  # MB
_PROJECT = "large"
_ROAD = 125  # MB/s, 1 Gbit/s


def gateway_rows(stage: Stage, rounds: int) -> list[Row]:
    """uv through PyOCI compared with PyPI itself, and files of upstream compared with a direct download, and
    with files in the registry.
    """
    return [*_resolutions(stage, rounds), *_files(stage, rounds)]


def _resolutions(stage: Stage, rounds: int) -> list[Row]:
    """Seconds to resolve a large graph, with PyOCI's cache empty and full. uv has no cache."""
    environments = Environments()
    clients = Clients(environments, stage.new_folder("home"))
    direct, trust = where_pypi_is(environments.python("pip"))
    bundle = trust.get("SSL_CERT_FILE", "")
    registry = stage.docker_registry()
    wanted = clients.home / "wanted.in"
    wanted.write_text(f"{_GRAPH}\n")

    def resolve(url: str) -> float:
        started = time.perf_counter()
        options = ("--no-header", "--no-annotate", "--no-cache", "--index-url", url)
        pinned = clients.run("uv", "pip", "compile", *options, wanted, SSL_CERT_FILE=bundle)
        seconds = time.perf_counter() - started
        if f"{_GRAPH}==" not in pinned:
            raise Missed(f"uv has not resolved {_GRAPH} from {url}")
        return seconds

    warm: list[float] = []

    def measure(way: str, _turn: int) -> float:
        if way == "PyPI":
            return resolve(direct)
        site = stage.pyoci(registry, PYOCI_UPSTREAM_INDEX=direct, REQUESTS_CA_BUNDLE=bundle)
        url = f"{site.server.url}{site.upload}+simple/"
        cold = resolve(url)
        for _ in range(_WARMING):
            resolve(url)
        warm.append(resolve(url))
        stage.end(site.server)
        return cold

    resolve(direct)
    runs = dict(alternate(("PyOCI", "PyPI"), rounds, measure))
    return [
        Row(
            name=f"uv resolves {_GRAPH} without a cache, {label}",
            unit="s",
            runs=tuple(measured),
            beside="PyPI itself",
            others=tuple(runs["PyPI"]),
            bar=times(limit),
        )
        for label, measured, limit in (("cold", runs["PyOCI"], 1.3), ("warm", warm, 1.0))
    ]


def _files(stage: Stage, rounds: int) -> list[Row]:
    """MB a second of a large wheel, first and again. Upstream is nginx, and is reached at 1 Gbit/s."""
    behind, registry = stage.pyoci(label="upstream"), stage.docker_registry()
    file = large_wheel(stage.folder, _PROJECT, "1.0", _SIZE * MB)
    hosted = stage.pyoci(registry)
    for site in (behind, hosted):
        upload(site.address, site.upload, file)
    upstream = nginx(stage, behind, [_PROJECT])
    stage.end(behind.server)
    kept = stage.new_folder("files")
    path = f"{behind.page_of(_PROJECT)}{file.name}"
    with relay_to(upstream.url, rate=_ROAD * MB) as relay:
        gateway = stage.pyoci(
            stage.docker_registry(),
            PYOCI_UPSTREAM_INDEX=f"{relay.url}{behind.upload}",
            PYOCI_UPSTREAM_FILES="proxy",
            PYOCI_UPSTREAM_FILES_DIR=str(kept),
        )
        through = f"{gateway.page_of(_PROJECT)}+{file.sha256[:16]}/{file.name}"

        def first(way: str, _turn: int) -> float:
            if way == "direct":
                return download(("127.0.0.1", int(relay.url.rpartition(":")[2])), path, file).rate
            _empty(kept)
            return download(gateway.address, through, file).rate

        cold = dict(alternate(("PyOCI", "direct"), rounds, first))
        ways: tuple[tuple[Site, str], ...] = (
            (gateway, through),
            (hosted, hosted.file_of(_PROJECT, file.name)),
        )
        again, others = (rates for _, rates in alternate(ways, rounds, lambda way, _: _rate(way, file)))
    name = f"download of {_SIZE} MB from upstream through PyOCI"
    return [
        Row(
            name=f"{name}, first, {_ROAD} MB/s to upstream",
            unit="MB/s",
            runs=tuple(cold["PyOCI"]),
            beside="direct GET",
            others=tuple(cold["direct"]),
            bar=times(0.8, at_least=True),
        ),
        Row(
            name=f"{name}, again",
            unit="MB/s",
            runs=tuple(again),
            beside="one from the registry",
            others=tuple(others),
            bar=times(1.0, at_least=True),
        ),
    ]


def _rate(way: tuple[Site, str], file: File) -> float:
    site, path = way
    return download(site.address, path, file).rate


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
