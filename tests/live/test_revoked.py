"""Access that was revoked at the registry ends within PYOCI_CACHE_TTL, for reading and for publishing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.builders import make_wheel
from tests.live.conftest import ENVIRONMENTS
from tests.live.servers import Port, Servers, htpasswd, start_docker_registry, start_pyoci

USER, OLD, NEW = "owner", "the old password", "the new password"
TOKENS = pytest.mark.live("docker-registry", "token-server")
PASSWORDS = pytest.mark.live("docker-registry")


@dataclass(frozen=True)
class Guarded:
    """PyOCI with two workers in front of a registry with a password, and how to change the password."""

    url: str  # of a namespace
    ttl: int  # seconds
    rotate: Callable[[str], None]
    registry: str  # its URL
    issued: Path | None  # a file with the tokens that were issued

    def read(self, password: str, path: str = "hello-world/") -> int:
        """The status of a page or a file, over a new connection."""
        answer = requests.get(self.url + path, auth=(USER, password), timeout=30)
        return answer.status_code

    def publish(self, password: str, version: str) -> int:
        filename, content = make_wheel(version=version)
        form = {":action": "file_upload", "protocol_version": "1", "name": "hello-world", "version": version}
        files = {"content": (filename, content)}
        answer = requests.post(self.url, data=form, files=files, auth=(USER, password), timeout=30)
        return answer.status_code


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    servers = Servers(tmp_path)
    yield servers
    servers.stop()


Rotate = Callable[[str], None]
Auth = dict[str, object]


@pytest.fixture
def tokens(
    request: pytest.FixtureRequest, servers: Servers, ports: Callable[[str], Port], tmp_path: Path
) -> tuple[Rotate, Auth]:
    """A token server whose tokens are valid for an hour: how to change the password, and the registry's
    settings.
    """
    folder = tmp_path / "tokens"
    folder.mkdir()

    def rotate(password: str) -> None:
        (folder / "accounts.json").write_text(json.dumps({USER: password}))

    rotate(OLD)
    python = str(request.config.stash[ENVIRONMENTS].python("token-server"))
    script, port = str(Path(__file__).parent / "token_server.py"), ports(f"tokens of {request.node.name}")
    command = [python, script, str(port.number), str(folder), "{}", "3600"]
    server = servers.start("tokens-server", command, port.url, ready="/token", env={})
    certificate = str(folder / "token.crt")
    facts = {"service": "revoked", "issuer": "tests", "rootcertbundle": certificate}
    return rotate, {"token": {"realm": f"{server.url}/token", **facts}}


@pytest.fixture
def passwords(tmp_path: Path) -> tuple[Rotate, Auth]:
    """The same for a registry that checks the password itself."""
    path = tmp_path / "htpasswd"

    def rotate(password: str) -> None:
        htpasswd(path, **{USER: password})

    rotate(OLD)
    return rotate, {"htpasswd": {"realm": "revoked", "path": str(path)}}


@pytest.fixture(
    params=[
        pytest.param(("tokens", 2), id="tokens", marks=TOKENS),
        pytest.param(("tokens", 0), id="tokens, no time to live", marks=TOKENS),
        pytest.param(("passwords", 2), id="passwords", marks=PASSWORDS),
    ]
)
def guarded(
    request: pytest.FixtureRequest, servers: Servers, ports: Callable[[str], Port], tmp_path: Path
) -> Guarded:
    kind, ttl = request.param
    rotate, auth = request.getfixturevalue(kind)
    name = request.node.name
    registry = start_docker_registry(servers, "registry", ports(f"registry of {name}"), auth)
    settings = {"PYOCI_REGISTRIES": f"it={registry.url}", "PYOCI_CACHE_TTL": str(ttl), "WEB_CONCURRENCY": "2"}
    pyoci = start_pyoci(servers, "pyoci", ports(f"pyoci of {name}"), **settings)
    issued = tmp_path / "tokens" / "issued.txt" if kind == "tokens" else None
    return Guarded(f"{pyoci.url}/it/acme/", ttl, rotate, registry.url, issued)


def test_a_password_that_was_changed_opens_nothing_after_the_time_to_live(guarded: Guarded) -> None:
    """Although the registry still accepts the tokens of an hour."""
    wheel = f"hello-world/{make_wheel()[0]}"
    assert guarded.publish(OLD, "1.0") == 200
    for _ in range(10):  # so that both workers have tokens for reading and for publishing
        assert guarded.publish(OLD, "1.0") == 200
        assert [guarded.read(OLD, path) for path in ("hello-world/", wheel, f"{wheel}.metadata")] == [200] * 3

    guarded.rotate(NEW)
    time.sleep(guarded.ttl)  # both workers: asking until one has forgotten tells of that one only

    found = set()
    for number in range(10):
        found |= {guarded.read(OLD, path) for path in ("hello-world/", wheel, f"{wheel}.metadata")}
        found.add(guarded.publish(OLD, f"2.{number}"))
    assert found == {401}
    assert still_taken(guarded)
    assert guarded.read(NEW) == 200
    assert guarded.publish(NEW, "3.0") == 200


def still_taken(guarded: Guarded) -> bool:
    """Whether the registry accepts a token that was issued for the old password, if it issues tokens."""
    if guarded.issued is None:
        return True
    url = f"{guarded.registry}/v2/acme/hello_world/tags/list"
    tokens = guarded.issued.read_text().split()
    answers = (
        requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=30) for token in tokens
    )
    return any(answer.status_code == 200 for answer in answers)
