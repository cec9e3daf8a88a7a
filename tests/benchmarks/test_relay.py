"""The relay of the benchmark: its counts must be exact."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from werkzeug.wrappers import Request, Response

from benchmarks.relay import relay_to
from tests.serving import served


@Request.application
def echo(request: Request) -> Response:
    """Answers with what arrived; a path that ends in a number gives so many bytes."""
    last = request.path.rpartition("/")[2]
    body = b"x" * int(last) if last.isdecimal() else request.get_data()
    return Response(body, headers={"X-Asked": f"{request.method} {request.path}"})


@pytest.fixture
def registry() -> Iterator[str]:
    with served(echo) as url:
        yield url


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def test_requests_are_counted_by_what_they_ask_for(registry: str, session: requests.Session) -> None:
    """On one connection, with bodies between them, until `reset`."""
    with relay_to(registry) as relay:
        session.get(f"{relay.url}/v2/a/b/tags/list?n=5", timeout=60)
        session.head(f"{relay.url}/v2/a/b/manifests/1.0", timeout=60)
        session.get(f"{relay.url}/v2/a/b/manifests/1.1", timeout=60)
        session.get(f"{relay.url}/v2/a/b/blobs/sha256:00", timeout=60)
        session.put(f"{relay.url}/v2/a/b/blobs/uploads/1", data=b"GET of a body", timeout=60)
        counts = relay.counts()
        relay.reset()
        assert counts == {"tags": 1, "documents": 2, "blobs": 1, "PUT /v2/a/b/blobs/uploads/1": 1}
        assert relay.counts() == {}


def test_what_is_asked_for_again(registry: str, session: requests.Session) -> None:
    """Documents and blobs count, by whichever method; lists of tags don't."""
    with relay_to(registry) as relay:
        for path in ("manifests/1.0", "manifests/1.1", "manifests/1.0", "tags/list", "tags/list"):
            session.get(f"{relay.url}/v2/a/{path}", timeout=60)
        session.get(f"{relay.url}/v2/b/manifests/1.0", timeout=60)
        session.head(f"{relay.url}/v2/a/manifests/1.0", timeout=60)
        assert relay.repeated() == 2
        relay.reset()
        assert relay.repeated() == 0


@pytest.mark.parametrize("size", [0, 1, 10_000_000], ids=["empty", "one byte", "more than the window"])
def test_bytes_arrive_whole_both_ways(registry: str, session: requests.Session, size: int) -> None:
    """Also if more bytes are under way than the relay holds."""
    with relay_to(registry, delay=0.002) as relay:
        assert len(session.get(f"{relay.url}/{size}", timeout=30).content) == size
        assert session.put(f"{relay.url}/put", data=b"y" * size, timeout=30).content == b"y" * size


def test_a_delay_is_added_to_each_round_trip(registry: str) -> None:
    """Half a second at least, and longer on a busy machine."""
    with relay_to(registry, delay=0.5) as relay:
        started = time.monotonic()
        requests.get(f"{relay.url}/1", timeout=30)
        assert time.monotonic() - started >= 0.5


def test_no_request_waits_for_another() -> None:
    """A registry that answers sixteen requests only when it has them all gets them all."""
    together = threading.Barrier(16)

    @Request.application
    def wait(_request: Request) -> Response:
        together.wait(30)
        return Response(b"all")

    with served(wait) as registry, relay_to(registry, delay=0.1) as relay, ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(requests.get, relay.url, timeout=30) for _ in range(16)]
        assert [answer.result().content for answer in asked] == [b"all"] * 16


def test_no_more_bytes_pass_than_the_rate_lets(registry: str, session: requests.Session) -> None:
    """Two million bytes at four million a second take half a second, or longer on a busy machine."""
    with relay_to(registry, rate=4e6) as relay:
        started = time.monotonic()
        session.get(f"{relay.url}/2000000", timeout=30)
        assert time.monotonic() - started >= 0.5


def test_blobs_are_elsewhere_where_a_redirect_is_wanted(registry: str, session: requests.Session) -> None:
    """A GET is redirected and counted; HEAD and documents go to the registry."""
    with relay_to(registry, redirect="http://storage.test:1") as relay:
        blob = f"{relay.url}/v2/a/blobs/sha256:00"
        answer = session.get(blob, allow_redirects=False, timeout=60)
        assert (answer.status_code, answer.headers["Location"]) == (
            307,
            "http://storage.test:1/v2/a/blobs/sha256:00",
        )
        assert session.head(blob, timeout=60).headers["X-Asked"] == "HEAD /v2/a/blobs/sha256:00"
        assert session.get(f"{relay.url}/v2/a/manifests/1", timeout=60).status_code == 200
        assert relay.counts() == {"blobs": 2, "documents": 1}
