"""Registries with special behaviour, each with the main operations: publish, install, yank, delete."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.live import packages
from tests.live.clients import Clients
from tests.live.conftest import ENVIRONMENTS, WRITER
from tests.live.indexes import PackageIndex
from tests.live.publishing import published, refused, twine, uv
from tests.live.redirecting import RedirectingRegistry
from tests.live.servers import Port, Server, Servers, htpasswd, start_docker_registry, start_pyoci

pytestmark = pytest.mark.live("docker-registry", "twine", "uv", "pip")

TOKEN_SECONDS = (
    60  # what a token without expires_in lives for, and the shortest that docker-registry hands out
)


@dataclass(frozen=True, slots=True)
class Zoo:
    """Docker-registries, PyOCI in front of them, and a record of its requests."""

    pyoci: Server
    redirecting_pyoci: Server
    redirecting: RedirectingRegistry
    tokens_issued: Path


@pytest.fixture(scope="module")
def zoo(request: pytest.FixtureRequest, servers: Servers, ports: Callable[[str], Port]) -> Iterator[Zoo]:
    accounts = htpasswd(servers.folder / "zoo.htpasswd", **dict([WRITER]))
    auth = {"htpasswd": {"realm": "zoo", "path": str(accounts)}}
    start_docker_registry(servers, "zoo-password", ports("zoo-password"), auth)
    tokens = _start_token_registry(request, servers, ports)
    start_docker_registry(servers, "zoo-plain", ports("zoo-plain"))
    _start_read_only(servers, ports("zoo-read-only"))
    redirecting = RedirectingRegistry(ports("zoo-plain").url)
    with redirecting.running() as url:
        named = {name: ports(f"zoo-{name}").url for name in ("password", "token", "plain", "read-only")}
        registries = ", ".join(f"{name}={url}" for name, url in {**named, "redirecting": url}.items())
        pyoci, other = (
            start_pyoci(servers, name, ports(name), PYOCI_REGISTRIES=registries, PYOCI_REDIRECT=redirect)
            for name, redirect in (("zoo-pyoci", "no"), ("zoo-redirecting-pyoci", "yes"))
        )
        yield Zoo(pyoci, other, redirecting, tokens)
        for server in (pyoci, other):
            server.end()
            server.wait()


def _start_token_registry(
    request: pytest.FixtureRequest, servers: Servers, ports: Callable[[str], Port]
) -> Path:
    folder = servers.folder / "zoo-token-server"
    folder.mkdir()
    port = ports("zoo-token-server")
    python = str(request.config.stash[ENVIRONMENTS].python("token-server"))
    script = str(Path(__file__).parent / "token_server.py")
    accounts = json.dumps(dict([WRITER]))
    command = [python, script, str(port.number), str(folder), accounts, str(TOKEN_SECONDS)]
    servers.start("zoo-token-server", command, port.url, ready="/token", env={})
    token = {
        "realm": f"{port.url}/token",
        "service": "zoo",
        "issuer": "tests",
        "rootcertbundle": str(folder / "token.crt"),
    }
    start_docker_registry(servers, "zoo-token", ports("zoo-token"), {"token": token})
    return folder / "issued.txt"


def _start_read_only(servers: Servers, port: Port) -> None:
    """The plain registry's storage, served by a read-only registry."""
    maintenance = {"readonly": {"enabled": True}}
    start_docker_registry(
        servers, "zoo-read-only", port, folder=servers.folder / "zoo-plain", maintenance=maintenance
    )


@pytest.mark.live("token-server")
@pytest.mark.parametrize("registry", ["password", "token", "redirecting"])
def test_the_main_job(clients: Clients, zoo: Zoo, registry: str, tmp_path: Path) -> None:
    """twine and uv publish, pip and uv install by range and by hash, a yank is respected,
    a version deleted.
    """
    index = PackageIndex.new(zoo.pyoci, registry, "").signed_in(*WRITER)
    url = index.url_with_credentials
    old, new = packages.wheel(tmp_path), packages.wheel(tmp_path, version="2.0", ballast=3_000_000)
    user = packages.wheel(tmp_path, "needs-hello", requires=["hello-world"])
    published(twine(clients, index, [old, packages.sdist(tmp_path), user]))
    published(uv(clients, index, [new]))
    published(twine(clients, index, [old]))
    refused(twine(clients, index, [packages.wheel(tmp_path / "..", text="other")]))
    first, second, third = (clients.new_environment(name) for name in ("first", "second", "third"))

    clients.run("pip", "--python", first, "install", "--index-url", url, "needs-hello")
    assert clients.installed(first) == ["hello-world==2.0", "needs-hello==1.0"]
    index.yank("hello-world/2.0", "broken")
    clients.run("uv", "pip", "install", "--python", second, "--default-index", url, "needs-hello")
    assert clients.installed(second) == ["hello-world==1.0", "needs-hello==1.0"]
    clients.run("uv", "pip", "install", "--python", third, "--default-index", url, "hello-world==2.0")
    assert clients.installed(third) == ["hello-world==2.0"]

    for target in ("hello-world/2.0", f"hello-world/{old.name}"):
        answer = requests.delete(index.url + target, auth=WRITER, timeout=60)
        assert answer.status_code == 200, answer.text
    assert index.filenames("hello-world") == ["hello_world-1.0.tar.gz"]


@pytest.mark.live("token-server")
def test_a_token_serves_as_long_as_it_lives(zoo: Zoo, tmp_path: Path, clients: Clients) -> None:
    """Twenty pages need one token for each worker, and one to write."""
    index = PackageIndex.new(zoo.pyoci, "token", "").signed_in(*WRITER)
    published(twine(clients, index, [packages.wheel(tmp_path)]))
    before = len(zoo.tokens_issued.read_text().splitlines())
    for _ in range(20):
        assert index.filenames("hello-world")
    assert len(zoo.tokens_issued.read_text().splitlines()) - before <= 8


@pytest.mark.live("token-server")
@pytest.mark.parametrize("registry", ["password", "token"])
@pytest.mark.parametrize("password", ["wrong", ""])
def test_wrong_password_is_a_401(
    clients: Clients, zoo: Zoo, registry: str, password: str, tmp_path: Path
) -> None:
    """On every path, after the right password has been used."""
    index = PackageIndex.new(zoo.pyoci, registry, "").signed_in(*WRITER)
    (wheel,) = files = [packages.wheel(tmp_path)]
    published(twine(clients, index, files))
    stranger = index.signed_in(WRITER[0], password)
    for path in ("hello-world/", f"hello-world/{wheel.name}", f"hello-world/{wheel.name}.metadata"):
        assert index.get(path).status_code == 200
        answer = stranger.get(path)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="pyoci"')


def test_redirects_cost_no_second_way(zoo: Zoo, clients: Clients, tmp_path: Path) -> None:
    """With PYOCI_REDIRECT pip downloads wheels from the storage. The end of a wheel is
    still read by PyOCI.
    """
    index = PackageIndex.new(zoo.redirecting_pyoci, "redirecting", "")
    wheel = packages.wheel(tmp_path, ballast=1_000_000)
    published(twine(clients, index, [wheel]))
    # The storage is on another port of our own host name: pip's credentials for us would go there.
    known = index.get(f"hello-world/{wheel.name}")
    assert (known.status_code, known.history) == (200, [])
    elsewhere = index.url.replace("127.0.0.1", "localhost")
    answer = requests.get(f"{elsewhere}hello-world/{wheel.name}", allow_redirects=False, timeout=60)
    assert answer.status_code == 307
    assert answer.headers["Location"].startswith(zoo.redirecting.storage_url)
    python = clients.new_environment("environment")
    clients.run("pip", "--python", python, "install", "--index-url", elsewhere, "hello-world")
    assert clients.installed(python) == ["hello-world==1.0"]
    tail = index.get(f"hello-world/{wheel.name}", Range="bytes=-1000")
    assert (tail.status_code, tail.content) == (206, wheel.read_bytes()[-1000:])


def test_read_only_registry(clients: Clients, zoo: Zoo, tmp_path: Path) -> None:
    """Packages are served. Uploads, yanks and deletes are refused with a sentence, and change nothing."""
    writable = PackageIndex.new(zoo.pyoci, "plain", "")
    wheel = packages.wheel(tmp_path)
    published(twine(clients, writable, [wheel]))
    index = PackageIndex(url=writable.url.replace("/plain/", "/read-only/"), registry="")
    assert index.filenames("hello-world") == [wheel.name]

    outcome = refused(twine(clients, index, [packages.wheel(tmp_path, version="2.0")]))
    assert "405" in outcome
    yank = requests.patch(f"{index.url}hello-world/1.0", json={"yanked": True}, timeout=60)
    delete = requests.delete(f"{index.url}hello-world/1.0", timeout=60)
    assert (yank.status_code, delete.status_code) == (405, 405)
    assert index.page("hello-world")["files"] == writable.page("hello-world")["files"]
