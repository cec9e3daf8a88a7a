"""What a collector receives, over a real socket, and how PyOCI handles bad collectors."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import Client

from pyoci.app import create_app
from pyoci.config import Settings
from pyoci.embedded import create_registry_app
from pyoci.telemetry.listening import TELEMETRY, Telemetry, exporter
from pyoci.telemetry.logs import Log
from pyoci.telemetry.otlp import Collector as Endpoint
from pyoci.telemetry.otlp import Otlp
from pyoci.telemetry.requests import RequestLog
from pyoci.telemetry.traces import RateLimit
from tests.builders import make_wheel
from tests.collector import Collector, attributes
from tests.serving import served

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECRET = "Bearer of-the-collector-4711"
PATIENCE = 60.0  # seconds; the machine may be busy
LOCAL = {"REMOTE_ADDR": "127.0.0.1"}


def telemetry_of(app: Flask) -> Telemetry:
    found = app.extensions[TELEMETRY]
    assert isinstance(found, Telemetry)
    return found


@contextmanager
def watched(collector: Collector, **environ: str) -> Iterator[tuple[FlaskClient, io.StringIO]]:
    """PyOCI in this process. At the end everything is exported."""
    log = io.StringIO()
    settings = Settings.from_environ({"OTLP_ENDPOINT": collector.url, "OTLP_AUTH": SECRET, **environ})
    app = create_app(settings, Log("debug", stream=log), sleep=lambda _: None)
    try:
        yield app.test_client(), log
    finally:
        telemetry_of(app).stop(PATIENCE)


def publish(client: FlaskClient, place: str) -> None:
    name, content = make_wheel()
    form = {
        ":action": "file_upload",
        "protocol_version": "1",
        "name": "hello-world",
        "version": "1.0",
        "content": (io.BytesIO(content), name),
    }
    with client.post(place, data=form, environ_base=LOCAL) as answer:
        assert answer.status_code == 200, answer.get_data(as_text=True)


def get(client: FlaskClient, path: str, **headers: str) -> int:
    with client.get(path, headers=headers, environ_base=LOCAL) as answer:
        answer.get_data()
        return answer.status_code


def by_name(collector: Collector) -> dict[str, Any]:
    return {span.name: span for span in collector.spans()}


class TestSpans:
    """One for each request and one for each call. A caller's span is the parent."""

    def test_calls_belong_to_requests(self, collector: Collector, tmp_path: Path) -> None:
        """Also parallel calls in other threads."""
        calls: list[tuple[str, str | None]] = []
        registry = create_registry_app(tmp_path, htpasswd=None, local_only=False)

        def listening(environ: Any, start_response: Any) -> Any:
            calls.append((environ["PATH_INFO"], environ.get("HTTP_TRACEPARENT")))
            return registry(environ, start_response)

        with (
            served(listening) as url,
            watched(collector, PYOCI_REGISTRIES=f"lab={url}") as (client, _),
        ):
            publish(client, "/lab/acme/")
            calls.clear()
            state = "vendor=value"
            headers = {"traceparent": PARENT, "tracestate": state, "Cache-Control": "no-cache"}
            assert get(client, "/lab/acme/hello-world/", **headers) == 200
        page = by_name(collector)["GET /{registry}/{namespace}/{project}/"]
        ours = [span for span in collector.spans() if span.trace_id.hex() == PARENT.split("-")[1]]
        children = [span for span in ours if span.parent_span_id == page.span_id]
        assert page.parent_span_id.hex() == PARENT.split("-")[2]
        assert page.trace_state == state
        assert sorted(span.name for span in children) == ["GET manifest", "GET tags"]
        told = {header.split("-")[2] for _, header in calls if header}
        assert told == {span.span_id.hex() for span in children}
        assert len(calls) == len(children)

    def test_attributes(self, collector: Collector, tmp_path: Path) -> None:
        """Templates and hosts, without the query, names and credentials."""
        with watched(collector, PYOCI_EMBEDDED=str(tmp_path)) as (client, _):
            publish(client, "/local/acme/")
            get(client, "/local/acme/hello-world/?password=in-a-query", Authorization="Basic bWU6c2VjcmV0")
        spans = b"".join(request.SerializeToString() for request in collector.traces)
        page = attributes(by_name(collector)["GET /{registry}/{namespace}/{project}/"])
        assert page == {
            "http.request.method": "GET",
            "http.response.status_code": 200,
            "http.route": "/{registry}/{namespace}/{project}/",
            "pyoci.registry": "local",
            "url.scheme": "http",
            "user_agent.original": "Werkzeug/" + page["user_agent.original"].removeprefix("Werkzeug/"),
        }
        assert attributes(by_name(collector)["PUT manifest"]) == {
            "http.request.method": "PUT",
            "http.response.status_code": 201,
            "pyoci.operation": "manifest",
            "server.address": "local",
        }
        for word in (b"hello", b"acme", b"in-a-query", b"bWU6c2VjcmV0", b"secret", b"of-the-collector"):
            assert word not in spans

    @pytest.mark.parametrize(
        "parent",
        [
            "",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "x" * 8000,
        ],
        ids=["empty", "zero", "version", "short", "long"],
    )
    def test_invalid_context_from_a_caller(self, collector: Collector, parent: str) -> None:
        """A new trace begins, and nothing is logged."""
        with watched(collector) as (client, log):
            assert get(client, "/health", traceparent=parent) == 200
        [span] = collector.spans()
        assert span.parent_span_id == b""
        assert "telemetry is being lost" not in log.getvalue()

    def test_requests_over_the_rate_limit(self, collector: Collector) -> None:
        """They are counted, and neither traced nor in the collector's log."""
        limit = RateLimit(rate=0, burst=3)
        telemetry = Telemetry(lambda: Otlp(Endpoint(collector.url), {}, "1", limit))
        log = Log(stream=io.StringIO())
        told: list[str] = []
        events = telemetry.events(log)

        def application(environ: Any, start_response: Any) -> list[bytes]:
            with events.calling("manifest", "https://ghcr.io", {"method": "GET"}):
                told.append(events.headers().get("traceparent", ""))
            start_response("200 OK", [])
            return [b"ok"]

        client = Client(RequestLog(application, log, telemetry=telemetry))
        for _ in range(5):
            client.get("/", headers={"traceparent": PARENT}).close()
        telemetry.stop(PATIENCE)
        assert len(collector.spans()) == 2 * 3
        assert len(collector.records()) == 3
        assert collector.total("http.server.request.duration") == 5
        assert collector.total("http.client.request.duration") == 5
        assert [header == PARENT for header in told] == [False, False, False, True, True]

    def test_audit_lines_are_all_sent(self, collector: Collector) -> None:
        """Also those of requests over the rate limit."""
        limit = RateLimit(rate=0, burst=1)
        telemetry = Telemetry(lambda: Otlp(Endpoint(collector.url), {}, "1", limit))
        log = Log(stream=io.StringIO())
        telemetry.events(log)

        def application(environ: Any, start_response: Any) -> list[bytes]:
            environ["pyoci.audit"] = {"action": "publish", "sha256": ["12ab"], "client": "twine/7.0.0"}
            start_response("200 OK", [])
            return [b"ok"]

        client = Client(RequestLog(application, log, telemetry=telemetry))
        for _ in range(3):
            client.post("/").close()
        telemetry.stop(PATIENCE)
        rooms = [
            attribute.value.string_value
            for record in collector.records()
            for attribute in record.attributes
            if attribute.key == "pyoci.room"
        ]
        assert sorted(rooms) == ["pyoci.audit"] * 3 + ["pyoci.web"]


class TestRecords:
    """The log lines."""

    def test_belong_to_the_request(self, collector: Collector) -> None:
        """They have the ids of its span."""
        with watched(collector) as (client, _):
            get(client, "/health?password=in-a-query")
        [span] = collector.spans()
        [record] = collector.records()
        assert (record.trace_id, record.span_id) == (span.trace_id, span.span_id)
        assert (record.body.string_value, record.severity_text) == ("request", "INFO")
        found = attributes(record)
        assert (found["pyoci.room"], found["path"], found["status"]) == ("pyoci.web", "/health", 200)

    def test_user_info_is_masked(self, collector: Collector) -> None:
        """As in every line."""
        with watched(collector) as (client, _):
            get(client, "/me:secret-word@ghcr.io/acme/")
        assert b"secret-word" not in b"".join(collector.raw)
        assert b"***@ghcr.io" in b"".join(collector.raw)


class TestResource:
    """The attributes of the server."""

    def test_what_the_platform_says(self, collector: Collector) -> None:
        """With the names that the Rust PyOCI uses."""
        platform = {
            "DEPLOYMENT_ENVIRONMENT": "production",
            "CONTAINER_APP_NAME": "pyoci",
            "CONTAINER_APP_REVISION": "pyoci--7",
            "CONTAINER_APP_REPLICA_NAME": "pyoci--7-abc",
        }
        with watched(collector, **platform) as (client, _):
            get(client, "/health")
        found = collector.resources()
        assert len(found) == 3
        for resource in found:
            assert resource["service.name"] == "pyoci"
            assert resource["service.version"]
            assert resource["service.instance.id"]
            assert resource["deployment.environment"] == "production"
            assert resource["k8s.container.name"] == "pyoci"
            assert resource["k8s.pod.name"] == "pyoci--7"
            assert resource["k8s.replicaset.name"] == "pyoci--7-abc"

    def test_opentelemetrys_own_variables(
        self, collector: Collector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They take precedence, as documented, and switch the export on."""
        monkeypatch.setenv("OTEL_SERVICE_NAME", "packages")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=build")
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=4711")
        own = {"OTLP_ENDPOINT": "", "OTLP_AUTH": "", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        with watched(collector, **own) as (client, _):
            get(client, "/health")
        assert collector.spans() == []
        assert [record.body.string_value for record in collector.records()] == ["request"]
        assert {(each["service.name"], each["team"]) for each in collector.resources()} == {
            ("packages", "build")
        }
        assert {each["x-key"] for each in collector.headers} == {"4711"}

    def test_authorization(self, collector: Collector) -> None:
        """OTLP_AUTH is the whole header, whatever is in ~/.netrc."""
        with watched(collector) as (client, _):
            get(client, "/health")
        assert {each["authorization"] for each in collector.headers} == {SECRET}


class TestMetrics:
    """What is counted, and the names."""

    def test_an_upload_and_a_page(self, collector: Collector, tmp_path: Path) -> None:
        """Requests, calls, bytes, cache hits and outcomes."""
        with watched(collector, PYOCI_EMBEDDED=str(tmp_path)) as (client, _):
            publish(client, "/local/acme/")
            for _ in range(3):
                get(client, "/local/acme/hello-world/")
            get(client, "/ghcr.example/a/b/c/../")
        page = {"http_route": "/{registry}/{namespace}/{project}/", "http_response_status_code": 200}
        assert collector.total("http.server.request.duration", **page) == 3
        assert collector.total("http.server.request.duration", http_request_method="POST") == 1
        assert collector.total("http.server.request.body.size") == 1
        assert collector.total("http.server.response.body.size", **page) == 3
        assert collector.total("http.server.active_requests") == 0
        assert collector.total("pyoci.uploads", pyoci_result="done") == 1
        assert collector.total("pyoci.cache.lookups", pyoci_cache_kind="page", pyoci_cache_result="hit") == 2
        assert collector.total("http.client.request.duration", pyoci_operation="tags") == 1
        assert (
            collector.total(
                "http.client.request.duration", pyoci_operation="manifest", http_request_method="PUT"
            )
            == 2
        )

    @pytest.mark.parametrize(
        ("data", "result"), [({}, "InvalidRequest"), ({":action": "submit"}, "Withdrawn")], ids=str
    )
    def test_uploads_that_fail(
        self, collector: Collector, tmp_path: Path, data: dict[str, str], result: str
    ) -> None:
        """By the kind of error."""
        with watched(collector, PYOCI_EMBEDDED=str(tmp_path)) as (client, _):
            client.post(
                "/local/acme/", data=data, environ_base=LOCAL, content_type="multipart/form-data"
            ).close()
        assert collector.total("pyoci.uploads", pyoci_result=result) == 1


class TestBadCollectors:
    """They lose only telemetry."""

    @pytest.fixture(autouse=True)
    def _impatience(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Exports have a short timeout."""
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")

    @pytest.mark.parametrize("status", [400, 401, 404, 429, 503])
    def test_refuses(self, collector: Collector, status: int) -> None:
        """One line is logged, without the credentials that the collector repeats."""
        collector.answer = status
        collector.text = lambda headers: f"no: {headers['authorization']}"
        with watched(collector) as (client, log):
            for _ in range(50):
                assert get(client, "/health") == 200
        assert log.getvalue().count("telemetry is being lost") == 1
        assert "of-the-collector" not in log.getvalue()

    def test_is_down(self, collector: Collector) -> None:
        """The port is closed."""
        gone = Collector(url="http://127.0.0.1:1")
        with watched(gone) as (client, log):
            assert get(client, "/health") == 200
        assert log.getvalue().count("telemetry is being lost") == 1

    def test_hangs(self, collector: Collector) -> None:
        """Requests are served, and stopping has a time limit."""
        collector.held.set()
        log = Log(stream=io.StringIO())
        otlp = exporter(collector.url, "", {}, "1", log)()
        for _ in range(5000):  # more than the queue holds
            otlp.log("event", "pyoci.web", "warning", {})
        otlp.stop(seconds=0.5)
        assert "last-export" in {thread.name for thread in threading.enumerate()}  # it goes on by itself
        collector.released.set()


def test_nothing_secret_in_a_repr() -> None:
    """Settings are printed in some errors."""
    settings = Settings.from_environ({"OTLP_ENDPOINT": "https://c.example", "OTLP_AUTH": SECRET})
    assert settings.export.authorization == SECRET
    assert "of-the-collector" not in repr(settings)
