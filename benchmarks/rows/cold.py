"""Pages without a cache: the number of requests to the registry, and the time."""

from __future__ import annotations

from statistics import median

from benchmarks.load import ask
from benchmarks.loop import read_versions
from benchmarks.relay import Relay, relay_to
from benchmarks.results import Row, at_most, times
from benchmarks.seeding import seed
from benchmarks.servers import Site, Stage

# Versions, and how many projects have so many: short times are measured more often.
_SIZES = {10: 5, 100: 3, 1000: 1}
_FIRST = 8  # small projects
_AWAY = 0.02  # seconds
_AWAY_COUNT = 100
_LOOP = "hand-written loop"
_Pair = tuple[float, float]


def cold_rows(stage: Stage, rounds: int) -> list[Row]:
    """N versions take N + 1 requests, and hardly longer than a simple loop."""
    registry = stage.docker_registry()
    for number in range(_FIRST):
        seed(registry, f"bench/first_{number}", 2)
    for count, projects in _SIZES.items():
        for number in range(projects):
            seed(registry, f"bench/cold_{count}_{number}", count)
            read_versions(registry, f"bench/cold_{count}_{number}", count)  # the registry has read it once
    runs: dict[int, list[_Pair]] = {count: [] for count in _SIZES}
    for turn in range(rounds):
        reader = _started(stage, registry)
        for count, projects in _SIZES.items():
            for number in range(projects):
                runs[count].append(_pair(reader, registry, count, number, turn))
        stage.end(reader.server)
    return [
        *_counted(stage, registry),
        *(_timed(count, runs[count]) for count in _SIZES),
        _growth(runs),
        *_away(stage, registry, rounds),
    ]


def _started(stage: Stage, registry: str) -> Site:
    """PyOCI, in which every worker has read a small page, so that imports aren't measured."""
    reader = stage.pyoci(registry)
    for number in range(_FIRST):
        ask(reader.address, reader.page_of(f"first-{number}"), clients=1, seconds=0)
    return reader


def _pair(reader: Site, registry: str, count: int, number: int, turn: int) -> _Pair:
    """The seconds of PyOCI and of the loop for one page; the first one differs each time."""
    repository = f"bench/cold_{count}_{number}"
    if (turn + number) % 2:
        loop = read_versions(registry, repository, count)
        return _cold(reader, count, number), loop
    page = _cold(reader, count, number)
    return page, read_versions(registry, repository, count)


def _cold(reader: Site, count: int, number: int) -> float:
    path = reader.page_of(f"cold-{count}-{number}")
    return ask(reader.address, path, clients=1, seconds=0).seconds


def _counted(stage: Stage, registry: str) -> list[Row]:
    """Exact, because the registry asks for no credentials: there are no requests for challenges or tokens."""
    with relay_to(registry) as relay:
        reader = _started(stage, relay.url)
        rows = [row for count in _SIZES for row in _counts(reader, relay, count)]
        stage.end(reader.server)
    return rows


def _counts(reader: Site, relay: Relay, count: int) -> list[Row]:
    found = []
    for _ in range(2):
        relay.reset()
        _cold(reader, count, 0)
        found.append(relay.counts())
    cold, warm = found
    return [
        Row(
            name=f"cold page of {count} versions: requests to the registry",
            runs=(sum(cold.values()),),
            bar=at_most(count + 1),
            details={"kinds": cold},
        ),
        Row(
            name=f"the same page again, of {count} versions: requests to the registry",
            runs=(sum(warm.values()),),
            details={"kinds": warm},
        ),
    ]


def _timed(count: int, runs: list[_Pair]) -> Row:
    return Row(
        name=f"cold page of {count} versions",
        unit="ms",
        runs=tuple(page * 1000 for page, _ in runs),
        beside=_LOOP,
        others=tuple(loop * 1000 for _, loop in runs),
        bar=times(1.3),
    )


def _growth(runs: dict[int, list[_Pair]]) -> Row:
    """The cost of a version on a page of a thousand, divided by that on a page of a hundred; 1 is linear
    growth.
    """
    few, many = 100, 1000
    return Row(
        name=f"cold page, time per version of {many}",
        unit="ms",
        runs=tuple(page * 1000 / many for page, _ in runs[many]),
        beside=f"per version of {few}",
        others=tuple(page * 1000 / few for page, _ in runs[few]),
        bar=times(1.1),
    )


def _away(stage: Stage, registry: str, rounds: int) -> list[Row]:
    """The same with a delay to the registry, in which the number of sequential round trips counts."""
    runs = []
    with relay_to(registry, delay=_AWAY) as relay:
        for turn in range(rounds):
            reader = _started(stage, relay.url)
            runs += [
                _pair(reader, relay.url, _AWAY_COUNT, number, turn) for number in range(_SIZES[_AWAY_COUNT])
            ]
            stage.end(reader.server)
    about = f"cold page of {_AWAY_COUNT} versions, {_AWAY * 1000:.0f} ms away"
    return [
        Row(
            name=f"{about}, in round trips",
            runs=tuple(page / _AWAY for page, _ in runs),
            bar=at_most(24),
            details={"loop": median(loop / _AWAY for _, loop in runs)},
        ),
        Row(
            name=about,
            unit="ms",
            runs=tuple(page * 1000 for page, _ in runs),
            beside=_LOOP,
            others=tuple(loop * 1000 for _, loop in runs),
            bar=times(1.3),
        ),
    ]
