"""The time of an installation: uv installs forty packages that depend on each other."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.publishing import publish_all
from benchmarks.relay import relay_to
from benchmarks.results import Row, alternate, times
from benchmarks.servers import Site, Stage
from benchmarks.static import nginx
from benchmarks.wheels import wheel_of
from tests.live.clients import Clients
from tests.live.environments import Environments

_PACKAGES, _VERSIONS = 40, 2
_BALLAST = 50_000  # bytes that each wheel has
_AWAY = 0.02  # seconds


def install_rows(stage: Stage, rounds: int) -> list[Row]:
    """Into an empty folder with an empty cache each time. PyOCI has cached everything before."""
    clients = Clients(Environments(), stage.new_folder("home"))
    registry = stage.docker_registry()
    publisher = stage.pyoci(registry)
    _publish(stage, publisher)
    stage.end(publisher.server)
    with relay_to(registry, delay=_AWAY) as relay:
        site = stage.pyoci(relay.url)
        static = nginx(stage, site, map(_name, range(_PACKAGES)))
        ways = (("PyOCI", site.server.url), ("nginx", static.url))
        for way in ways:
            _install(clients, f"{way[1]}{site.upload}", f"warm-{way[0]}")
        runs = dict(
            alternate(
                ways,
                rounds,
                lambda way, turn: _install(clients, f"{way[1]}{site.upload}", f"{turn}-{way[0]}"),
            )
        )
        stage.end(site.server)
    return [
        Row(
            name=f"uv pip install of {_PACKAGES} packages, registry {_AWAY * 1000:.0f} ms away",
            unit="s",
            runs=tuple(runs[ways[0]]),
            beside="nginx, static files",
            others=tuple(runs[ways[1]]),
            bar=times(2.5),
        )
    ]


def _publish(stage: Stage, site: Site) -> None:
    folder = stage.new_folder("wheels")
    files = (
        wheel_of(
            folder,
            _name(number),
            f"1.{version}",
            requires=[f"{_name(child)}>=1.0" for child in _children(number)],
            ballast=_BALLAST,
        )
        for number in range(_PACKAGES)
        for version in range(_VERSIONS)
    )
    publish_all(site, files)


def _install(clients: Clients, url: str, name: str) -> float:
    """Seconds for one installation."""
    target, cache = clients.home / f"target-{name}", clients.home / f"cache-{name}"
    options = ("--quiet", "--index-url", url, "--target", target, "--cache-dir", cache)
    started = time.perf_counter()
    clients.run("uv", "pip", "install", *options, _name(0))
    seconds = time.perf_counter() - started
    installed = list(Path(target).glob("*.dist-info"))
    assert len(installed) == _PACKAGES, f"uv installed {len(installed)} packages; expected {_PACKAGES}"
    return seconds


def _children(number: int) -> list[int]:
    """The dependencies of a package: a tree, and in addition the last package for all."""
    children = {2 * number + 1, 2 * number + 2, _PACKAGES - 1}
    return sorted(child for child in children if number < child < _PACKAGES)


def _name(number: int) -> str:
    return f"graph-{number}"
