"""Requests that are refused because of their head: pages of other sites, encoded bodies, no Host."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import EnvironBuilder, run_wsgi_app

from tests.web.doubles import MemoryStore
from tests.web.uploads import ROOT, make_form, post

PAGE = "/ghcr.io/acme/hello-world/"
OWN = "http://pyoci.example"
FOREIGN = {
    "another host": {"Origin": "https://evil.example"},
    "another host, by http": {"Origin": "http://evil.example"},
    "a neighbour": {"Origin": "https://www.pyoci.example"},
    "the host above": {"Origin": "https://example"},
    "another port": {"Origin": "http://pyoci.example:8000"},
    "a longer name": {"Origin": "http://pyoci.example.evil.example"},
    "a user before it": {"Origin": "http://pyoci.example@evil.example"},
    "null": {"Origin": "null"},
    "empty": {"Origin": ""},
    "two": {"Origin": f"{OWN}, https://evil.example"},
    "two, by blanks": {"Origin": f"https://evil.example {OWN}"},
    "an extension": {"Origin": "chrome-extension://pyoci.example"},
    "a file": {"Origin": "file://"},
    "no URL": {"Origin": "http://[pyoci.example"},
    "no port": {"Origin": "http://pyoci.example:x"},
    "cross-site alone": {"Sec-Fetch-Site": "cross-site"},
    "cross-site, in capitals": {"Sec-Fetch-Site": "Cross-Site"},
    "cross-site, own origin": {"Sec-Fetch-Site": "cross-site", "Origin": OWN},
    "a forwarded host that nobody vouches for": {
        "Origin": "https://evil.example",
        "X-Forwarded-Host": "evil.example",
    },
}
OURS: dict[str, tuple[dict[str, str], str]] = {
    "no browser": ({}, OWN),
    "the same": ({"Origin": OWN}, OWN),
    "in capitals": ({"Origin": "HTTP://PyOCI.example"}, OWN),
    "its port": ({"Origin": "http://pyoci.example:8000"}, "http://pyoci.example:8000"),
    "its port in words": ({"Origin": "http://pyoci.example:80"}, OWN),
    "TLS": ({"Origin": "https://pyoci.example"}, "https://pyoci.example"),
    "TLS that a proxy ends in silence": ({"Origin": "https://pyoci.example"}, OWN),
    "TLS at another port": ({"Origin": "https://pyoci.example:8443"}, "https://pyoci.example:8443"),
    "IPv6": ({"Origin": "http://[::1]:8000"}, "http://[::1]:8000"),
    "same-origin": ({"Origin": OWN, "Sec-Fetch-Site": "same-origin"}, OWN),
    "typed": ({"Sec-Fetch-Site": "none"}, OWN),
}
WRITES = [
    ("POST", ROOT),
    ("PATCH", f"{PAGE}1.0"),
    ("DELETE", f"{PAGE}1.0"),
    ("PUT", PAGE),
    ("POST", "/nowhere"),
]


@pytest.mark.parametrize(("method", "path"), WRITES)
@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
def test_a_page_of_another_site_writes_nothing(
    client: FlaskClient, store: MemoryStore, headers: dict[str, str], method: str, path: str
) -> None:
    """A browser adds the user's password to any site's form. Nothing is asked or stored for it."""
    answer = client.open(path, method=method, headers=headers, base_url=OWN, data=b"x" * 100)
    assert answer.status_code == 403
    assert "web pages of other sites may not write here" in answer.text
    assert answer.status == f"403 {answer.text}"
    assert store.calls == []


@pytest.mark.parametrize(("headers", "base_url"), OURS.values(), ids=OURS)
def test_own_pages_and_clients_of_packages_write(
    client: FlaskClient, headers: dict[str, str], base_url: str
) -> None:
    """An Origin is this server's if it has the host and port of the request."""
    assert post(client, make_form(), headers=headers, base_url=base_url).status_code == 200


def test_http_is_another_port_than_https(client: FlaskClient) -> None:
    """If the request is known to have come by https, a page that came by http is another site's."""
    answer = client.delete(f"{PAGE}1.0", headers={"Origin": OWN}, base_url="https://pyoci.example")
    assert answer.status_code == 403


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
def test_reading_is_allowed(client: FlaskClient, headers: dict[str, str], method: str) -> None:
    """Other sites have links to PyOCI, and browsers don't show its pages to their scripts."""
    post(client, make_form())
    assert client.open(PAGE, method=method, headers=headers, base_url=OWN).status_code == 200


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "deflate", "br", "zstd", "x-gzip", "identity, gzip", "x"])
@pytest.mark.parametrize(("method", "path"), WRITES)
def test_an_encoded_body_is_refused(
    client: FlaskClient, store: MemoryStore, method: str, path: str, coding: str
) -> None:
    """It would be stored compressed, or parsed as invalid."""
    answer = client.open(path, method=method, headers={"Content-Encoding": coding}, data=b"x")
    assert answer.status_code == 415
    assert answer.text == "the body has a Content-Encoding; expected a body without one"
    assert answer.headers["Accept-Encoding"] == "identity"
    assert store.calls == []


@pytest.mark.parametrize("coding", ["identity", "Identity", "", "identity, identity"])
def test_identity_coding_is_accepted(client: FlaskClient, coding: str) -> None:
    """`identity` means that there is no coding."""
    assert post(client, make_form(), headers={"Content-Encoding": coding}).status_code == 200


@pytest.mark.parametrize("path", [PAGE, ROOT, "/health", "/ready", "/nowhere"])
@pytest.mark.parametrize(
    ("protocol", "host", "refused"),
    [
        ("HTTP/1.1", None, True),
        ("HTTP/1.1", "a.example,b.example", True),
        ("HTTP/1.1", "a.example b.example", True),
        ("HTTP/1.1", "user@a.example", True),
        ("HTTP/1.1", "a.example/path", True),
        ("HTTP/1.0", None, False),
        ("HTTP/1.1", "", False),
        ("HTTP/1.1", "a_b.example:80", False),
        ("HTTP/1.1", "[::1]:80", False),
    ],
)
def test_a_request_names_its_host(
    client: FlaskClient, path: str, protocol: str, host: str | None, refused: bool
) -> None:
    """HTTP/1.1 requires it, also for a cached page."""
    post(client, make_form())
    assert client.get(PAGE, base_url=OWN).status_code == 200
    environ: dict[str, Any] = EnvironBuilder(
        path, environ_overrides={"SERVER_PROTOCOL": protocol}
    ).get_environ()
    del environ["HTTP_HOST"]
    if host is not None:
        environ["HTTP_HOST"] = host
    pieces, status, _ = run_wsgi_app(client.application.wsgi_app, environ)
    body = b"".join(pieces)
    assert status.startswith("400 the request names no host") is refused
    assert re.search(rb"^the request names no host; expected one Host", body) is not None or not refused
