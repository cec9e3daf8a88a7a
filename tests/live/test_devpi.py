"""devpi: a release is pushed from its server to PyOCI, and a mirror of its serves what PyOCI has."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live import packages
from tests.live.clients import Clients
from tests.live.conftest import WRITER
from tests.live.indexes import PackageIndex
from tests.live.publishing import published, uv
from tests.live.servers import Port, Server, Servers

pytestmark = [pytest.mark.live("devpi==7.3.0", "docker-registry", "uv"), pytest.mark.long]
DEVPI = "devpi==7.3.0"


@pytest.fixture
def devpi(clients: Clients, servers: Servers, ports: Callable[[str], Port]) -> Iterator[Server]:
    """A server of devpi, where root is logged in."""
    program = clients.environments.program(DEVPI).with_name("devpi-server")
    folder = clients.home / "devpi-server"
    made = subprocess.run(
        [program.with_name("devpi-init"), "--serverdir", folder, "--no-root-pypi"],
        env=clients.environment(),
        capture_output=True,
        timeout=120,
    )
    assert made.returncode == 0, made.stderr
    port = ports("devpi")
    cheap = ("--argon2-memory-cost", "1024", "--argon2-time-cost", "1")  # its default takes seconds
    command = [str(program), "--serverdir", str(folder), "--port", str(port.number), *cheap]
    server = servers.start("devpi", command, port.url, ready="/+api", env=clients.environment())
    clients.run(DEVPI, "use", server.url)
    clients.run(DEVPI, "login", "root", "--password=")
    yield server
    server.end()
    server.wait()


def test_push_and_mirror(
    devpi: Server,
    clients: Clients,
    guarded_pyoci: Server,
    guarded_registry: Server,
    pyoci: Server,
    docker_registry: Server,
    tmp_path: Path,
) -> None:
    """`devpi push` to a registry with a password. uv installs from a mirror of an open one: devpi sends the
    password in a mirror's URL as it is quoted there.
    """
    guarded = PackageIndex.new(guarded_pyoci, "guarded", guarded_registry.url.removeprefix("http://"))
    guarded = guarded.signed_in(*WRITER)
    wheel = packages.wheel(tmp_path)
    account = f"username: {guarded.username}\npassword: {guarded.password}\n"
    (clients.home / ".pypirc").write_text(
        f"[distutils]\nindex-servers: acme\n[acme]\nrepository: {guarded.url}\n{account}"
    )
    for command in (
        ("index", "-c", "root/dev", "bases="),
        ("use", "root/dev"),
        ("upload", wheel),
        ("push", "hello-world==1.0", "pypi:acme"),
    ):
        clients.run(DEVPI, *command)
    assert guarded.get(f"hello-world/{wheel.name}").content == wheel.read_bytes()

    private = PackageIndex.new(pyoci, "lab", docker_registry.url.removeprefix("http://"))
    files = [
        packages.wheel(tmp_path, requires=("Acme.Greeting",)),
        packages.wheel(tmp_path, "Acme.Greeting", "2.1"),
    ]
    published(uv(clients, private, files))
    mirror = f"mirror_url={private.url_with_credentials}"
    clients.run(DEVPI, "index", "-c", "root/mirror", "type=mirror", mirror)
    python = clients.new_environment("environment")
    index = ("--index-url", f"{devpi.url}/root/mirror/+simple/")
    clients.run("uv", "pip", "install", "--python", python, *index, "hello-world")
    assert clients.installed(python) == ["Acme.Greeting==2.1", "hello-world==1.0"]
