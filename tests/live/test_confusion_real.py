"""Dependency confusion with real registries: their projects are never replaced by
upstream's, whoever asks.
"""

from __future__ import annotations

import itertools
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import requests

from tests.builders import make_wheel
from tests.live.clients import Clients
from tests.live.conftest import ENVIRONMENTS
from tests.live.confusion import CLIENTS, with_user
from tests.live.fronts import Front
from tests.live.servers import Port, Servers, htpasswd, start_docker_registry, start_pyoci
from tests.upstreams import PackageIndex, package_index

JSON = "application/vnd.pypi.simple.v1+json"
OWNER, IMPOSTOR, STRANGER, NOBODY = "owner:secret", "owner:wrong", "stranger:other", ""
ALL = "pull,push,delete"
# `hidden`: the one with tokens, behind a proxy that answers 404 to callers without access.
KINDS = ("local", "guarded", "tokens", "hidden")
READERS = 32
ROUNDS = 4

pytestmark = pytest.mark.live("docker-registry", "token-server")
Ports = Callable[[str], Port]


def ask(url: str, user: str = NOBODY, **headers: str) -> requests.Response:
    """A page, over a new connection, so that any worker may serve it."""
    with requests.Session() as session:
        session.trust_env = False
        return session.get(with_user(url, user), headers={"Accept": JSON, **headers}, timeout=60)


def publish(index: str, project: str, user: str = NOBODY, version: str = "1.0") -> None:
    filename, content = make_wheel(project, version)
    form = {":action": "file_upload", "protocol_version": "1", "name": project, "version": version}
    files = {"content": (filename, content)}
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(with_user(index, user), data=form, files=files, timeout=60)
    assert answer.status_code == 200, answer.text


def origin(answer: requests.Response) -> str | None:
    """The origin of a page; None for an error."""
    return answer.headers.get("X-PyOCI-Origin") if answer.status_code == 200 else None


@dataclass(frozen=True)
class Attack:
    """PyOCI between an attacker's package index and real registries."""

    bait: PackageIndex
    url: str
    registries: str  # the setting, without the embedded one
    guarded: str  # the URL of one of them
    rights: Path  # the rights, for the token server
    numbers: Iterator[int]

    def index(self, kind: str) -> str:
        return f"{self.url}/{kind}/acme/"

    def private_name(self) -> str:
        """A project that the attacker has published in a higher version."""
        name = f"acme-real{next(self.numbers)}"
        self.bait.add_wheel(name, "99.0")
        return name

    def files(self, project: str) -> list[str]:
        """The paths that the attacker's wheel and its METADATA would have below the page."""
        [entry] = self.bait.projects[project]
        path = f"{project}/+{entry['hashes']['sha256'][:16]}/{entry['filename']}"
        return [path, f"{path}.metadata"]

    def granted(self, **rights: dict[str, str]) -> None:
        """Give these rights to these users from now on."""
        fresh = self.rights.with_suffix(".new")
        fresh.write_text(json.dumps(rights))
        fresh.replace(self.rights)


@pytest.fixture(scope="module")
def own_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    servers = Servers(tmp_path_factory.mktemp("confusion"))
    yield servers
    servers.stop()


def start_tokens(request: pytest.FixtureRequest, servers: Servers, ports: Ports) -> str:
    """A docker-registry with a token server; yields its URL."""
    folder = servers.folder / "issuer"
    folder.mkdir()
    python = str(request.config.stash[ENVIRONMENTS].python("token-server"))
    port = ports("confusion-issuer")
    script = str(Path(__file__).parent / "token_server.py")
    accounts = dict(user.split(":") for user in (OWNER, STRANGER))
    command = [python, script, str(port.number), str(folder), json.dumps(accounts), "30"]
    issuer = servers.start("issuer", command, port.url, ready="/token", env={})
    auth = {"realm": f"{issuer.url}/token", "service": "confusion", "issuer": "tests"}
    token = {"token": {**auth, "rootcertbundle": str(folder / "token.crt")}}
    return start_docker_registry(servers, "confusion-tokens", ports("confusion-tokens"), token).url


@pytest.fixture(scope="module")
def attack(request: pytest.FixtureRequest, own_servers: Servers, ports: Ports) -> Iterator[Attack]:
    accounts = htpasswd(own_servers.folder / "accounts", owner="secret")
    auth = {"htpasswd": {"realm": "x", "path": str(accounts)}}
    guarded = start_docker_registry(own_servers, "confusion-guarded", ports("confusion-guarded"), auth)
    tokens = start_tokens(request, own_servers, ports)
    with ExitStack() as stack:
        bait = stack.enter_context(package_index())
        hidden = stack.enter_context(Front(tokens, conceals=True).running())
        registries = f"guarded={guarded.url}, tokens={tokens}, hidden={hidden}"
        pyoci = start_pyoci(
            own_servers,
            "confusion-pyoci",
            ports("confusion-pyoci"),
            PYOCI_EMBEDDED=str(own_servers.folder / "embedded"),
            PYOCI_EMBEDDED_HTPASSWD=str(accounts),
            PYOCI_REGISTRIES=registries,
            PYOCI_UPSTREAM_INDEX=bait.simple,
            PYOCI_UPSTREAM_FILES="proxy",
            PYOCI_UPSTREAM_FILES_DIR=str(own_servers.folder / "upstream-files"),
            WEB_CONCURRENCY="2",
        )
        rights = own_servers.folder / "issuer" / "rights.json"
        attack = Attack(bait, pyoci.url, registries, guarded.url, rights, itertools.count())
        attack.granted(owner={"acme/": ALL}, stranger={"elsewhere/": ALL})
        yield attack


def cells() -> Iterator[object]:
    """Each client with each registry; slow clients with one."""
    for client, (program, _) in CLIENTS.items():
        for kind in KINDS if program in {"pip", "uv"} else ("tokens",):
            yield pytest.param(client, kind, id=f"{client}-{kind}", marks=pytest.mark.live(program))


@pytest.mark.parametrize(("client", "kind"), list(cells()))
def test_existing_project_comes_from_the_registry(
    client: str, kind: str, attack: Attack, clients: Clients, tmp_path: Path
) -> None:
    """1.0 is installed, although upstream has 99.0. Upstream isn't asked."""
    project = attack.private_name()
    publish(attack.index(kind), project, OWNER)
    outcome = CLIENTS[client][1](clients, tmp_path, with_user(attack.index(kind), OWNER), project)
    assert outcome.code == 0, str(outcome)
    assert "1.0" in outcome.output
    assert "99.0" not in outcome.output
    assert attack.bait.asked(project) == 0


@pytest.mark.live("pip", "uv")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("caller", [IMPOSTOR, STRANGER, NOBODY], ids=["impostor", "stranger", "nobody"])
@pytest.mark.parametrize("published", [True, False], ids=["published", "not-yet"])
def test_callers_without_access(
    caller: str, kind: str, attack: Attack, clients: Clients, tmp_path: Path, *, published: bool
) -> None:
    """They get nothing from upstream, whether the project exists or not, also after its owner has read it."""
    project, index = attack.private_name(), attack.index(kind)
    if published:
        publish(index, project, OWNER)
        assert origin(ask(f"{index}{project}/", OWNER)) == "registry"
    answer = ask(f"{index}{project}/", caller)
    assert answer.status_code in {401, 403, 404}
    assert ask(f"{index}{project}/json", caller).status_code == answer.status_code
    for path in attack.files(project):
        assert ask(f"{index}{path}", caller).status_code in {401, 403, 404}
    outcome = CLIENTS["uv"][1](clients, tmp_path, with_user(index, caller), project)
    assert outcome.code != 0, str(outcome)
    assert "99.0" not in answer.text + outcome.output
    assert attack.bait.asked(project) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_lacks_comes_from_upstream(kind: str, attack: Attack) -> None:
    """For callers with access, its files as well."""
    project = attack.private_name()
    for path in (f"{project}/", *attack.files(project)):
        assert origin(ask(f"{attack.index(kind)}{path}", OWNER)) == "upstream"


@pytest.mark.parametrize("kind", KINDS)
def test_publication_replaces_upstreams_page(kind: str, attack: Attack) -> None:
    """Both workers have cached upstream's page in each representation, and have its files. They no longer
    serve them.
    """
    project, index = attack.private_name(), attack.index(kind)
    shapes = [{"Accept": accept} for accept in (JSON, "text/html", "*/*")]
    for _ in range(4):
        assert {origin(ask(f"{index}{project}/", OWNER, **shape)) for shape in shapes} == {"upstream"}
        assert {origin(ask(f"{index}{path}", OWNER)) for path in attack.files(project)} == {"upstream"}
    publish(index, project, OWNER)
    for _ in range(4):
        assert {origin(ask(f"{index}{project}/", OWNER, **shape)) for shape in shapes} == {"registry"}
        assert {ask(f"{index}{path}", OWNER).status_code for path in attack.files(project)} == {404}


@pytest.mark.parametrize("kind", KINDS)
def test_emptied_project_stays(kind: str, attack: Attack) -> None:
    """Its last version was deleted. The name is never looked up upstream, in any worker."""
    project, index = attack.private_name(), attack.index(kind)
    publish(index, project, OWNER)
    with requests.Session() as session:
        session.trust_env = False
        deleted = session.delete(with_user(f"{index}{project}/1.0", OWNER), timeout=60)
    assert deleted.status_code == 200
    for _ in range(6):
        assert origin(ask(f"{index}{project}/", OWNER, **{"Cache-Control": "no-cache"})) != "upstream"
        assert {ask(f"{index}{path}", OWNER).status_code for path in attack.files(project)} == {404}
    assert attack.bait.asked(project) == 0


@pytest.fixture(scope="module")
def other_servers(own_servers: Servers, ports: Ports, attack: Attack) -> list[Attack]:
    """The same registries through two other servers; the three servers share nothing."""
    found = []
    for name in ("confusion-alone-one", "confusion-alone-two"):
        settings = {"PYOCI_REGISTRIES": attack.registries, "PYOCI_UPSTREAM_INDEX": attack.bait.simple}
        found.append(replace(attack, url=start_pyoci(own_servers, name, ports(name), **settings).url))
    return found


@pytest.mark.parametrize("number", range(ROUNDS))
def test_what_was_emptied_by_several_at_once_stays(
    number: int, attack: Attack, other_servers: list[Attack]
) -> None:
    """Four versions are deleted at the same time through two servers, and a third server has no cache. A tag
    is left, because some registries forget a repository without tags.
    """
    kind, second, third = "guarded", *other_servers
    project, versions = attack.private_name(), [f"{number}.{minor}" for minor in range(4)]
    for version in versions:
        publish(attack.index(kind), project, OWNER, version)
    ready = threading.Barrier(len(versions))

    def delete(where: Attack, version: str) -> int:
        url = with_user(f"{where.index(kind)}{project}/{version}", OWNER)
        with requests.Session() as session:
            session.trust_env = False
            ready.wait(60)
            return session.delete(url, timeout=60).status_code

    with ThreadPoolExecutor(len(versions)) as pool:
        answers = list(pool.map(delete, [attack, attack, second, second], versions))
    assert answers == [200] * len(versions)
    tags = ask(f"{attack.guarded}/v2/acme/{project.replace('-', '_')}/tags/list", OWNER)
    assert tags.json()["tags"] == ["0--pyoci"]
    answer = ask(f"{third.index(kind)}{project}/", OWNER)
    assert (origin(answer), answer.json()["files"]) == ("registry", [])
    assert attack.bait.asked(project) == 0


def test_what_was_seen_stays_here(own_servers: Servers, ports: Ports, tmp_path: Path) -> None:
    """The registry is restarted without its data, because somebody forgot the volume. Also after PyOCI was
    restarted with the same cache.
    """
    port, folder = ports("confusion-volatile"), tmp_path / "registry"
    registry = start_docker_registry(own_servers, "volatile", port, folder=folder)
    with package_index() as bait:
        settings = {
            "PYOCI_REGISTRIES": f"lab={registry.url}",
            "PYOCI_UPSTREAM_INDEX": bait.simple,
            "PYOCI_CACHE_URL": (tmp_path / "cache").as_uri(),
        }
        bait.add_wheel("acme-tool", "99.0")
        pyoci = start_pyoci(own_servers, "before", ports("confusion-before"), **settings)
        page = f"{pyoci.url}/lab/acme/acme-tool/"
        publish(f"{pyoci.url}/lab/acme/", "acme-tool")
        assert origin(ask(page)) == "registry"
        registry.end()
        registry.wait()
        assert ask(page, **{"Cache-Control": "no-cache"}).status_code == 503
        shutil.rmtree(folder)
        registry = start_docker_registry(own_servers, "volatile-again", port, folder=folder)
        assert ask(page, **{"Cache-Control": "no-cache"}).status_code == 404
        pyoci.end()
        pyoci.wait()
        pyoci = start_pyoci(own_servers, "after", ports("confusion-after"), **settings)
        assert ask(f"{pyoci.url}/lab/acme/acme-tool/").status_code == 404
        assert bait.asked("acme-tool") == 0
        assert origin(ask(f"{pyoci.url}/lab/acme/another/")) is None
        assert bait.asked("another") == 1


@pytest.fixture(scope="module")
def pair(
    own_servers: Servers, ports: Ports, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[PackageIndex, list[str]]]:
    """The attacker's package index, and the URLs of one namespace at two servers of two workers each, which
    share a cache.
    """
    registry = start_docker_registry(own_servers, "race-registry", ports("race-registry"))
    with package_index() as bait:
        settings = {
            "PYOCI_REGISTRIES": f"lab={registry.url}",
            "PYOCI_UPSTREAM_INDEX": bait.simple,
            "PYOCI_CACHE_URL": tmp_path_factory.mktemp("shared").as_uri(),
            "WEB_CONCURRENCY": "2",
        }
        names = ("race-one", "race-other")
        servers = [start_pyoci(own_servers, name, ports(name), **settings) for name in names]
        yield bait, [f"{server.url}/lab/acme/" for server in servers]
        for server in servers:
            server.end()
            server.wait()


@pytest.mark.parametrize("number", range(ROUNDS))
def test_publication_is_visible_to_later_requests(pair: tuple[PackageIndex, list[str]], number: int) -> None:
    """At either server at once, while thirty-two clients read."""
    bait, indexes = pair
    project = f"acme-race{number}"
    bait.add_wheel(project, "99.0")
    ready, published = threading.Barrier(READERS + 1), threading.Event()
    early: list[str | None] = []
    late: list[str | None] = []

    def read(reader: int) -> None:
        for turn in itertools.count():
            is_late = published.is_set()
            answer = ask(f"{indexes[(reader + turn) % 2]}{project}/")
            (late if is_late else early).append(origin(answer))
            if turn == 0:
                ready.wait(60)
            if is_late and turn > 3:
                return

    with ThreadPoolExecutor(READERS) as pool:
        readers = [pool.submit(read, reader) for reader in range(READERS)]
        try:
            ready.wait(60)
            publish(indexes[number % 2], project)
        finally:
            published.set()
        for reader in readers:
            reader.result(120)
    assert early[:READERS] == ["upstream"] * READERS
    assert set(early) <= {"upstream", "registry"}
    assert set(late) == {"registry"}
