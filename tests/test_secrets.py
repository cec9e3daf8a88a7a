"""No repr of any object in the application has a secret."""

from __future__ import annotations

import base64
import gc
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

import pytest
from flask import Flask

from pyoci.app import create_app
from pyoci.config import Settings
from pyoci.net.messages import Answer, Call
from pyoci.net.transport import Transport
from pyoci.oci.credentials import Basic, Bearer
from pyoci.oci.references import Registry, Repository
from pyoci.oci.session import Gateway
from pyoci.store.copies import StoredCopies
from pyoci.web.addresses import IndexAddress
from pyoci.web.context import EXTENSION, ResolvedRequest, Site
from tests.live.servers import htpasswd
from tests.net.servers import Connection, Server, answer
from tests.stores import make_project

PASSWORD, TOKEN = "password-of-a-caller", "token-of-a-caller"
FETCHED = "token-that-was-fetched"
PROXY, REDIS, STORE = "password-of-the-proxy", "password-of-redis", "password-of-the-store"
PAIR = base64.b64encode(f"somebody:{PASSWORD}".encode()).decode()
SECRETS = (PASSWORD, TOKEN, FETCHED, PROXY, REDIS, STORE, PAIR)
OURS = ("pyoci", "redis", "urllib3", "requests", "flask", "cachetools")


def reachable(root: object) -> Iterator[object]:
    """All objects that an object refers to, except modules, classes and what only they refer to."""
    seen, left = {id(root)}, [root]
    while left:
        thing = left.pop()
        yield thing
        # A function hangs on the whole of its module.
        held = [thing.__closure__, thing.__defaults__] if isinstance(thing, FunctionType) else None
        for other in held or gc.get_referents(thing):
            if id(other) not in seen and not isinstance(other, type | type(gc)):
                seen.add(id(other))
                left.append(other)


def shown(root: object) -> list[str]:
    """The secrets in the reprs of our objects, and of the libraries' objects that hold them."""
    return [
        f"{type(thing).__qualname__} shows {secret}"
        for thing in reachable(root)
        if type(thing).__module__.startswith(OURS)
        for secret in SECRETS
        if secret in repr(thing)
    ]


CHALLENGE = answer(b"", "401 Unauthorized", 'WWW-Authenticate: Bearer realm="/token",service="lab"')
DENIED = answer(b'{"errors": [{"code": "DENIED", "message": "no"}]}', "403 Forbidden")


def guarded(connection: Connection) -> None:
    """A registry with a token server. It lists tags, and has nothing else."""
    while head := connection.request():
        connection.body(head)
        line, told = head.partition(b"\r\n")[0], head.lower()
        if line.startswith(b"GET /token"):
            connection.send(answer(b'{"token": "%s"}' % FETCHED.encode()))
        elif b"authorization: bearer" not in told:
            connection.send(CHALLENGE)
        elif b"/tags/list" in line:
            connection.send(answer(b'{"tags": []}'))
        else:
            connection.send(DENIED)


@pytest.fixture
def registry() -> Iterator[Server]:
    with Server(guarded) as server:
        yield server


@pytest.fixture
def settings(registry: Server, tmp_path: Path) -> Settings:
    accounts = htpasswd(tmp_path / "accounts", somebody=PASSWORD)
    login = tmp_path / "login"
    login.write_text(f"operator:{STORE}\n")
    return Settings.from_environ(
        {
            "PYOCI_CACHE_URL": f"redis://user:{REDIS}@127.0.0.1:1/0",
            "PYOCI_REGISTRIES": f"lab={registry.url}",
            "PYOCI_EMBEDDED": str(tmp_path / "embedded"),
            "PYOCI_EMBEDDED_HTPASSWD": str(accounts),
            "HTTPS_PROXY": f"http://user:{PROXY}@127.0.0.1:2",
            "PYOCI_UPSTREAM_INDEX": "http://127.0.0.1:3/simple/",
            "PYOCI_UPSTREAM_FILES": "store",
            "PYOCI_UPSTREAM_FILES_DIR": str(tmp_path / "files"),
            "PYOCI_UPSTREAM_STORE": "lab/upstream",
            "PYOCI_UPSTREAM_STORE_CREDENTIALS": str(login),
            "PYOCI_LOG": "off",
        }
    )


@pytest.fixture
def used(settings: Settings) -> Flask:
    """An application that has served callers."""
    app = create_app(settings)
    client = app.test_client()
    for header in (f"Basic {PAIR}", f"Bearer {TOKEN}", None):
        headers = {} if header is None else {"Authorization": header}
        for registry in ("lab", "local"):
            for path in ("", "json", "hello_world-1.0-py3-none-any.whl"):
                client.get(f"/{registry}/acme/hello-world/{path}", headers=headers)
    for thing in reachable(app):
        if isinstance(thing, StoredCopies):
            assert thing.page("hello-world") is None
    return app


def test_an_application_that_was_used_shows_none(settings: Settings, used: Flask) -> None:
    """Including its settings."""
    assert site_of(used).registries is settings.registries
    assert shown([settings, used, site_of(used)]) == []
    things = list(reachable([settings, used]))
    assert {FETCHED, REDIS, STORE} <= {
        thing for thing in things if isinstance(thing, str)
    }  # the walk goes deep
    for name in ("Cache", "Gateway", "Transport", "Authenticator", "RedisBackend", "WarmPages", "Htpasswd"):
        assert name in {type(thing).__name__ for thing in things}


@pytest.mark.parametrize("caller", [Basic("somebody", PASSWORD), Bearer(TOKEN)], ids=["basic", "bearer"])
def test_a_request_shows_none(caller: Basic | Bearer, registry: Server) -> None:
    """Including what it sends and receives."""
    gateway, lab = Gateway(Transport(), ttl=60), Registry.parse(registry.url, listed=True)
    session = gateway.session(lab, caller)
    repository = Repository.parse(lab, "acme/hello_world")
    session.tags(repository)
    headers = {"Authorization": caller.header(), "Location": f"/?{TOKEN}"}
    said = [
        Call(method="GET", url=f"http://x/?{TOKEN}", headers=headers),
        Answer(401, headers, TOKEN.encode()),
    ]
    resolved = ResolvedRequest(lab, IndexAddress("lab", ("acme", "hello-world")), caller, fresh=False)
    project = make_project(session, repository)
    assert shown([session, project, resolved, said]) == []
    gateway.transport.close()


def site_of(app: Flask) -> Site:
    found: Site = app.extensions[EXTENSION]
    return found
