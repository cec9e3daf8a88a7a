"""How often the registry is asked for a page: counted, not timed."""

from __future__ import annotations

from benchmarks.load import ask
from benchmarks.publishing import publish_versions
from benchmarks.relay import Relay, relay_to
from benchmarks.results import Row
from benchmarks.servers import PYOCI, Site, Stage

_COUNTS = (10, 100)


def request_rows(stage: Stage, _rounds: int) -> list[Row]:
    """N versions, N + 1 requests: the list of tags, and each version's image index once.

    The registry asks for no credentials here, so no challenge and no token comes on top.
    """
    with relay_to(stage.registry()) as relay:
        publisher = stage.pyoci(registry=relay.url)
        for count in _COUNTS:
            publish_versions(publisher, _project(count), count)
        # A process that has never seen them.
        reader = stage.pyoci(registry=relay.url)
        return [row for count in _COUNTS for row in _rows(reader, relay, count)]


def _rows(site: Site, relay: Relay, count: int) -> list[Row]:
    cold, warm = _counted(site, relay, count), _counted(site, relay, count)
    wanted = {"tags": 1, "documents": count}
    about = f"of {count} versions: requests to the registry"
    failure = f"{PYOCI}: a cold page {about}: {cold}; expected {wanted}"
    return [
        Row(
            name=f"cold page {about} (N + 1)",
            unit="",
            runs={PYOCI: (sum(cold.values()),)},
            barred=True,
            failures=() if cold == wanted else (failure,),
            details={"kinds": cold},
        ),
        Row(
            name=f"the same page again {about}",
            unit="",
            runs={PYOCI: (sum(warm.values()),)},
            details={"kinds": warm},
        ),
    ]


def _counted(site: Site, relay: Relay, count: int) -> dict[str, int]:
    """What the registry was asked for one page, by kind."""
    relay.reset()
    ask(site.address, site.page_of(_project(count)), clients=1, seconds=0)
    return relay.counts()


def _project(count: int) -> str:
    return f"counted-{count}"
