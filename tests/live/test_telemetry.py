"""Telemetry of a real server with four workers, which are replaced and stopped, with good
and bad collectors.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.builders import make_wheel
from tests.collector import Collector, attributes
from tests.live.environments import CHECKOUT
from tests.live.servers import Port, Server, Servers, start_pyoci
from tests.waiting import until

pytestmark = pytest.mark.live()
WORKERS = "4"
REQUESTS = 1000
WHEEL, BYTES = make_wheel()
FORM = {":action": "file_upload", "protocol_version": "1", "name": "hello-world", "version": "1.0"}
_PATIENCE = 20.0  # seconds

Start = Callable[..., Server]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector().running() as running:
        yield running


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a PyOCI of the test's own, with a registry of its own."""
    servers, ports = Servers(tmp_path), [Port()]

    def start(**settings: str) -> Server:
        own = {"PYOCI_EMBEDDED": str(tmp_path / "embedded"), "WEB_CONCURRENCY": WORKERS}
        return start_pyoci(servers, "pyoci", ports[0], **own | settings)

    yield start
    servers.stop()
    ports[0].close()


def ask(server: Server, path: str, method: str = "GET", **options: Any) -> int:
    with requests.Session() as session:
        session.trust_env = False
        answer = session.request(method, f"{server.url}{path}", timeout=60, allow_redirects=False, **options)
    return answer.status_code


def publish(server: Server, version: str = "1.0") -> int:
    name, content = make_wheel(version=version)
    return ask(
        server,
        "/local/acme/",
        "POST",
        data=FORM | {"version": version},
        files={"content": (name, content)},
    )


def stopped(server: Server) -> int:
    """Stop the server and wait; returns its exit status."""
    server.end()
    return server.process.wait(40)


class TestCollectors:
    def test_get_all_of_an_upload_and_a_page(self, start: Start, collector: Collector) -> None:
        """Spans with their parents, metrics and records of four workers are exported after SIGTERM."""
        server = start(OTLP_ENDPOINT=collector.url)
        assert publish(server) == 200
        assert ask(server, "/local/acme/hello-world/") == 200
        assert stopped(server) == 0
        spans = {span.name: span for span in collector.spans()}
        upload, page = spans["POST /{registry}/{namespace}/"], spans["GET /{registry}/{namespace}/{project}/"]
        assert spans["PUT manifest"].parent_span_id == spans["PUT upload"].parent_span_id == upload.span_id
        assert spans["GET tags"].parent_span_id == page.span_id
        assert spans["GET tags"].trace_id == page.trace_id != upload.trace_id
        lines = {attributes(record).get("path", "audit"): record for record in collector.records()}
        assert lines["audit"].span_id == upload.span_id
        assert lines["/local/acme/"].span_id == upload.span_id
        assert lines["/local/acme/hello-world/"].span_id == page.span_id
        assert collector.total("http.server.request.duration", http_request_method="POST") == 1
        assert collector.total("http.client.request.duration", pyoci_operation="tags") == 1
        assert collector.total("pyoci.uploads", pyoci_result="done") == 1
        assert collector.total("http.server.active_requests") == 0
        assert len({resource["service.instance.id"] for resource in collector.resources()}) == int(WORKERS)

    def test_hang(self, start: Start, collector: Collector) -> None:
        """Nobody waits for one: not who asks, and not who stops the server."""
        collector.held.set()
        server = start(OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="100")
        assert ask(server, "/local/acme/hello-world/") == 404
        until(lambda: collector.headers, "an export that gets no answer")
        assert [ask(server, "/local/acme/hello-world/") for _ in range(20)] == [404] * 20
        assert stopped(server) == 0
        assert not collector.traces + collector.metrics + collector.logs  # all of them still wait
        assert "CRITICAL" not in server.log.read_text()

    def test_echo_what_they_were_sent(self, start: Start, collector: Collector) -> None:
        """The credentials are in no log, which has at most one line for each process."""
        secret = "Bearer for-the-collector"
        collector.answer = 403
        collector.text = lambda headers: headers["authorization"]
        server = start(OTLP_ENDPOINT=collector.url, OTLP_AUTH=secret, OTEL_BSP_SCHEDULE_DELAY="50")
        for _ in range(20):
            ask(server, "/health")
        command_lines = _command_lines(server)
        assert stopped(server) == 0
        log = server.log.read_text()
        assert {headers["authorization"] for headers in collector.headers} == {secret}
        assert 1 <= log.count("telemetry is being lost") <= int(WORKERS)
        assert "for-the-collector" not in log
        assert len(command_lines) >= 2
        assert "for-the-collector" not in "".join(command_lines)


def _command_lines(server: Server) -> list[str]:
    process = server.process.pid
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [Path(f"/proc/{each}/cmdline").read_text() for each in (process, *children)]


def test_nothing_is_imported_that_nobody_wants(tmp_path: Path) -> None:
    """A worker without telemetry imports neither OpenTelemetry nor Prometheus."""
    servers, port = Servers(tmp_path), Port()
    command = [sys.executable, "-m", "gunicorn", "-c", "python:pyoci.server", "tests.live.revealing:app"]
    env = {"PORT": str(port.number), "WEB_CONCURRENCY": "1", "PYOCI_EMBEDDED": str(tmp_path / "embedded")}
    try:
        server = servers.start("revealing", command, port.url, "/health", env, CHECKOUT)
        assert publish(server) == 200
        assert ask(server, "/local/acme/hello-world/") == 200
        modules = requests.get(f"{server.url}/modules", timeout=30).json()
    finally:
        servers.stop()
        port.close()
    assert "pyoci" in modules
    assert {"opentelemetry", "prometheus_client", "google"} & set(modules) == set()


class TestMetricsPage:
    def test_is_not_there_unless_wanted(self, start: Start) -> None:
        """`metrics` isn't a registry, either."""
        server = start()
        assert ask(server, "/metrics") == 404

    def test_is_never_below_the_path(self, start: Start) -> None:
        """It is for the operator, like /health."""
        server = start(PYOCI_METRICS="yes", PYOCI_PATH="/packages")
        assert (ask(server, "/metrics"), ask(server, "/packages/metrics")) == (200, 404)
        assert ask(server, "/metrics", "POST") == 405

    def test_agrees_with_the_log(self, start: Start) -> None:
        """For a thousand requests of all kinds in four workers, which are replaced meanwhile."""
        server = start(PYOCI_METRICS="yes", GUNICORN_CMD_ARGS="--max-requests 100 --max-requests-jitter 50")
        assert publish(server) == 200
        with ThreadPoolExecutor(8) as clients:
            list(clients.map(lambda number: _visit(server, number), range(REQUESTS - 2)))
        families, lines = _settled(server)
        counted = Counter[tuple[str, str]]()
        for sample in _samples(families, "http_server_request_duration_seconds_count"):
            labels = sample.labels
            counted[labels["http_request_method"], labels["http_response_status_code"]] += int(sample.value)
        assert counted == Counter((line["method"], str(line["status"])) for line in lines)
        assert sum(counted.values()) >= REQUESTS
        sent = sum(each.value for each in _samples(families, "http_server_response_body_size_bytes_sum"))
        assert sent == sum(line["bytes"] for line in lines)
        uploads = sum(each.value for each in _samples(families, "pyoci_uploads_total"))
        assert uploads == sum(line["method"] == "POST" for line in lines)
        assert server.log.read_text().count("Booting worker") > int(WORKERS)
        assert len(_samples(families, "pyoci_threads_limit")) == 1

    def test_is_all_that_is_lost_with_its_directory(self, start: Start) -> None:
        """Old workers end and new ones start, and the server goes on."""
        server = start(PYOCI_METRICS="yes", WEB_CONCURRENCY="2")
        [folder] = _folders(server)
        shutil.rmtree(folder)
        server.process.send_signal(signal.SIGHUP)
        until(partial(_has_exited, server, 2), "old workers to end")
        assert (ask(server, "/metrics"), ask(server, "/local/acme/hello-world/")) == (503, 404)
        assert stopped(server) == 0

    def test_leaves_nothing_behind(self, start: Start) -> None:
        """Neither of workers that were replaced, nor of the server."""
        server = start(PYOCI_METRICS="yes")
        [folder] = _folders(server)
        for number in range(3):
            booted = _booted(server) + int(WORKERS)
            server.process.send_signal(signal.SIGHUP)
            until(partial(_has_booted, server, booted), "new workers")
            assert ask(server, f"/health?{number}") == 200
        # One for each kind of value: of each worker, of the first process, and of those that have ended.
        until(
            lambda: len(list(folder.glob("*.db"))) <= 3 * (int(WORKERS) + 2), "what old workers leave to go"
        )
        assert stopped(server) == 0
        assert not folder.exists()


def _visit(server: Server, number: int) -> int:
    """One of many requests, each of which ends differently."""
    page = "/local/acme/hello-world/"
    match number % 10:
        case 0:
            return ask(server, page, "HEAD")
        case 1:
            return ask(server, f"{page}{WHEEL}")
        case 2:
            return ask(server, "/local/acme/Hello.World/")
        case 3:
            return ask(server, "/local/acme/nobody-has-it/")
        case 4:
            return ask(server, "/nobody/acme/x/")
        case 5:
            return ask(server, page, "PATCH", json={})
        case 6 if number % 100 == 6:
            return publish(server, f"1.{number}")
        case 7:
            return ask(server, f"{page}json")
        case _:
            return ask(server, page)


def _settled(server: Server) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The page while only its own request is served, and the log before that."""
    end = time.monotonic() + _PATIENCE
    while True:
        lines = _requests(server)
        answer = requests.get(f"{server.url}/metrics", timeout=30)
        assert answer.headers["Content-Type"].startswith("text/plain")
        families = {family.name: family for family in text_string_to_metric_families(answer.text)}
        counts = sum(each.value for each in _samples(families, "http_server_request_duration_seconds_count"))
        if counts == len(lines):
            return families, lines
        assert time.monotonic() < end, f"{counts} counted"
        time.sleep(0.5)  # until the line of this look at the page is in the log


def _samples(families: dict[str, Any], name: str) -> list[Any]:
    return [sample for family in families.values() for sample in family.samples if sample.name == name]


def _requests(server: Server) -> list[dict[str, Any]]:
    """The lines of requests in the log."""
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == "request"]


def _booted(server: Server) -> int:
    return server.log.read_text().count("Booting worker")


def _has_booted(server: Server, workers: int) -> bool:
    return _booted(server) >= workers


def _has_exited(server: Server, workers: int) -> bool:
    return server.log.read_text().count("Worker exiting") >= workers


def _folders(server: Server) -> list[Path]:
    """The folders of the workers' metrics."""
    maps = Path(f"/proc/{server.process.pid}/maps").read_text()
    return sorted({Path(line.split()[-1]).parent for line in maps.splitlines() if line.endswith(".db")})
