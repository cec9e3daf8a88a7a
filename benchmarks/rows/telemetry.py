"""The cost of telemetry: a cached page with a collector, and with /metrics."""

from __future__ import annotations

from benchmarks.load import ask
from benchmarks.results import Row, alternate, times
from benchmarks.rows.pages import CLIENTS, VERSIONS
from benchmarks.seeding import seed
from benchmarks.servers import Stage

_SECONDS = 4.0  # of each run: some exports fall into each
_PROJECT = "watched"
_OTLP = "PyOCI, OTLP"
_ALL = "PyOCI, OTLP, all requests"
_METRICS = "PyOCI, /metrics"
_ALONE = "PyOCI, unwatched"


def telemetry_rows(stage: Stage, rounds: int) -> list[Row]:
    """Pages a second of servers that differ in nothing else."""
    registry = stage.docker_registry()
    seed(registry, f"bench/{_PROJECT}", VERSIONS)
    collector = stage.bare("sink()", WEB_CONCURRENCY="1")
    sites = [
        stage.pyoci(registry, label=_ALONE),
        stage.pyoci(registry, label=_OTLP, OTLP_ENDPOINT=collector.url),
        stage.pyoci(registry, label=_ALL, OTLP_ENDPOINT=collector.url, OTEL_TRACES_SAMPLER="always_on"),
        stage.pyoci(registry, label=_METRICS, PYOCI_METRICS="yes"),
    ]
    for site in sites:
        ask(site.address, site.page_of(_PROJECT), clients=CLIENTS, seconds=0.5)
    runs = alternate(
        sites,
        rounds,
        lambda site, _: ask(site.address, site.page_of(_PROJECT), clients=CLIENTS, seconds=_SECONDS),
    )
    rates = {site.label: tuple(load.rate for load in loads) for site, loads in runs}
    return [
        Row(
            name=f"warm page, {CLIENTS} clients, {what}",
            unit="1/s",
            runs=rates[label],
            beside=_ALONE,
            others=rates[_ALONE],
            bar=bar,
        )
        for label, what, bar in (
            (_OTLP, "OTLP", times(0.7, at_least=True)),
            (_ALL, "OTLP, each request recorded", None),
            (_METRICS, "metrics for Prometheus", None),
        )
    ]
