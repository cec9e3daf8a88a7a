"""`pyoci serve`, which `make serve` starts: the printed commands work when pasted."""

from __future__ import annotations

import json
import shlex
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.live import packages
from tests.live.clients import Clients
from tests.live.conftest import WRITER
from tests.live.servers import Port, Server, Servers, start_serve


@pytest.fixture(scope="module")
def serve(servers: Servers, ports: Callable[[str], Port]) -> Server:
    """PyOCI as a developer starts it."""
    return start_serve(servers, "serve", ports("serve"))


def _arguments(server: Server, command: str, **given: object) -> list[str]:
    """The arguments in the printed line of `command`; `given` replaces its placeholders."""
    [line] = [line for line in server.log.read_text().splitlines() if f"  {command} " in line]
    words = shlex.split(line.partition(f"  {command} ")[2])
    return [str(given.get(word.partition("/")[0], word)) for word in words]


def test_the_limit_is_printed(serve: Server) -> None:
    """With its setting."""
    assert "Largest upload  50 MB, unless PYOCI_MAX_BODY sets another" in serve.log.read_text()


def test_above_a_clone(servers: Servers, ports: Callable[[str], Port], tmp_path: Path) -> None:
    """A folder named `pyoci` in the current directory doesn't hide the package from gunicorn."""
    (tmp_path / "pyoci").mkdir()
    server = start_serve(servers, "above-a-clone", ports("above-a-clone"), tmp_path)
    assert (tmp_path / "pyoci-data").is_dir()
    server.end()
    server.wait()


@pytest.mark.live("pip", "uv", "twine")
def test_printed_lines(clients: Clients, serve: Server, tmp_path: Path) -> None:
    """The printed commands of twine, uv and pip work with a file and a name filled in."""
    wheel, greeting = packages.wheel(tmp_path), packages.wheel(tmp_path, "Acme.Greeting")
    with_pip, with_uv = clients.new_environment("with-pip"), clients.new_environment("with-uv")

    clients.run("twine", "upload", *_arguments(serve, "twine upload", dist=wheel))
    clients.run("uv", "publish", *_arguments(serve, "uv publish", dist=greeting))
    pip, uv = (_arguments(serve, f"{each} install", PACKAGE="hello-world") for each in ("pip", "uv pip"))
    clients.run("pip", "--python", with_pip, "install", *pip, "acme-greeting")
    clients.run("uv", "pip", "install", "--python", with_uv, *uv, "acme-greeting")

    for python in (with_pip, with_uv):
        assert clients.installed(python) == ["Acme.Greeting==1.0", "hello-world==1.0"]


def test_docker_credentials(
    servers: Servers, ports: Callable[[str], Port], guarded_registry: Server, tmp_path: Path
) -> None:
    """The server listens on 127.0.0.1 alone, says who may use the logins, and needs no password there."""
    registry = guarded_registry.url.removeprefix("http://")
    (tmp_path / "config.json").write_text(
        json.dumps({"auths": {registry: {"username": WRITER[0], "password": WRITER[1]}}})
    )
    port = ports("lending")
    server = start_serve(
        servers,
        "lending",
        port,
        tmp_path,
        "--docker-credentials",
        DOCKER_CONFIG=str(tmp_path),
        PYOCI_REGISTRIES=f"guarded={guarded_registry.url}",
    )
    assert "every local user may use them" in server.log.read_text()
    with requests.Session() as session:
        session.trust_env = False
        wheel = packages.wheel(tmp_path)
        form = {":action": "file_upload", "protocol_version": "1"}
        url = f"{server.url}/guarded/acme/lent/"
        answer = session.post(url, data=form, files={"content": (wheel.name, wheel.read_bytes())}, timeout=60)
        assert answer.status_code == 200, answer.text
        assert session.get(f"{url}hello-world/", timeout=60).status_code == 200
        refused = session.get(url, headers={"Origin": "https://elsewhere.example"}, timeout=60)
        assert refused.status_code == 401
    for address in ("127.0.0.2", "::1"):
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as other:
            assert other.connect_ex((address, port.number)) != 0
