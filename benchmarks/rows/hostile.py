"""Clients that have PyOCI ask hostile registries and a hostile upstream: pages still have to be answered."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

from benchmarks.environments import CHECKOUT
from benchmarks.load import ask
from benchmarks.publishing import publish_versions
from benchmarks.results import Missed, Row, times
from benchmarks.servers import Site, Stage
from tests.live.attacking import Attack, Kind, registry_kinds, upstream_kinds

_NAMES = tuple(f"hostile{number}" for number in range(6))  # of one registry
_CLIENTS = 8  # of pages: on so many connections that every worker has some
_ATTACKERS = 24
_SECONDS = 3.0  # of each run
_PATIENCE = 10.0  # seconds that a page may take; more is no answer
_VERSIONS = 100
_PROJECT = "hostile"
# The hostile registry would have its own machine. Here it gets the processor time that nobody else wants.
# Linux may share that out by session (sched(7), autogroup).
_LAST = ["sh", "-c", 'echo 19 >"/proc/$$/autogroup" 2>/dev/null; exec nice -n 19 "$@"', "sh"]


def hostile_rows(stage: Stage, rounds: int) -> list[Row]:
    """The 99th percentile of some clients' pages, in turns without and with each attack."""
    port = stage.port()
    command = [*_LAST, sys.executable, "-m", "tests.hostile_registries", str(port.number)]
    stage.start(stage.name("hostile"), command, port.url, "/v2/", cwd=CHECKOUT)
    registries = {name: f"http://127.0.9.{2 + number}:{port.number}" for number, name in enumerate(_NAMES)}
    registries["it"] = stage.docker_registry()
    site = stage.pyoci(
        registries["it"],
        PYOCI_REGISTRIES=",".join(f"{name}={url}" for name, url in registries.items()),
        PYOCI_UPSTREAM_INDEX=f"http://127.0.10.1:{port.number}/simple/",
    )
    publish_versions(site, _PROJECT, _VERSIONS)
    _slowest(site)
    idle = tuple(_slowest(site) for _ in range(rounds))  # before any attack: each leaves work behind
    slow = [kind for name, kind in registry_kinds(_NAMES).items() if name.startswith("slow registry")]
    attacks = {
        **{name: [kind] for name, kind in registry_kinds(_NAMES[:1]).items()},
        f"a slow registry under {len(_NAMES)} names": slow,
        **{name: [kind] for name, kind in upstream_kinds(urlsplit(site.upload).path).items()},
    }
    return [_attack_row(site, name, kinds, idle) for name, kinds in attacks.items()]


def _attack_row(site: Site, name: str, kinds: list[Kind], idle: tuple[float, ...]) -> Row:
    busy = []
    url = f"http://{site.address[0]}:{site.address[1]}"
    for _ in idle:
        attacks = [Attack(url, kind, _ATTACKERS // len(kinds)) for kind in kinds]
        with _all(attacks):
            busy.append(_slowest(site))
    return Row(
        name=f"warm page during {_ATTACKERS} hostile clients ({name}), 99th percentile",
        unit="ms",
        runs=tuple(busy),
        beside="without them",
        others=idle,
        bar=times(3),
    )


@contextmanager
def _all(attacks: list[Attack]) -> Iterator[None]:
    with ExitStack() as stack:
        for attack in attacks:
            stack.enter_context(attack)
        yield


def _slowest(site: Site) -> float:
    """In ms; as long as one was willing to wait if no answer came at all."""
    try:
        path = site.page_of(_PROJECT)
        load = ask(site.address, path, clients=_CLIENTS, seconds=_SECONDS, patience=_PATIENCE)
    except Missed:
        return _PATIENCE * 1000
    return load.slowest * 1000
