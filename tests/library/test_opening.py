"""What an address names, and how a server is told from a registry."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import pytest

from pyoci import library
from pyoci.config import ClientSettings, WrongSettings
from pyoci.errors import InvalidRequest, NotFound, ProtocolError
from pyoci.library import Anonymous, open_index
from pyoci.library.opening import open_index_source, parse_address
from tests.serving import served

ENVIRON = {
    "PYOCI_REGISTRIES": "*, lab=http://10.0.0.5:5000",
    "PYOCI_INDEXES": "team=ghcr.io/acme/python, plain=lab/acme",
    "PYOCI_DEFAULT_INDEX": "quay.io/acme",
}


@pytest.mark.parametrize(
    ("address", "meaning"),
    [
        ("ghcr.io/acme", "ghcr.io/acme"),
        ("GHCR.io/Acme/python/", "ghcr.io/acme/python"),
        ("registry.example:5000/acme", "registry.example:5000/acme"),
        ("docker.io/acme", "registry-1.docker.io/acme"),
        ("lab/acme", "lab/acme"),
        ("team", "ghcr.io/acme/python"),
        ("plain", "lab/acme"),
        ("simple", "quay.io/acme"),
        ("http://127.0.0.1:5000/acme", "http://127.0.0.1:5000/acme/"),
        ("127.0.0.1:5000/acme", "http://127.0.0.1:5000/acme/"),
        ("localhost:8080/local/main/", "http://localhost:8080/local/main/"),
        ("[::1]:5000/acme", "http://[::1]:5000/acme/"),
        ("https://pypi.example/ghcr.io/acme", "https://pypi.example/ghcr.io/acme/"),
    ],
)
def test_an_address_names_a_namespace_or_a_url(address: str, meaning: str) -> None:
    """A name is one of the settings; a host means https, unless it is this machine."""
    assert str(parse_address(address, ClientSettings.from_environ(ENVIRON))) == meaning


@pytest.mark.parametrize(
    ("address", "part"),
    [
        ("", "expected"),
        ("nothing", "PYOCI_INDEXES names plain, team"),
        ("nothing/acme", "'nothing' is not a registry"),
        ("https://", "not the address"),
        ("https://example.com:port/acme", "port"),
        ("https://[::1/acme", "no valid host"),
        (
            "https://me:secret-word@example.com/acme",
            "without user and password; set PYOCI_USERNAME and PYOCI_PASSWORD",
        ),
        ("me:secret-word@ghcr.io/acme", "without user and password; set PYOCI_USERNAME and PYOCI_PASSWORD"),
        ("https://example.com/acme?x=1", "not the address"),
        ("ghcr.io/a b", "not a repository name"),
        ("ghcr.io/acmé", "namespace"),
        ("local/main", "embedded registry"),
    ],
)
def test_any_other_text_is_refused(address: str, part: str) -> None:
    """With a sentence that shows no password."""
    with pytest.raises((InvalidRequest, NotFound)) as caught:
        open_index(address, Anonymous(), environ=ENVIRON)
    assert part in str(caught.value)
    assert "secret-word" not in str(caught.value)


def test_a_wrong_setting_is_named_if_it_matters() -> None:
    """The port of a server doesn't matter here."""
    with pytest.raises(WrongSettings, match="PYOCI_INDEXES"):
        open_index("ghcr.io/acme", environ={"PYOCI_INDEXES": "x"})
    with open_index("ghcr.io/acme", Anonymous(), environ={"PORT": "x"}) as index:
        assert (index.kind, index.address) == ("registry", "ghcr.io/acme")


def test_a_directory_that_is_not_there_is_not_created(tmp_path: Any) -> None:
    """A typing error would look like an empty index."""
    missing = tmp_path / "missing"
    with pytest.raises(NotFound, match="missing"):
        open_index("local/main", environ={"PYOCI_EMBEDDED": str(missing)})
    assert not missing.exists()


class Answers:
    """A web server that answers each path as it is told, and remembers what it was asked."""

    def __init__(self, **answers: tuple[str, dict[str, str], str]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str | None]] = []

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        self.asked.append((path, environ.get("HTTP_AUTHORIZATION")))
        kind = "ping" if path == "/v2/" else "index"
        status, headers, body = self.answers.get(kind, ("404 Not Found", {}, "nothing here"))
        start_response(status, [("Content-Length", str(len(body))), *headers.items()])
        return [body.encode()]


NAMES = json.dumps({"meta": {"api-version": "1.4"}, "projects": []})
SIMPLE = ("200 OK", {"Content-Type": "application/vnd.pypi.simple.v1+json"}, NAMES)
PING = ("200 OK", {"Docker-Distribution-Api-Version": "registry/2.0"}, "{}")
BEARER = ("401 Unauthorized", {"WWW-Authenticate": 'Bearer realm="https://auth.example/token"'}, "")
PROXY = ("401 Unauthorized", {"WWW-Authenticate": 'Basic realm="company"'}, "")
NO_LIST = ("404 Not Found", {"X-PyOCI": "NotFound"}, "ghcr.io doesn't list its repositories")
NO_REGISTRY = ("404 Not Found", {"X-PyOCI": "NoRegistry"}, "'acme' is not a registry")
UI = ("200 OK", {"Content-Type": "text/html"}, "<html>")


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ({"index": SIMPLE, "ping": PING}, "server"),
        ({"index": NO_LIST, "ping": PING}, "server"),
        ({"index": NO_REGISTRY, "ping": PING}, "registry"),
        ({"ping": PING}, "registry"),
        ({"ping": BEARER}, "registry"),
        ({"index": UI, "ping": PING}, "registry"),
        ({"index": PROXY, "ping": PROXY}, "server"),
    ],
)
def test_a_url_is_asked_what_it_is(answers: dict[str, Any], kind: str) -> None:
    """A list of projects or PyOCI's own error is a server's; a registry answers at /v2/."""
    server = Answers(**answers)
    with served(server) as url, open_index(f"{url}/acme", Anonymous(), environ={}) as index:
        assert index.kind == kind
        assert index.address == (f"{url}/acme/" if kind == "server" else f"{url}/acme")
    assert {authorization for _, authorization in server.asked} == {None}


@pytest.mark.parametrize("answers", [{}, {"index": UI}, {"index": UI, "ping": UI}])
def test_another_web_server_is_neither(answers: dict[str, Any]) -> None:
    """The sentence says what was expected."""
    with served(Answers(**answers)) as url, pytest.raises(ProtocolError, match="neither"):
        open_index(f"{url}/acme", Anonymous(), environ={})


def test_a_registry_needs_a_namespace() -> None:
    """A project is never at the top of a registry."""
    with served(Answers(ping=PING)) as url, pytest.raises(InvalidRequest, match=f"expected {url}/acme"):
        open_index(url, Anonymous(), environ={})


def test_credentials_go_to_the_server_that_was_named() -> None:
    """After it was found out what it is; the variables are for it alone."""
    server = Answers(index=SIMPLE)
    environ = {"PYOCI_USERNAME": "me", "PYOCI_PASSWORD": "secret-word"}
    with served(server) as url, open_index(f"{url}/acme", environ=environ) as index:
        assert index.projects() == ()
        assert "secret-word" not in repr(index)
    assert server.asked == [("/acme/", None), ("/acme/", "Basic bWU6c2VjcmV0LXdvcmQ=")]


def test_half_of_a_login_is_a_mistake() -> None:
    """And not an anonymous request."""
    with pytest.raises(InvalidRequest, match="PYOCI_PASSWORD is set without PYOCI_USERNAME"):
        open_index("ghcr.io/acme", environ={"PYOCI_PASSWORD": "secret-word"})


def test_the_library_loads_no_server() -> None:
    """Neither Flask nor gunicorn nor telemetry; and `import pyoci` alone loads nothing of it."""
    script = """
import sys, pyoci
assert "pyoci.library" not in sys.modules and "requests" not in sys.modules
index = pyoci.open_index("ghcr.io/acme", pyoci.Anonymous(), environ={})
heavy = {"flask", "werkzeug", "gunicorn", "opentelemetry", "structlog", "prometheus_client", "click", "rich"}
print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
print(sorted(name for name in sys.modules if name.startswith(("pyoci.web", "pyoci.telemetry", "pyoci.app"))))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n[]\n"


def test_names_are_imported_when_they_are_used() -> None:
    """The keyring's backend, which clients start for each password, loads no HTTP client and no settings."""
    script = """
import sys, pyoci.library.keyring_backend
heavy = {"requests", "urllib3", "packaging", "pyoci.config", "pyoci.store", "pyoci.maintenance"}
print(sorted(heavy & sys.modules.keys()))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"


def test_the_names_of_the_library() -> None:
    """Each that is announced is there, and no other."""
    assert all(getattr(library, name) is not None for name in library.__all__)
    with pytest.raises(AttributeError, match=r"module 'pyoci\.library' has no attribute 'nonsense'"):
        _ = library.nonsense


def test_a_source_with_a_password_is_refused() -> None:
    """The message names the variables of a source, and not the password."""
    with pytest.raises(InvalidRequest, match="set PYOCI_SOURCE_USERNAME and PYOCI_SOURCE_PASSWORD") as caught:
        open_index_source("https://me:secret-word@packages.example/simple/", environ={})
    assert "secret-word" not in str(caught.value)
