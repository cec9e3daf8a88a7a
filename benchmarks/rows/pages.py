"""The page of a project with a hundred versions, asked for again and again."""

from __future__ import annotations

from benchmarks.load import Load, ask
from benchmarks.publishing import publish_versions
from benchmarks.results import Row, alternate
from benchmarks.servers import Site, Stage

VERSIONS = 100
CLIENTS = 8
_SECONDS = 4.0  # of each run; a page that takes longer is waited for
_PROJECT = "pages"


def page_rows(stage: Stage, rounds: int) -> list[Row]:
    """Pages a second, and how long one takes."""
    sites = stage.everybody()
    for site in sites:
        publish_versions(site, _PROJECT, VERSIONS)
        _load(site, CLIENTS, 1.0)  # every worker and thread has done it once
    many = alternate(sites, rounds, lambda site, _: _load(site, CLIENTS, _SECONDS))
    one = alternate(sites, rounds, lambda site, _: _load(site, 1, _SECONDS / 2))
    about = f"page of {VERSIONS} versions x 2 files"
    return [
        Row(
            name=f"{about}, {CLIENTS} clients",
            unit="1/s",
            more_is_better=True,
            runs={site.label: tuple(load.rate for load in loads) for site, loads in many},
        ),
        Row(
            name=f"{about}, {CLIENTS} clients, median latency",
            unit="ms",
            more_is_better=False,
            runs={site.label: _medians(loads) for site, loads in many},
        ),
        Row(
            name=f"{about}, one client, median latency",
            unit="ms",
            more_is_better=False,
            runs={site.label: _medians(loads) for site, loads in one},
        ),
    ]


def _load(site: Site, clients: int, seconds: float) -> Load:
    return ask(site.address, site.page_of(_PROJECT), clients=clients, seconds=seconds)


def _medians(loads: list[Load]) -> tuple[float, ...]:
    return tuple(load.median * 1000 for load in loads)
