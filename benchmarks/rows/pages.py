"""The page of a project with a hundred versions, requested repeatedly."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass, replace

from benchmarks import peers
from benchmarks.load import ACCEPT, Load, ask
from benchmarks.publishing import publish_versions
from benchmarks.results import Missed, Row, alternate, times
from benchmarks.seeding import seed
from benchmarks.servers import Stage

VERSIONS = 100
CLIENTS = 32
_SECONDS = 2.0  # of each run; a page that takes longer is waited for
_PROJECT = "pages"
_FLASK = "Flask view"
_WSGI = "bare WSGI function"
_GTHREAD = "bare WSGI function, gunicorn's gthread"
_EMBEDDED = "PyOCI's own registry"
_PEOPLE = "page for people"
_BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
_HOP = frozenset({"connection", "date", "server", "transfer-encoding", "content-length"})


@dataclass(frozen=True, slots=True)
class _Target:
    """A server of the page; `etag` for conditional requests, `accept` for another representation."""

    label: str
    address: tuple[str, int]
    path: str
    etag: str = ""
    accept: str = ACCEPT

    def load(self, clients: int, seconds: float = _SECONDS) -> Load:
        """Let some clients ask."""
        condition, status = ({"If-None-Match": self.etag}, 304) if self.etag else ({}, 200)
        headers = {"Accept": self.accept, **condition}
        return ask(self.address, self.path, clients=clients, seconds=seconds, headers=headers, status=status)


def page_rows(stage: Stage, rounds: int) -> list[Row]:
    """Pages a second, and the latency."""
    pyoci, others = _targets(stage)
    etag, limits = _limits(stage, pyoci)
    again = _Target("If-None-Match", pyoci.address, pyoci.path, etag)
    # The page shows a description, which the files that are written directly to a registry don't have.
    published = next(target for target in others if target.label == _EMBEDDED)
    people = replace(published, label=_PEOPLE, accept=_BROWSER)
    targets = [pyoci, again, people, *limits, *others]
    for target in targets:
        target.load(CLIENTS, 0.5)  # every worker and thread has done it once
    many = _runs(targets, rounds, CLIENTS)
    alone = [pyoci, *(other for other in others if other.label in {peers.PYPISERVER, peers.DEVPI})]
    one = _runs(alone, rounds, 1)
    return [
        *_rates(many, peer=_better(many)),
        *(
            Row(
                name="warm page, one client, median latency",
                unit="ms",
                runs=_medians(one[pyoci.label]),
                beside=other.label,
                others=_medians(one[other.label]),
            )
            for other in alone[1:]
        ),
    ]


def _targets(stage: Stage) -> tuple[_Target, list[_Target]]:
    """PyOCI in front of a registry, and the others, with the same files."""
    registry = stage.docker_registry()
    seed(registry, f"bench/{_PROJECT}", VERSIONS)
    served = peers.pypiserver(stage)
    sites = [stage.pyoci(label=_EMBEDDED), served, peers.pypiserver_alone(stage), peers.devpi_server(stage)]
    for site in sites:
        publish_versions(site, _PROJECT, VERSIONS)
    everybody = [stage.pyoci(registry), *sites, peers.proxpi(stage, served)]
    first, *others = (_Target(site.label, site.address, site.page_of(_PROJECT)) for site in everybody)
    return first, others


def _limits(stage: Stage, pyoci: _Target) -> tuple[str, list[_Target]]:
    """The page's ETag, and minimal servers of the same bytes and headers: a Flask view
    and a WSGI function.
    """
    connection = http.client.HTTPConnection(*pyoci.address, timeout=30)
    try:
        connection.request("GET", pyoci.path, headers={"Accept": ACCEPT, "Accept-Encoding": "gzip, deflate"})
        answer = connection.getresponse()
        body, etag = answer.read(), answer.getheader("ETag")
    finally:
        connection.close()
    if answer.status != 200 or etag is None:
        raise Missed(f"PyOCI's page was answered with {answer.status}; expected 200 and an ETag")
    headers = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP}
    path = stage.folder / "answer.json"
    path.write_text(json.dumps(headers))
    path.with_suffix(".body").write_bytes(body)
    limits = []
    gthread = {"GUNICORN_CMD_ARGS": "--worker-class gthread"}
    for label, application, environ in (
        (_FLASK, "page()", {}),
        (_WSGI, "wsgi()", {}),
        (_GTHREAD, "wsgi()", gthread),
    ):
        server = stage.bare(application, BENCH_ANSWER=str(path), **environ)
        port = int(server.url.rpartition(":")[2])
        limits.append(_Target(label, ("127.0.0.1", port), f"/it/bench/{_PROJECT}/"))
    return etag, limits


def _runs(targets: list[_Target], rounds: int, clients: int) -> dict[str, list[Load]]:
    measured = alternate(targets, rounds, lambda target, _: target.load(clients))
    return {target.label: loads for target, loads in measured}


def _better(runs: dict[str, list[Load]]) -> str:
    """The faster way to start pypiserver on this machine, which the limit is for."""
    return max(
        (peers.PYPISERVER, peers.PYPISERVER_ALONE),
        key=lambda label: sorted(load.rate for load in runs[label])[len(runs[label]) // 2],
    )


def _rates(runs: dict[str, list[Load]], peer: str) -> list[Row]:
    about = f"warm page of {VERSIONS} versions x 2 files, {CLIENTS} clients"
    rates = {label: tuple(load.rate for load in loads) for label, loads in runs.items()}
    pyoci, again, people = (rates.pop(label) for label in ("PyOCI", "If-None-Match", _PEOPLE))
    bars = {
        _FLASK: times(0.65, at_least=True),
        _GTHREAD: times(0.85, at_least=True),
        peers.DEVPI: times(20, at_least=True),
        peer: times(20, at_least=True),
    }
    return [
        *(
            Row(name=about, unit="1/s", runs=pyoci, beside=label, others=rate, bar=bars.get(label))
            for label, rate in rates.items()
        ),
        Row(
            name=f"{about}, If-None-Match",
            unit="1/s",
            runs=again,
            beside="PyOCI without",
            others=pyoci,
            bar=times(1, at_least=True),
        ),
        Row(
            name=f"{about}, as a page for people",
            unit="1/s",
            runs=people,
            beside="its JSON",
            others=rates[_EMBEDDED],
            bar=times(0.5, at_least=True),
        ),
    ]


def _medians(loads: list[Load]) -> tuple[float, ...]:
    return tuple(load.median * 1000 for load in loads)
