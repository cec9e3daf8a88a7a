"""After a run with every kind of error, no secret is in a log, a cache, Redis, a command
line or an answer.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import requests

from tests.builders import make_wheel
from tests.collector import Collector
from tests.live.redirecting import RedirectingRegistry
from tests.live.redis_server import PASSWORD as REDIS
from tests.live.redis_server import RedisServer
from tests.live.servers import Port, Server, Servers, htpasswd, start_docker_registry, start_pyoci
from tests.live.sockets import exchange, make_head
from tests.live.spelling import spellings, spellings_of_account
from tests.net.servers import Connection, answer
from tests.net.servers import Server as RawServer

pytestmark = pytest.mark.live("docker-registry", "redis-server")

OWNER = ("owner", "owner's secret/battery+staple")
GUESSER = ("guesser", "guesser's secret/lentils+barley")
BEARER = "tok-9d2e41b7c80f/abc+def=="
IN_A_QUERY = "secret-in-a-query-5f1c"
PROXY = "secret-of-the-proxy-77e0"
COLLECTOR = "secret-of-the-collector-3c9b"
CACHE_KEY = "secret-that-signs-the-cache-a81f7e"
SIGNATURE = "sig=a%2Fb%3D"
WHEEL, BYTES = make_wheel()
# The Rust PyOCI kept no METADATA: it is read out of the wheel, and a failure is logged.
ROUTES = ("", "json", WHEEL, f"{WHEEL}.metadata", "hello_world-9.0.tar.gz")

PLANTED = [
    *spellings_of_account(*OWNER),
    *spellings_of_account(*GUESSER),
    *spellings(BEARER),
    *spellings(IN_A_QUERY),
    *spellings(PROXY),
    *spellings(REDIS),
    *spellings(COLLECTOR),
    *spellings(CACHE_KEY),
    SIGNATURE.encode(),
]


def reflecting(connection: Connection) -> None:
    """A registry that repeats what it was sent: in its errors, its realm and its Location."""
    while head := connection.request():
        connection.body(head)
        found = re.search(r"\r\nauthorization: (.*)\r\n", head.decode("latin-1"), re.IGNORECASE)
        told = found[1] if found else ""
        word = quote(told, safe="")
        status, headers = "403 Forbidden", [f'WWW-Authenticate: Bearer realm="http://127.0.0.1:1/{word}"']
        if not told:
            status, headers = "401 Unauthorized", ["WWW-Authenticate: Basic"]
        elif head.startswith(b"POST"):
            status, headers = "202 Accepted", [f"Location: /v2/{word}?{word}"]
        elif b"/blobs/" in head:
            status, headers = "307 Temporary Redirect", [f"Location: /v2/{word}?{word}"]
        _, _, pair = told.partition(" ")
        text = f"{told} {_decoded(pair)}"
        body = json.dumps({"errors": [{"code": "DENIED", "message": text}]}).encode()
        connection.send(answer(b"" if head.startswith(b"HEAD") else body, status, *headers))


def _decoded(pair: str) -> str:
    try:
        return base64.b64decode(pair).decode()
    except ValueError:
        return pair


@dataclass
class Run:
    """A running PyOCI, and all its answers."""

    server: Server
    answers: list[bytes] = field(default_factory=list)

    def ask(self, path: str, method: str = "GET", caller: object = None, **options: Any) -> int:
        with requests.Session() as session:
            session.trust_env = False
            if isinstance(caller, tuple):
                session.auth = caller
            elif isinstance(caller, str):
                session.headers["Authorization"] = f"Bearer {caller}"
            answer = session.request(
                method, f"{self.server.url}/{path}", timeout=60, allow_redirects=False, **options
            )
        text = f"{answer.status_code} {answer.reason} {dict(answer.headers)}"
        self.answers += [text.encode(), answer.content]
        return answer.status_code

    def everything(self, registry: str, caller: object) -> None:
        """Each kind of request for a project, the upload first."""
        form = {":action": "file_upload", "protocol_version": "1", "name": "hello-world", "version": "1.0"}
        self.ask(f"{registry}/acme/", "POST", caller, data=form, files={"content": (WHEEL, BYTES)})
        for route in ROUTES:
            for method in ("GET", "HEAD"):
                self.ask(f"{registry}/acme/hello-world/{route}?password={IN_A_QUERY}", method, caller)
        self.ask(f"{registry}/acme/hello-world/{WHEEL}", "GET", caller, headers={"Range": "bytes=0-9"})
        self.ask(f"{registry}/acme/hello-world/1.0", "PATCH", caller, json={"yanked": True})
        self.ask(f"{registry}/acme/hello-world/7.0", "DELETE", caller)
        self.ask(f"{registry}/acme/", "GET", caller)


@pytest.fixture(scope="module")
def run_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    servers = Servers(tmp_path_factory.mktemp("secrets"))
    yield servers
    servers.stop()


@pytest.fixture(scope="module")
def lab(run_servers: Servers, ports: Callable[[str], Port]) -> Server:
    accounts = htpasswd(run_servers.folder / "accounts", **dict([OWNER]))
    auth = {"htpasswd": {"realm": "lab", "path": str(accounts)}}
    return start_docker_registry(run_servers, "lab", ports("secrets-lab"), auth)


@pytest.fixture(params=["directory", "redis"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Callable[[], list[bytes]]]]:
    """PYOCI_CACHE_URL, and everything in that cache."""
    if request.param == "directory":
        folder = tmp_path / "cache"
        yield folder.as_uri(), lambda: [_named(path) for path in folder.rglob("*") if path.is_file()]
        return
    redis = RedisServer(tmp_path)
    redis.start()
    yield redis.url, lambda: _dump(redis)
    redis.close()


def _named(path: Path) -> bytes:
    return str(path).encode() + b"\n" + path.read_bytes()


def _dump(redis: RedisServer) -> list[bytes]:
    keys = [key.decode() for key in redis.command("KEYS", "*").split(b"\r\n")[2::2] if key]
    words = [command for key in keys for command in (("GET", key), ("XRANGE", key, "-", "+"))]
    return [" ".join(each).encode() + redis.command(*each) for each in words]


@pytest.fixture
def collector() -> Collector:
    return Collector()


@pytest.fixture
def run(
    kept: tuple[str, object],
    collector: Collector,
    lab: Server,
    run_servers: Servers,
    ports: Callable[[str], Port],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> Iterator[Run]:
    accounts = htpasswd(tmp_path / "accounts", **dict([OWNER]))
    with ExitStack() as stack:
        signed = stack.enter_context(RedirectingRegistry(lab.url).running())
        evil = stack.enter_context(RawServer(reflecting)).url
        registries = {"lab": lab.url, "signed": signed, "evil": evil, "down": "http://127.0.0.1:1"}
        name = request.node.name
        settings = {
            "PYOCI_REGISTRIES": ",".join(f"{alias}={url}" for alias, url in registries.items()),
            "PYOCI_CACHE_URL": kept[0],
            "PYOCI_CACHE_KEY": CACHE_KEY,
            "PYOCI_EMBEDDED": str(tmp_path / "embedded"),
            "PYOCI_EMBEDDED_HTPASSWD": str(accounts),
            "PYOCI_BEARER_USERNAME": "__token__",
            "PYOCI_LOG": "debug",
            "WEB_CONCURRENCY": "2",
            "HTTPS_PROXY": f"http://proxy:{PROXY}@127.0.0.1:1",
            "PYOCI_METRICS": "yes",
            "OTLP_ENDPOINT": stack.enter_context(collector.running()).url,
            "OTLP_AUTH": f"Bearer {COLLECTOR}",
            "OTEL_TRACES_SAMPLER": "always_on",
        }
        yield Run(start_pyoci(run_servers, name, ports(name), **settings))


def test_no_secret_is_left(
    run: Run, kept: tuple[str, Callable[[], list[bytes]]], collector: Collector
) -> None:
    """Passwords, tokens and signed URLs, right and wrong, in any encoding."""
    for caller in (OWNER, GUESSER, BEARER, ("__token__", BEARER), None):
        for registry in ("lab", "signed", "local", "evil"):
            run.everything(registry, caller)
    assert run.ask("down/acme/hello-world/", caller=OWNER) == 503
    assert run.ask("ghcr.io/acme/hello-world/", caller=OWNER) in {403, 504}  # by the proxy, which isn't there
    for odd in _odd_requests(urlsplit(run.server.url).netloc):
        run.answers.append(exchange(run.server, odd))
    assert run.ask(f"lab/acme/hello-world/{WHEEL}", caller=OWNER) == 200
    assert run.ask("metrics") == 200
    command_lines = _command_lines(run.server.process.pid)
    run.server.end()
    run.server.wait()
    places = {
        "the log": [run.server.log.read_bytes()],
        "the cache": kept[1](),
        "command lines": command_lines,
        "telemetry": collector.raw,
        "answers": run.answers,
    }
    assert b"registry call" in places["the log"][0]
    assert len(places["the cache"]) >= 5
    assert len(places["command lines"]) == 3
    assert collector.spans()
    assert collector.records()
    assert collector.metrics
    found = {
        place: {secret for secret in PLANTED if secret in b"\n".join(texts)}
        for place, texts in places.items()
    }
    assert {place: secrets for place, secrets in found.items() if secrets} == {}


def _odd_requests(host: str) -> Iterator[bytes]:
    """Requests that a server may quote in an error."""
    pair = base64.b64encode(":".join(OWNER).encode()).decode()
    lines = (
        f"Authorization Basic {pair}",
        f"Authorization : Basic {pair}",
        f"Authorization: Basic {pair}\x00",
        f"Authorization: Basic {pair}{'x' * 20_000}",
        f"X-Odd: y\r\n {pair}",
    )
    targets = (
        f"http://owner:{IN_A_QUERY}@{host}/lab/acme/",
        f"/owner:{IN_A_QUERY}@ghcr.io/acme/",
        f"/lab/acme/hello-world/?{IN_A_QUERY} with a blank",
    )
    yield from (make_head("GET /lab/acme/hello-world/ HTTP/1.1", line, "Connection: close") for line in lines)
    yield from (make_head(f"GET {target} HTTP/1.1", "Connection: close") for target in targets)
    yield make_head(f"GET /lab/?{IN_A_QUERY} HTTP/9.9", "Connection: close")


def _command_lines(process: int) -> list[bytes]:
    """Of the server and its workers."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [Path(f"/proc/{each}/cmdline").read_bytes() for each in (process, *children)]
