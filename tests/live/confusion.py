"""An attack by dependency confusion: registries with every kind of failure, and clients that could be
deceived.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.live.clients import Clients, Outcome
from tests.live.pyprojects import pyproject
from tests.net.servers import Connection, answer
from tests.oci.hostile import Handler, silent

Script = Callable[[str, str], bytes]  # a path and an Authorization to the answer; b"" is a reset

USER = "user:secret"
NOBODY = ""
IMPOSTOR = "user:wrong"
TOKEN_USER = "__token__"  # PYOCI_BEARER_USERNAME
BASIC = 'WWW-Authenticate: Basic realm="x"'


class Last(bytes):
    """An answer after which the connection is closed."""


def basic(user: str) -> str:
    return f"Basic {base64.b64encode(user.encode()).decode()}"


def document(content: object, status: str = "200 OK", *headers: str) -> bytes:
    """An answer with JSON."""
    return answer(json.dumps(content).encode(), status, *headers, kind="application/json")


def error(status: str, *codes: str, headers: tuple[str, ...] = ()) -> bytes:
    """An error in the form of the distribution specification."""
    return document({"errors": [{"code": code, "message": "no"} for code in codes]}, status, *headers)


def make_jwt(*names: str) -> str:
    """A token that lists the right to pull from these repositories."""
    access = [{"type": "repository", "name": name, "actions": ["pull"]} for name in names]
    parts = (json.dumps(part).encode() for part in ({"alg": "none"}, {"access": access}))
    return ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), "c2ln"])


OPEN = document({})
UNKNOWN = error("404 Not Found", "NAME_UNKNOWN")
WEB_PAGE = b"<!DOCTYPE html><title>404 Not Found</title><h1>nginx</h1>"
GONE_PAGE = answer(WEB_PAGE, "404 Not Found", kind="text/html")
TAGS = document({"name": "x", "tags": ["1.0"]})
HALF_OF_TAGS = b'{"name": "x", "tags": ["1.0", "1'
BROKEN_OFF = Last(answer(HALF_OF_TAGS, length=1000, kind="application/json"))
NOT_GRANTED = make_jwt("acme/another")


def scripted(script: Script) -> Handler:
    """A registry with these answers."""

    def handle(connection: Connection) -> None:
        while head := connection.request():
            connection.body(head)
            line, *fields = head.decode("latin-1").split("\r\n")
            named = (each.partition(":") for each in fields)
            sent = next((value.strip() for name, _, value in named if name.lower() == "authorization"), "")
            reply = script(line.split(" ")[1], sent)
            if not reply:
                connection.reset()
                return
            connection.send(reply)
            if isinstance(reply, Last):
                return

    return handle


def always(reply: bytes) -> Handler:
    """A registry, or a server in its place, with one answer to everything."""
    return scripted(lambda _path, _sent: reply)


def says(tags: bytes, *, ping: bytes = OPEN, manifest: bytes = b"", next_page: bytes = b"") -> Handler:
    """A registry with these answers to `/v2/`, to the list of tags, and to a tag. It has no other list."""

    def script(path: str, _sent: str) -> bytes:
        if path == "/v2/":
            return ping
        if "/tags/list" in path:
            return next_page if "last=" in path else tags
        return UNKNOWN if "/_catalog" in path else manifest

    return scripted(script)


def hides(*accepted: str, challenge: str = BASIC) -> Handler:
    """A registry that accepts these Authorizations at `/v2/`. For all other callers, repositories are
    unknown.
    """
    refusal = answer(b"", "401 Unauthorized", challenge)

    def script(path: str, sent: str) -> bytes:
        if path == "/v2/":
            return OPEN if sent in accepted else refusal
        return UNKNOWN

    return scripted(script)


def issues(token: bytes) -> Handler:
    """A registry with tokens: the token server has this answer, and with a token all repositories are
    unknown.
    """

    def handle(connection: Connection) -> None:
        host, port = connection.sock.getsockname()
        realm = f'WWW-Authenticate: Bearer realm="http://{host}:{port}/token",service="x"'

        def script(path: str, sent: str) -> bytes:
            if path.startswith("/token"):
                return token
            return UNKNOWN if sent.startswith("Bearer ") else answer(b"", "401 Unauthorized", realm)

        scripted(script)(connection)

    return handle


@dataclass(frozen=True)
class Row:
    """A registry with a failure: the status that PyOCI returns to a `caller`, and its behaviour (None: it
    isn't running).
    """

    status: int
    registry: Handler | None
    caller: str = USER
    slow: bool = False


MORE = 'Link: </v2/x/tags/list?last=1.0>; rel="next"'
TWO_PAGES = document({"name": "x", "tags": ["1.0"]}, "200 OK", MORE)
BEARER = 'WWW-Authenticate: Bearer realm="x"'

ROWS: Mapping[str, Row] = {
    # Down.
    "nobody listens": Row(503, None),
    "says nothing": Row(504, silent, slow=True),
    "resets": Row(503, always(b"")),
    "breaks off": Row(503, always(BROKEN_OFF)),
    "500": Row(502, always(error("500 Internal Server Error", "UNKNOWN"))),
    "502 of a proxy": Row(502, always(answer(WEB_PAGE, "502 Bad Gateway", kind="text/html"))),
    "502 with the words of a 404": Row(502, always(error("502 Bad Gateway", "NAME_UNKNOWN"))),
    "503": Row(502, always(error("503 Service Unavailable", "UNAVAILABLE"))),
    "504 with the words of a 404": Row(504, always(error("504 Gateway Timeout", "NAME_UNKNOWN"))),
    "404 of a load balancer": Row(404, always(GONE_PAGE)),
    "404 of nobody": Row(404, always(answer(b"", "404 Not Found"))),
    "404 of another API": Row(404, always(document({"message": "no such route"}, "404 Not Found"))),
    "404, and a ping that fails": Row(502, says(UNKNOWN, ping=error("503 Service Unavailable", "X"))),
    "404, and a ping that is reset": Row(503, says(UNKNOWN, ping=b"")),
    "a web page": Row(502, always(answer(WEB_PAGE, kind="text/html"))),
    "redirects": Row(502, always(answer(b"", "307 Temporary Redirect", "Location: /v2/elsewhere"))),
    # Refuses.
    "401 to a password": Row(401, always(answer(b"", "401 Unauthorized", BASIC))),
    "401 without a challenge": Row(401, always(error("401 Unauthorized", "NAME_UNKNOWN"))),
    "401 of the token endpoint": Row(401, issues(error("401 Unauthorized", "UNAUTHORIZED"))),
    "404 of the token endpoint": Row(502, issues(UNKNOWN)),
    "500 of the token endpoint": Row(502, issues(error("500 Internal Server Error", "UNKNOWN"))),
    "403": Row(403, always(error("403 Forbidden", "DENIED"))),
    "403 with the words of a 404": Row(403, always(error("403 Forbidden", "NAME_UNKNOWN"))),
    "404 that denies": Row(404, says(error("404 Not Found", "DENIED"))),
    "404 that also denies": Row(404, says(error("404 Not Found", "NAME_UNKNOWN", "DENIED"))),
    "404 about something else": Row(404, says(error("404 Not Found", "MANIFEST_UNKNOWN"))),
    # Has no patience.
    "429": Row(429, always(error("429 Too Many Requests", "TOOMANYREQUESTS", headers=("Retry-After: 30",)))),
    # Hides what it has.
    "hides from strangers": Row(404, hides(basic(USER)), NOBODY),
    "hides from a wrong password": Row(404, hides(basic(USER)), IMPOSTOR),
    "hides from a wrong token": Row(404, hides("Bearer right", challenge=BEARER), f"{TOKEN_USER}:wrong"),
    "hides from a token for others": Row(
        404, hides(f"Bearer {NOT_GRANTED}", challenge=BEARER), f"{TOKEN_USER}:{NOT_GRANTED}"
    ),
    "hides from who has a token for others": Row(404, issues(document({"token": NOT_GRANTED}))),
    "hides from strangers with a token": Row(404, issues(document({"token": "opaque"})), NOBODY),
    "hides, and answers 404 to a ping": Row(404, says(UNKNOWN, ping=GONE_PAGE)),
    "hides, and denies a ping": Row(404, says(UNKNOWN, ping=error("403 Forbidden", "DENIED"))),
    # Loses its answers half-way.
    "list cut short": Row(502, says(answer(HALF_OF_TAGS, kind="application/json"))),
    "list broken off": Row(503, says(BROKEN_OFF)),
    "list as a web page": Row(502, says(answer(WEB_PAGE, kind="text/html"))),
    "second page unknown": Row(502, says(TWO_PAGES, next_page=UNKNOWN)),
    "second page lost": Row(503, says(TWO_PAGES, next_page=b"")),
    "version unknown": Row(200, says(TAGS, manifest=error("404 Not Found", "MANIFEST_UNKNOWN"))),
    "version of a repository unknown": Row(200, says(TAGS, manifest=UNKNOWN)),
    "version refused": Row(403, says(TAGS, manifest=error("403 Forbidden", "DENIED"))),
    "version fails": Row(502, says(TAGS, manifest=error("500 Internal Server Error", "UNKNOWN"))),
    "version lost": Row(503, says(TAGS, manifest=b"")),
    # Has nothing to show.
    "no tags": Row(200, says(document({"name": "x", "tags": []}))),
    "null": Row(200, says(document({"name": "x", "tags": None}))),
    "200 with the words of a 404": Row(200, says(document({"errors": [{"code": "NAME_UNKNOWN"}]}))),
}

Resolve = Callable[[Clients, Path, str, str], Outcome]


def pip(clients: Clients, folder: Path, url: str, project: str) -> Outcome:
    """The version that pip would install."""
    options = ("--dry-run", "--no-deps", "--ignore-installed", "--no-cache-dir", "--retries", 0)
    return clients.attempt("pip", "install", *options, "--timeout", 60, "--index-url", url, project)


def uv(strategy: str) -> Resolve:
    """The version that uv finds, with one of its strategies for several package indexes."""

    def resolve(clients: Clients, folder: Path, url: str, project: str) -> Outcome:
        (folder / "requirements.in").write_text(project)
        options = ("--no-deps", "--no-cache", "--index-strategy", strategy, "--default-index", url)
        limits = {"UV_HTTP_RETRIES": "0", "UV_HTTP_TIMEOUT": "60"}
        return clients.attempt("uv", "pip", "compile", *options, "requirements.in", cwd=folder, **limits)

    return resolve


def poetry(clients: Clients, folder: Path, url: str, project: str) -> Outcome:
    """The version that poetry locks."""
    return _locked(clients, folder, "poetry", pyproject("poetry", url, project))


def pdm(clients: Clients, folder: Path, url: str, project: str) -> Outcome:
    """The version that pdm locks."""
    return _locked(clients, folder, "pdm", pyproject("pdm", url, project))


def _locked(clients: Clients, folder: Path, program: str, project: str) -> Outcome:
    (folder / "pyproject.toml").write_text(project)
    outcome = clients.attempt(program, "lock", cwd=folder)
    lock = folder / f"{program}.lock"
    told = lock.read_text() if lock.exists() else ""
    return Outcome(outcome.command, outcome.code, outcome.output + told)


CLIENTS: Mapping[str, tuple[str, Resolve]] = {
    "pip": ("pip", pip),
    "uv": ("uv", uv("first-index")),
    "uv-best-match": ("uv", uv("unsafe-best-match")),
    "poetry": ("poetry", poetry),
    "pdm": ("pdm", pdm),
}


def with_user(url: str, user: str) -> str:
    """The URL with a user name and a password."""
    return url.replace("://", f"://{user}@", 1) if user else url
