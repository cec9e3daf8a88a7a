"""One URL for everything: pages of upstream, and a client that uses PyPI through PyOCI."""

from __future__ import annotations

import time

from benchmarks.load import ask
from benchmarks.publishing import publish_versions
from benchmarks.results import Missed, Row, alternate, times
from benchmarks.seeding import seed
from benchmarks.servers import Stage
from tests.live.clients import Clients
from tests.live.environments import Environments
from tests.live.pypi import where_pypi_is

_VERSIONS = 100
_CLIENTS = 32
_SECONDS = 2.0  # of each run
_GRAPH = "jupyterlab"
_WARMING = 4  # resolutions, so that each worker has had each page


def upstream_rows(stage: Stage, rounds: int) -> list[Row]:
    """A page of upstream compared with one of the registry; a large graph from PyPI compared with PyPI
    itself.
    """
    return [_pages(stage, rounds), _resolution(stage, rounds)]


def _pages(stage: Stage, rounds: int) -> Row:
    """Pages a second of the same files in the registry and upstream."""
    registry = stage.docker_registry()
    seed(registry, "bench/private", _VERSIONS)
    behind = stage.pyoci(label="upstream")
    publish_versions(behind, "public", _VERSIONS)
    site = stage.pyoci(registry, PYOCI_UPSTREAM_INDEX=f"{behind.server.url}{behind.upload}+simple/")
    targets = ("public", "private")

    def run(project: str, seconds: float = _SECONDS) -> float:
        path = f"{site.upload}+simple/{project}/"
        return ask(site.address, path, clients=_CLIENTS, seconds=seconds, headers={}, status=200).rate

    for project in targets:
        run(project, 0.5)
    runs = dict(alternate(targets, rounds, lambda project, _: run(project)))
    return Row(
        name=f"warm page from upstream, {_VERSIONS} versions x 2 files, {_CLIENTS} clients",
        unit="1/s",
        runs=tuple(runs["public"]),
        beside="one from the registry",
        others=tuple(runs["private"]),
        bar=times(0.9, at_least=True),
    )


def _resolution(stage: Stage, rounds: int) -> Row:
    """Seconds to resolve a large graph with an empty cache. PyOCI has cached everything before."""
    environments = Environments()
    clients = Clients(environments, stage.new_folder("home"))
    direct, trust = where_pypi_is(environments.python("pip"))
    bundle = trust.get("SSL_CERT_FILE", "")
    site = stage.pyoci(stage.docker_registry(), PYOCI_UPSTREAM_INDEX=direct, REQUESTS_CA_BUNDLE=bundle)
    ways = (("PyOCI", f"{site.server.url}{site.upload}+simple/"), ("PyPI", direct))
    wanted = clients.home / "wanted.in"
    wanted.write_text(f"{_GRAPH}\n")

    def resolve(way: tuple[str, str], turn: object) -> float:
        label, url = way
        cache = clients.home / f"cache-{turn}-{label}"
        started = time.perf_counter()
        options = ("--no-header", "--no-annotate", "--index-url", url, "--cache-dir", cache)
        pinned = clients.run("uv", "pip", "compile", *options, wanted, SSL_CERT_FILE=bundle)
        seconds = time.perf_counter() - started
        if f"{_GRAPH}==" not in pinned:
            raise Missed(f"uv has not resolved {_GRAPH} through {label}")
        return seconds

    for way in ways:
        for turn in range(_WARMING):
            resolve(way, f"warm-{turn}")
    runs = dict(alternate(ways, rounds, resolve))
    return Row(
        name=f"uv resolves {_GRAPH}, everything from PyPI, warm",
        unit="s",
        runs=tuple(runs[ways[0]]),
        beside="PyPI itself",
        others=tuple(runs[ways[1]]),
        bar=times(1.2),
    )
