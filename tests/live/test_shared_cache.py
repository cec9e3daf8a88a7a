"""A server's changes are visible at once at each server that shares its cache; and no
secret is in the cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.builders import make_wheel
from tests.live.redis_server import RedisServer
from tests.live.servers import Port, Server, Servers, htpasswd, start_docker_registry, start_pyoci

JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}
USER, PASSWORD = "the-user-of-this-test", "ThePasswordOfThisTest"
ROUNDS = 8

Ports = Callable[[str], Port]


@pytest.fixture(scope="module")
def module_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    servers = Servers(tmp_path_factory.mktemp("shared-cache"))
    yield servers
    servers.stop()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def registry(module_servers: Servers, ports: Ports) -> Server:
    """docker-registry with a password."""
    accounts = htpasswd(module_servers.folder / "accounts", **{USER: PASSWORD})
    return start_docker_registry(
        module_servers,
        "registry",
        ports("shared-registry"),
        auth={"htpasswd": {"realm": "lab", "path": str(accounts)}},
    )


@pytest.fixture(params=["directory", "redis"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """PYOCI_CACHE_URL."""
    if request.param == "directory":
        return (tmp_path / "cache").as_uri()
    return str(request.getfixturevalue("redis").url)


@pytest.fixture
def pair(
    address: str,
    registry: Server,
    module_servers: Servers,
    ports: Ports,
    request: pytest.FixtureRequest,
) -> list[str]:
    """The URLs of one namespace in two servers of two workers each, which share nothing but their cache."""
    settings = {
        "PYOCI_REGISTRIES": f"lab={registry.url}",
        "PYOCI_CACHE_URL": address,
        "WEB_CONCURRENCY": "2",
        "PYOCI_LOG": "debug",
    }
    names = [f"{request.node.name}-{number}" for number in range(2)]
    servers = [start_pyoci(module_servers, name, ports(name), **settings) for name in names]
    namespace = hashlib.sha256(request.node.name.encode()).hexdigest()[:8]
    return [f"{server.url}/lab/{namespace}/" for server in servers]


def publish(url: str, version: str) -> str:
    filename, wheel = make_wheel(version=version)
    form = {":action": "file_upload", "protocol_version": "1", "name": "hello-world", "version": version}
    answer = requests.post(
        url, data=form, files={"content": (filename, wheel)}, auth=(USER, PASSWORD), timeout=30
    )
    assert answer.status_code == 200, answer.text
    return filename


def names(url: str) -> list[str]:
    """The files on the page, over a new connection, so that any worker may serve it."""
    answer = requests.get(f"{url}hello-world/", headers=JSON, auth=(USER, PASSWORD), timeout=30)
    assert answer.status_code in {200, 404}, answer.text
    return [file["filename"] for file in answer.json()["files"]] if answer.ok else []


@pytest.mark.live("docker-registry", "redis-server")
def test_each_shows_what_the_other_wrote(pair: list[str]) -> None:
    """At once, in every worker: uploads, yanks and deletes."""
    expected = sorted(names(pair[0]))
    for number in range(ROUNDS):
        writer = pair[number % 2]
        expected.append(publish(writer, f"{number}.0"))
        for reader in pair * 3:
            assert sorted(names(reader)) == sorted(expected)
    url = f"{pair[0]}hello-world/{expected.pop()}"
    assert requests.delete(url, auth=(USER, PASSWORD), timeout=30).status_code == 200
    for reader in pair * 3:
        assert sorted(names(reader)) == sorted(expected)


@pytest.mark.live("docker-registry", "redis-server")
def test_no_secret_lies_there(
    pair: list[str], address: str, redis: RedisServer, module_servers: Servers, tmp_path: Path
) -> None:
    """Neither passwords nor headers are in the cache or a log. The user name is only in
    the log, as `user`.
    """
    header = requests.Request("GET", pair[0], auth=(USER, PASSWORD)).prepare().headers["Authorization"]
    secrets = [text.encode() for text in (PASSWORD, header.removeprefix("Basic "))]
    publish(pair[0], "99.0")
    names(pair[1])
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    if "redis" in address:
        keys = redis.command("KEYS", "*").split(b"\r\n")[2::2]
        words = (("GET", "{}"), ("XRANGE", "{}", "-", "+"))
        kept = [
            key + redis.command(*(word.format(key.decode()) for word in each))
            for key in keys
            for each in words
            if key
        ]
        secrets.append(b"hunter2")
    logs = [path.read_bytes() for path in module_servers.folder.glob("test_*.log")]
    assert len(kept) >= 3
    assert b"registry call" in b"".join(logs)
    assert [secret for secret in secrets if any(secret in place for place in (*kept, *logs))] == []
    assert not any(USER.encode() in place for place in kept)


@pytest.mark.live("docker-registry", "redis-server")
def test_redis_is_optional(
    registry: Server, module_servers: Servers, ports: Ports, redis: RedisServer
) -> None:
    """While it is down, pages are correct and slower; afterwards they are correct, too."""
    settings = {"PYOCI_REGISTRIES": f"lab={registry.url}", "PYOCI_CACHE_URL": redis.url}
    server = start_pyoci(module_servers, "away", ports("away"), **settings)
    url = f"{server.url}/lab/away/"
    publish(url, "1.0")
    assert len(names(url)) == 1
    redis.stop()
    try:
        assert len(names(url)) == 1
        publish(url, "2.0")
        assert [len(names(url)) for _ in range(6)] == [2] * 6
    finally:
        redis.start()
    publish(url, "3.0")
    assert [len(names(url)) for _ in range(6)] == [3] * 6
