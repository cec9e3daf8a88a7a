"""A closed network: what a lock file names is mirrored outside, carried in, and served without upstream."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests

from tests.builders import make_wheel
from tests.live import packages
from tests.live.clients import Clients
from tests.live.pyprojects import pyproject
from tests.live.servers import Port, Server, Servers, start_pyoci
from tests.live.test_command import Shell, shell
from tests.upstreams import PackageIndex, package_index

__all__ = ["shell"]
pytestmark = pytest.mark.live("docker-registry", "uv", "pip", "skopeo")
PLAIN_HTTP = ("--src-tls-verify=false", "--dest-tls-verify=false")
PROJECTS = ("crunch", "plain", "sunshine")  # of upstream
INSTALLED = ["acme-secret==1.0", "crunch==2.0", "plain==1.0", "sunshine==3.1"]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[PackageIndex]:
    """sunshine requires crunch, which has a newer version for nobody, and plain, which is an sdist."""
    with package_index() as found:
        found.add_wheel("sunshine", "3.1", requires=("crunch<3", "plain"))
        for version in ("2.0", "3.0"):
            found.add_wheel("crunch", version)
        found.add_file(packages.sdist(tmp_path, "plain"))
        yield found


@pytest.fixture
def address() -> Iterator[Port]:
    """PyOCI has the same address on both sides: lock files have it."""
    with closing(Port()) as port:
        yield port


def with_a_secret(server: Server) -> str:
    """The URL of the index of a server that has a private package."""
    url = f"{server.url}/local/acme/"
    name, content = make_wheel("acme-secret", requires=("sunshine",))
    fields = {":action": "file_upload", "protocol_version": "1", "name": "acme-secret", "version": "1.0"}
    sent = requests.post(url, fields, files={"content": (name, content)}, timeout=60)
    assert sent.status_code == 200, sent.text
    return url


def by_folder(shell: Shell, _clients: Clients, lock: Path, _outside: str, inside: str) -> None:
    """With a folder on a disk that is carried."""
    stick = f"oci:{shell.home / 'stick'}"
    document = shell.document("mirror", stick, "--lock", lock)
    check(document["files"])
    assert shell.run("copy", stick, inside).returncode == 0


def by_skopeo(shell: Shell, clients: Clients, lock: Path, outside: str, inside: str) -> None:
    """From registry to registry."""
    check(shell.document("mirror", outside, "--lock", lock)["files"])
    for project in PROJECTS:
        places = (f"{place.removeprefix('http://')}" for place in (f"{outside}/{project}", inside))
        clients.run("skopeo", "sync", "--all", *PLAIN_HTTP, "--src", "docker", "--dest", "docker", *places)


def check(files: list[dict[str, str]]) -> None:
    """All files of upstream are stored, and the private project isn't."""
    assert {each["project"]: each["outcome"] for each in files} == {
        "acme-secret": "left out",
        **dict.fromkeys(PROJECTS, "stored"),
    }


@pytest.mark.parametrize("carry", [by_folder, by_skopeo])
def test_closed_network(
    servers: Servers,
    clients: Clients,
    shell: Shell,
    elsewhere: PackageIndex,
    docker_registry: Server,
    second_registry: Server,
    address: Port,
    tmp_path: Path,
    carry: Callable[[Shell, Clients, Path, str, str], None],
) -> None:
    """`uv sync --locked` and pip install what was mirrored, and nobody asks upstream."""
    namespace = f"n{uuid.uuid4().hex[:12]}"
    settings = {
        "PYOCI_REGISTRIES": f"second={second_registry.url}",
        "PYOCI_UPSTREAM_INDEX": elsewhere.simple,
        "PYOCI_UPSTREAM_FILES_DIR": str(tmp_path / "files"),
    }
    project = tmp_path / "project"
    project.mkdir()
    outside = start_pyoci(
        servers,
        "outside",
        address,
        **settings | {"PYOCI_EMBEDDED": str(tmp_path / "a"), "PYOCI_UPSTREAM_FILES": "proxy"},
    )
    url = with_a_secret(outside)
    (project / "pyproject.toml").write_text(pyproject("uv", url, "acme-secret"))
    clients.run("uv", "lock", cwd=project)
    lock = project / "uv.lock"
    carry(shell, clients, lock, f"{docker_registry.url}/{namespace}", f"{second_registry.url}/{namespace}")
    outside.end()
    outside.wait()
    (tmp_path / "files").rename(tmp_path / "left-outside")
    (tmp_path / "files").mkdir()
    elsewhere.calls.clear()

    inside = start_pyoci(
        servers,
        "inside",
        address,
        **settings
        | {
            "PYOCI_EMBEDDED": str(tmp_path / "b"),
            "PYOCI_UPSTREAM_FILES": "store",
            "PYOCI_UPSTREAM_STORE": f"second/{namespace}",
            "PYOCI_UPSTREAM_OFFLINE": "yes",
        },
    )
    assert with_a_secret(inside) == url
    text = lock.read_text()
    clients.run("uv", "sync", "--locked", "--no-cache", cwd=project)
    assert clients.installed(project / ".venv" / "bin" / "python") == INSTALLED
    clients.run("uv", "lock", "--no-cache", cwd=project)
    assert lock.read_text() == text
    python = clients.new_environment("environment")
    clients.run("pip", "--python", python, "install", "--no-cache-dir", "-i", url, "acme-secret")
    assert clients.installed(python) == INSTALLED
    answer = requests.get(f"{url}absent/", timeout=60)
    assert answer.status_code == 404
    assert elsewhere.calls == []
    inside.end()
    inside.wait()
