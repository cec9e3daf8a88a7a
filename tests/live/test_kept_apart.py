"""Callers are kept apart: a caller without access gets the registry's refusal, whatever others have read.
PyOCI's cache must not be visible: the whole answer for an existing project is the same as for a missing one,
and the registry gets the same requests.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from pyoci.store.layout import CONFIG_DIGEST, CORE_METADATA, SIZE
from tests.builders import make_wheel
from tests.live.conftest import ENVIRONMENTS
from tests.live.fronts import Front
from tests.live.redis_server import RedisServer
from tests.live.servers import Port, Server, Servers, htpasswd, start_docker_registry, start_pyoci

THERE, NOT_THERE = "hello-world", "jello-world"
WHEEL, BYTES = make_wheel()
METADATA_START = b"Metadata-Version"
JSON = "application/vnd.pypi.simple.v1+json"
TTL = 2  # seconds
TOKEN_SECONDS = 3600
PASSWORDS = {
    "owner": "owner's password",
    "leaver": "leaver's password",
    "stranger": "stranger's password",
    "mallory": "mallory's password",
}
ALL = "pull,push,delete"
RIGHTS = {
    "owner": {"acme/": ALL},
    "leaver": {"acme/": ALL},
    "stranger": {"elsewhere/": ALL},
    "mallory": {"evil/": ALL},
}

Headers = Mapping[str, str]


def basic(user: str, password: str | None = None) -> str:
    pair = f"{user}:{PASSWORDS.get(user, '') if password is None else password}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


@dataclass(frozen=True)
class Reply:
    """A whole answer, without its date."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def spelled(self) -> Reply:
        """The same with the other project's name."""
        spell = _spelled
        headers = tuple((name, spell(value)) for name, value in self.headers)
        return Reply(self.status, spell(self.reason), headers, spell(self.body.decode("latin-1")).encode())


def _spelled(text: str) -> str:
    return text.replace(NOT_THERE, THERE).replace(NOT_THERE.replace("-", "_"), THERE.replace("-", "_"))


@dataclass(frozen=True)
class Route:
    """A request for a project. `{name}` and `{file}` stand for the project and its wheel."""

    path: str
    method: str = "GET"
    headers: Headers = field(default_factory=dict)
    body: bytes = b""


FILE, PAGE, ETAG = "{name}/{file}", "{name}/", '"{sha256}"'
YANK = json.dumps({"yanked": "for good"}).encode()
TYPE = {"Content-Type": "application/json"}
READING = {
    "page as HTML": Route(PAGE, headers={"Accept": "text/html"}),
    "page as JSON": Route(PAGE, headers={"Accept": JSON}),
    "page in another spelling": Route("{file_name}/"),
    "page compressed": Route(PAGE, headers={"Accept": JSON, "Accept-Encoding": "gzip"}),
    "page asked for again": Route(PAGE, headers={"Accept": JSON, "Cache-Control": "no-cache"}),
    "page by HEAD": Route(PAGE, "HEAD"),
    "page that is known": Route(PAGE, headers={"Accept": JSON, "If-None-Match": "{etag}"}),
    "page that may be known": Route(PAGE, headers={"Accept": JSON, "If-None-Match": "*"}),
    "page below +simple": Route("+simple/{name}/", headers={"Accept": JSON}),
    "legacy JSON": Route("{name}/json"),
    "metadata": Route(f"{FILE}.metadata"),
    "metadata that is known": Route(f"{FILE}.metadata", headers={"If-None-Match": "*"}),
    "part of metadata": Route(f"{FILE}.metadata", headers={"Range": "bytes=0-9"}),
    "file": Route(FILE),
    "file by HEAD": Route(FILE, "HEAD"),
    "part of a file": Route(FILE, headers={"Range": "bytes=0-9"}),
    "no part of a file": Route(FILE, headers={"Range": "bytes=99999999-"}),
    "part of a known file": Route(FILE, headers={"Range": "bytes=0-9", "If-Range": ETAG}),
    "file that is known": Route(FILE, headers={"If-None-Match": ETAG}),
    "file that may be known": Route(FILE, headers={"If-None-Match": "*"}),
    "file that isn't there": Route("{name}/{file_name}-7.0.tar.gz"),
}
WRITING = {
    "yank a file": Route(FILE, "PATCH", TYPE, YANK),
    "yank a version": Route("{name}/1.0", "PATCH", TYPE, YANK),
    "delete a file": Route(FILE, "DELETE"),
    "delete a version": Route("{name}/1.0", "DELETE"),
}


@dataclass
class Deployment:
    """A PyOCI, and the proxy in front of its registry."""

    url: str  # of the namespace
    front: Front | None
    revoke: Callable[[str], None]
    token: Callable[[str, str], str] = lambda user, scope: "Bearer none"
    registry: str = ""  # its URL
    etag: str = ""
    is_thorough: bool = False  # whether every kind of stranger comes by

    def ask(self, name: str, route: Route, authorization: str | None) -> Reply:
        """One request on a new connection, so that any worker may serve it."""
        parts = urlsplit(self.url)
        spelled = name.replace("-", "_")
        known = {
            "name": name,
            "file_name": spelled,
            "file": WHEEL.replace("hello_world", spelled),
            "etag": self.etag,
            "sha256": _sha256(BYTES),
        }
        headers = {key: value.format(**known) for key, value in route.headers.items()}
        if authorization is not None:
            headers["Authorization"] = authorization
        connection = http.client.HTTPConnection(parts.netloc, timeout=30)
        try:
            path = parts.path + route.path.format(**known)
            connection.request(route.method, path, route.body or None, headers)
            answer = connection.getresponse()
            shown = tuple(pair for pair in answer.getheaders() if pair[0] != "Date")
            return Reply(answer.status, answer.reason, shown, answer.read())
        finally:
            connection.close()

    def publish(self, namespace: str, user: str, content: bytes = BYTES) -> None:
        form = {":action": "file_upload", "protocol_version": "1", "name": THERE, "version": "1.0"}
        answer = requests.post(
            self.url.replace("/acme/", f"/{namespace}/"),
            data=form,
            files={"content": (WHEEL, content)},
            headers={"Authorization": basic(user)},
            timeout=30,
        )
        assert answer.status_code in {200, 409}, answer.text

    def warm(self, user: str = "owner") -> None:
        """Let the workers cache all they can, by a caller with access."""
        for name in 2 * ("metadata", "file", "page as HTML", "page as JSON"):
            reply = self.ask(THERE, READING[name], basic(user))
        self.etag = dict(reply.headers).get("ETag", "")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def house_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    servers = Servers(tmp_path_factory.mktemp("kept-apart"))
    yield servers
    servers.stop()


@pytest.fixture(scope="module")
def rights(house_servers: Servers) -> Path:
    folder = house_servers.folder / "tokens"
    folder.mkdir()
    (folder / "rights.json").write_text(json.dumps(RIGHTS))
    return folder / "rights.json"


@pytest.fixture(scope="module")
def token_url(
    request: pytest.FixtureRequest, house_servers: Servers, ports: Callable[[str], Port], rights: Path
) -> str:
    """A token server with rights by user and repository."""
    python = str(request.config.stash[ENVIRONMENTS].python("token-server"))
    script, port = str(Path(__file__).parent / "token_server.py"), ports("deployment-tokens")
    accounts = json.dumps(PASSWORDS)
    command = [python, script, str(port.number), str(rights.parent), accounts, str(TOKEN_SECONDS)]
    return house_servers.start("tokens", command, port.url, ready="/token", env={}).url


@pytest.fixture(scope="module")
def lab(house_servers: Servers, ports: Callable[[str], Port], token_url: str, rights: Path) -> Server:
    """A docker-registry that accepts its tokens."""
    token = {
        "realm": f"{token_url}/token",
        "service": "lab",
        "issuer": "tests",
        "rootcertbundle": str(rights.parent / "token.crt"),
    }
    return start_docker_registry(house_servers, "lab", ports("deployment-lab"), {"token": token})


TOKENS = pytest.mark.live("docker-registry", "token-server")
REDIS = pytest.mark.live("redis-server")
HOUSES = [
    pytest.param(("lab", "directory"), id="docker-registry", marks=TOKENS),
    pytest.param(("concealing", "redis"), id="concealing-redis", marks=[TOKENS, REDIS]),
    pytest.param(("embedded", "directory"), id="embedded"),
]


@pytest.fixture(scope="module", params=HOUSES)
def deployment(
    request: pytest.FixtureRequest,
    house_servers: Servers,
    ports: Callable[[str], Port],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Deployment]:
    """PyOCI with two workers. The owner has published, and every caller's page is cached."""
    kind, place = request.param
    name, folder = f"{kind}-{place}", tmp_path_factory.mktemp("deployment")
    with ExitStack() as stack:
        cache = (folder / "cache").as_uri()
        if place == "redis":
            redis = RedisServer(folder)
            stack.callback(redis.close)
            redis.start()
            cache = redis.url
        settings = {"PYOCI_CACHE_URL": cache, "PYOCI_CACHE_TTL": str(TTL), "WEB_CONCURRENCY": "2"}
        if kind == "embedded":
            accounts = htpasswd(folder / "accounts", **_members("owner", "leaver"))
            settings |= {"PYOCI_EMBEDDED": str(folder / "embedded"), "PYOCI_EMBEDDED_HTPASSWD": str(accounts)}

            def revoke(user: str) -> None:
                htpasswd(accounts, **_members(*({"owner", "leaver"} - {user})))

            deployment = Deployment("local/acme/", None, revoke)
        else:
            front = Front(request.getfixturevalue("lab").url, conceals=kind == "concealing")
            settings["PYOCI_REGISTRIES"] = f"hub={stack.enter_context(front.running())}"
            rights = request.getfixturevalue("rights")

            def revoke(user: str) -> None:
                rights.write_text(json.dumps({**RIGHTS, user: {}}))

            stack.callback(rights.write_text, json.dumps(RIGHTS))
            token_url = request.getfixturevalue("token_url")
            deployment = Deployment("hub/acme/", front, revoke, partial(_token, token_url))
        pyoci = start_pyoci(house_servers, name, ports(name), **settings)
        deployment.url = f"{pyoci.url}/{deployment.url}"
        deployment.is_thorough = kind == "lab"
        deployment.publish("acme", "owner")
        yield deployment
        pyoci.end()


@pytest.fixture(scope="module")
def single(
    house_servers: Servers, ports: Callable[[str], Port], lab: Server, token_url: str
) -> Iterator[Deployment]:
    """PyOCI with one worker, so that the content of its cache is known."""
    front = Front(lab.url)
    with front.running() as url:
        settings = {"PYOCI_REGISTRIES": f"hub={url}", "PYOCI_CACHE_URL": "memory://", "WEB_CONCURRENCY": "1"}
        pyoci = start_pyoci(house_servers, "single", ports("single"), **settings)
        deployment = Deployment(
            f"{pyoci.url}/hub/acme/", front, lambda _: None, partial(_token, token_url), lab.url
        )
        deployment.publish("acme", "owner")
        deployment.warm()
        yield deployment
        pyoci.end()


def _members(*users: str) -> dict[str, str]:
    return {user: PASSWORDS[user] for user in users}


def _token(url: str, user: str, scope: str) -> str:
    query = {"service": "lab", "scope": scope}
    answer = requests.get(f"{url}/token", params=query, headers={"Authorization": basic(user)}, timeout=30)
    return f"Bearer {answer.json()['token']}"


def _of_another(deployment: Deployment) -> str:
    """A token for another repository."""
    return deployment.token("stranger", "repository:elsewhere/hello_world:pull")


def _of_the_owner_for_another_place(deployment: Deployment) -> str:
    return deployment.token("owner", "repository:acme/something_else:pull,push")


STRANGERS: dict[str, Callable[[Deployment], str | None]] = {
    "without access": lambda _: basic("stranger"),
    "nobody": lambda _: None,
    "with a wrong password": lambda _: basic("owner", "guessed"),
    "with the password of another": lambda _: basic("owner", PASSWORDS["stranger"]),
    "with an empty password": lambda _: basic("owner", ""),
    "with a forged token": lambda _: "Bearer forged",
    "with base64 that is none": lambda _: "Basic owner:owner",
    "with bytes that are no text": lambda _: "Basic \xff\xfe",
    "with a scheme of their own": lambda _: "Negotiate " + basic("owner").partition(" ")[2],
    "with two headers in one": lambda _: f"{basic('stranger')}, {basic('owner')}",
    "with a token of another": _of_another,
    "with the owner's token for another place": _of_the_owner_for_another_place,
}

MOST_LIKELY = ("without access", "nobody", "with a wrong password", "with a forged token")


def test_owner_has_access(deployment: Deployment) -> None:
    """This shows that the other tests can fail."""
    deployment.warm()
    found = {name: deployment.ask(THERE, route, basic("owner")).status for name, route in READING.items()}
    assert {name: status for name, status in found.items() if status != 200} == {
        "page in another spelling": 301,
        "page that is known": 304,
        "page that may be known": 304,
        "metadata that is known": 304,
        "part of metadata": 206,
        "part of a file": 206,
        "no part of a file": 416,
        "part of a known file": 206,
        "file that is known": 304,
        "file that may be known": 304,
        "file that isn't there": 404,
    }
    assert deployment.ask(THERE, READING["file"], basic("owner")).body == BYTES
    assert deployment.ask(THERE, READING["metadata"], basic("owner")).body.startswith(b"Metadata-Version")


def test_nobody_else_learns_anything(deployment: Deployment) -> None:
    """Status, reason, headers and body are those for a missing project, and no file changes."""
    found = {}
    chosen = STRANGERS if deployment.is_thorough else {name: STRANGERS[name] for name in MOST_LIKELY}
    for stranger, authorization in chosen.items():
        deployment.warm()
        found[stranger] = _differences(deployment, authorization(deployment))
    assert {stranger: told for stranger, told in found.items() if told} == {}


def test_revoked_access_ends(deployment: Deployment) -> None:
    """When the time to live is over, however long the registry's tokens are valid."""
    leaver, page = basic("leaver"), READING["page as JSON"]
    deployment.warm("leaver")
    assert deployment.ask(THERE, page, leaver).status == 200
    deployment.revoke("leaver")
    time.sleep(TTL)  # both workers: asking until one has forgotten tells of that one only
    deployment.warm()
    assert _differences(deployment, leaver) == {}


@TOKENS
def test_registry_gets_the_same_requests(single: Deployment) -> None:
    """For a cached project, and for a missing one."""
    assert single.front is not None
    found = {}
    for name, route in {**READING, **WRITING}.items():
        asked = []
        for project in (THERE, NOT_THERE):
            single.ask(project, route, basic("stranger"))  # how it wants to be asked is remembered, too
            single.front.asked.clear()
            single.ask(project, route, basic("stranger"))
            asked.append([_spelled(line) for line in single.front.asked])
        if asked[0] != asked[1] or (not asked[0] and name != "page in another spelling"):
            found[name] = asked
    assert found == {}


@TOKENS
@pytest.mark.parametrize(
    "left_out",
    [
        pytest.param((SIZE,), id="file and METADATA"),
        pytest.param((SIZE, CONFIG_DIGEST, CORE_METADATA), id="METADATA read out of the file"),
    ],
)
def test_a_digest_opens_nothing(single: Deployment, left_out: tuple[str, ...]) -> None:
    """A caller who may write to one repository refers to another's documents there, and gets none of them."""
    single.publish("evil", "mallory", make_wheel(files={"mine.py": b""})[1])
    document = _index(single, "acme", "owner").json()
    named = document["manifests"][0]
    for annotation in left_out:
        del named["annotations"][annotation]
    # docker-registry looks whether it has the manifest there; at annotations it doesn't look.
    assert _index(single, "evil", "mallory", json.dumps(document)).status_code == 400
    named["digest"] = _index(single, "evil", "mallory").json()["manifests"][0]["digest"]
    assert _index(single, "evil", "mallory", json.dumps(document)).status_code == 201
    evil = replace(single, url=single.url.replace("/acme/", "/evil/"))
    routes = {name: route for name, route in READING.items() if "{file}" in route.path}
    given = {name: evil.ask(THERE, route, basic("mallory")) for name, route in routes.items()}
    assert {name: reply for name, reply in given.items() if reply.status < 400} == {}


def _index(
    deployment: Deployment, namespace: str, user: str, document: str | None = None
) -> requests.Response:
    """The image index of the version 1.0, read or written directly at the registry."""
    token = deployment.token(user, f"repository:{namespace}/hello_world:pull,push")
    kind = "application/vnd.oci.image.index.v1+json"
    return requests.request(
        "PUT" if document else "GET",
        f"{deployment.registry}/v2/{namespace}/hello_world/manifests/1.0",
        data=document,
        headers={"Authorization": token, "Accept": kind, "Content-Type": kind},
        timeout=30,
    )


def _differences(deployment: Deployment, authorization: str | None) -> dict[str, object]:
    """How the answers for the existing and the missing project differ; and whether content was returned."""
    found: dict[str, object] = {}
    for name, route in {**READING, **WRITING}.items():
        there, not_there = (deployment.ask(project, route, authorization) for project in (THERE, NOT_THERE))
        if there != not_there.spelled() or there.status not in {401, 403, 404}:
            found[name] = (there, not_there)
        if b"no-store" not in dict(there.headers).get("Cache-Control", "").encode():
            found[f"{name}, kept"] = there
    return found
