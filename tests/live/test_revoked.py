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

TTL = 2  # seconds
USER, OLD, NEW = "owner", "the old password", "the new password"
TOKENS = pytest.mark.live("docker-registry", "token-server")
PASSWORDS = pytest.mark.live("docker-registry")


@dataclass(frozen=True)
class Guarded:
    """PyOCI of two workers before a registry that wants a password, and how to change that password."""

    url: str  # of a namespace
    rotate: Callable[[str], None]

    def read(self, password: str, path: str = "hello-world/") -> int:
        """The status of a page or a file, over a connection of its own."""
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


@pytest.fixture(
    params=[
        pytest.param(True, id="tokens", marks=TOKENS),
        pytest.param(False, id="passwords", marks=PASSWORDS),
    ]
)
def guarded(
    request: pytest.FixtureRequest, servers: Servers, ports: Callable[[str], Port], tmp_path: Path
) -> Guarded:
    name = "revoked-tokens" if request.param else "revoked-passwords"
    if request.param:
        accounts, folder = tmp_path / "tokens" / "accounts.json", tmp_path / "tokens"
        folder.mkdir()

        def rotate(password: str) -> None:
            accounts.write_text(json.dumps({USER: password}))

        rotate(OLD)
        python = str(request.config.stash[ENVIRONMENTS].python("token-server"))
        script, port = str(Path(__file__).parent / "token_server.py"), ports(f"{name}-server")
        command = [python, script, str(port.number), str(folder), "{}", "3600"]
        server = servers.start("tokens-server", command, port.url, ready="/token", env={})
        auth: dict[str, object] = {
            "token": {
                "realm": f"{server.url}/token",
                "service": "revoked",
                "issuer": "tests",
                "rootcertbundle": str(folder / "token.crt"),
            }
        }
    else:
        path = tmp_path / "htpasswd"

        def rotate(password: str) -> None:
            htpasswd(path, **{USER: password})

        rotate(OLD)
        auth = {"htpasswd": {"realm": "revoked", "path": str(path)}}
    registry = start_docker_registry(servers, name, ports(name), auth)
    settings = {"PYOCI_REGISTRIES": f"it={registry.url}", "PYOCI_CACHE_TTL": str(TTL), "WEB_CONCURRENCY": "2"}
    pyoci = start_pyoci(servers, "pyoci", ports(f"{name}-pyoci"), **settings)
    return Guarded(f"{pyoci.url}/it/acme/", rotate)


def test_a_password_that_was_changed_opens_nothing_after_the_time_to_live(guarded: Guarded) -> None:
    """The registry still takes the tokens of an hour that it gave for the old one."""
    wheel = f"hello-world/{make_wheel()[0]}"
    assert guarded.publish(OLD, "1.0") == 200
    for _ in range(10):  # so that both workers have tokens for reading and for publishing
        assert guarded.publish(OLD, "1.0") == 200
        assert [guarded.read(OLD, path) for path in ("hello-world/", wheel, f"{wheel}.metadata")] == [200] * 3

    guarded.rotate(NEW)
    time.sleep(TTL)  # both workers: asking until one has forgotten tells of that one only

    found = set()
    for number in range(10):
        found |= {guarded.read(OLD, path) for path in ("hello-world/", wheel, f"{wheel}.metadata")}
        found.add(guarded.publish(OLD, f"2.{number}"))
    assert found == {401}
    assert guarded.read(NEW) == 200
    assert guarded.publish(NEW, "3.0") == 200
