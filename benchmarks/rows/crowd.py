"""A hundred clients at once with the same credentials, for a page without a cache."""

from __future__ import annotations

import base64

from benchmarks.load import ask
from benchmarks.relay import relay_to
from benchmarks.results import Row, at_most
from benchmarks.seeding import seed
from benchmarks.servers import Stage

_VERSIONS = 100
_CLIENTS = 100
_CALLER = ("crowd", "one password for all")


def crowd_rows(stage: Stage, rounds: int) -> list[Row]:
    """The registry gets few more requests than for one client. The worst round counts."""
    registry = stage.docker_registry(**dict([_CALLER]))
    seed(registry, "bench/crowd", _VERSIONS, caller=_CALLER)
    login = base64.b64encode(":".join(_CALLER).encode()).decode()
    counts, seconds = [], []
    with relay_to(registry) as relay:
        for _ in range(rounds):
            site = stage.pyoci(relay.url, workers=2)
            relay.reset()
            load = ask(
                site.address,
                site.page_of("crowd"),
                clients=_CLIENTS,
                seconds=0,
                headers={"Authorization": f"Basic {login}"},
            )
            counts.append(relay.counts())
            seconds.append(load.seconds)
            stage.end(site.server)
    totals = [sum(kinds.values()) for kinds in counts]
    return [
        Row(
            name=f"{_CLIENTS} clients at once, cold page of {_VERSIONS} versions, two workers: requests",
            runs=(max(totals),),
            bar=at_most(_VERSIONS + 5),
            details={"rounds": totals, "kinds": counts},
        ),
        Row(
            name=f"{_CLIENTS} clients at once, cold page of {_VERSIONS} versions, two workers: all answered",
            unit="s",
            runs=tuple(seconds),
        ),
    ]
