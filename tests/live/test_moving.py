"""Moving here from a real devpi-server and a real pypiserver, by one command, with old files among the new.

The page of each project is compared with the source's, field by field.
"""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from pyoci.library import open_index, open_source
from tests.builders import make_sdist, make_tar, make_wheel, make_zip
from tests.live.clients import Clients
from tests.live.conftest import ENVIRONMENTS
from tests.live.servers import Port, Server, Servers
from tests.live.test_maintenance import document, pyoci

SECONDS = 60
LONG_AGO = datetime(2019, 5, 1, 12, 30, 1, tzinfo=UTC)
USER = ("root", "a-secret-of-devpi")


def old_sdist(stem: str, name: str, version: str, ending: str = ".tar.gz") -> tuple[str, bytes]:
    """An sdist as distutils made it, of metadata 1.0."""
    text = f"Metadata-Version: 1.0\nName: {name}\nVersion: {version}\nSummary: UNKNOWN\n"
    members = {f"{stem}/PKG-INFO": text.encode(), f"{stem}/setup.py": b""}
    return f"{stem}{ending}", make_zip(members) if ending == ".zip" else make_tar(members)


FILES: dict[str, list[tuple[str, bytes]]] = {
    "hello-world": [make_wheel(), make_sdist(), make_wheel(version="2.0", requires_python=">=3.8")],
    "zope-interface": [old_sdist("zope.interface-4.0.5", "zope.interface", "4.0.5", ".zip")],
    "elementtree": [old_sdist("elementtree-1.2.6-20050316", "elementtree", "1.2.6-20050316")],
    "django": [old_sdist("Django-1.1.3", "Django", "1.1.3")],
}
NAMES = {name for files in FILES.values() for name, _ in files}


@pytest.fixture(scope="module")
def devpi(
    request: pytest.FixtureRequest, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of a devpi index with these files, which asks for a password to write."""
    folder, port = tmp_path_factory.mktemp("devpi"), Port()
    python = request.config.stash[ENVIRONMENTS].python("devpi-server")
    init = [str(python.parent / "devpi-init"), "--serverdir", str(folder), "--no-root-pypi"]
    subprocess.run([*init, "--root-passwd", USER[1]], check=True, capture_output=True, timeout=SECONDS)
    where = ("--host", "127.0.0.1", "--port", str(port.number), "--serverdir", str(folder), "--offline-mode")
    port.close()
    program = str(python.parent / "devpi-server")
    # It is up in four seconds on an idle machine, and in a minute on a very busy one.
    server = servers.start("devpi", [program, *where], port.url, ready="/+api", env={}, seconds=200)
    with requests.Session() as session:
        session.trust_env = False
        login = {"user": USER[0], "password": USER[1]}
        answer = session.post(f"{port.url}/+login", json=login, timeout=SECONDS).json()
        token = answer["result"]["password"]
        headers = {"X-Devpi-Auth": _encoded(f"{USER[0]}:{token}"), "Accept": "application/json"}
        made = session.put(f"{port.url}/root/prod", json={"bases": ""}, headers=headers, timeout=SECONDS)
        assert made.status_code in {200, 201}, made.text
        for project, files in FILES.items():
            for name, content in files:
                form = {":action": "file_upload", "name": project, "version": _version(name)}
                sent = session.post(
                    f"{port.url}/root/prod/",
                    data=form,
                    files={"content": (name, content)},
                    headers=headers,
                    timeout=SECONDS,
                )
                assert sent.status_code == 200, sent.text
    yield f"{port.url}/root/prod/+simple/"
    server.end()
    server.wait()


@pytest.fixture(scope="module")
def pypiserver(
    request: pytest.FixtureRequest, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """The URL of a pypiserver, and its folder, whose files were uploaded long ago."""
    folder, port = tmp_path_factory.mktemp("pypiserver"), Port()
    for files in FILES.values():
        for name, content in files:
            (folder / name).write_bytes(content)
            os.utime(folder / name, (LONG_AGO.timestamp(), LONG_AGO.timestamp()))
    program = str(request.config.stash[ENVIRONMENTS].program("pypi-server"))
    port.close()
    command = [program, "run", "-i", "127.0.0.1", "-p", str(port.number), str(folder)]
    server = servers.start("pypiserver", command, port.url, ready="/simple/", env={})
    yield f"{port.url}/simple/", folder
    server.end()
    server.wait()


def _compare(source: str, target: str) -> None:
    """Every file of the source is at the target, with the same hash and yank."""
    for project, files in FILES.items():
        with open_index(target, environ={}) as index:
            found = {file.filename: file for file in index.project(project).files}
        listed = {file.filename: file for file in open_source(source, environ={}).page(project).files}
        assert set(found) == {name for name, _ in files} == set(listed)
        for name, content in files:
            assert found[name].sha256 == hashlib.sha256(content).hexdigest()
            assert found[name].yanked == listed[name].yanked
            if listed[name].upload_time is not None:
                assert found[name].upload_time == listed[name].upload_time


@pytest.mark.live("devpi-server")
def test_devpi(devpi: str, tmp_path: Path) -> None:
    """All files with the times of their upload, which devpi has in an API of its own; again: nothing."""
    target = f"oci:{tmp_path / 'target'}"
    first = document("import", target, devpi)
    assert {file["outcome"] for file in first["files"]} == {"imported"}
    assert {file["filename"] for file in first["files"]} == NAMES
    assert first["lost"] == []
    _compare(devpi, target)
    again = document("import", target, devpi)
    assert {file["outcome"] for file in again["files"]} == {"present"}


@pytest.mark.live("devpi-server", "docker-registry")
def test_devpi_by_two_registries_and_back(
    devpi: str, docker_registry: Server, second_registry: Server, tmp_path: Path
) -> None:
    """Import to a folder, copy to a registry, to another, and to a folder again: each place has what devpi
    has, and shows the same of every file.
    """
    name = f"moved-{os.urandom(4).hex()}"
    place = f"oci:{tmp_path / 'first'}"
    moved = document("import", place, devpi)
    assert {file["filename"] for file in moved["files"] if file["outcome"] == "imported"} == NAMES
    assert moved["lost"] == []
    before = {project: document("show", place, project) for project in FILES}
    last = f"oci:{tmp_path / 'last'}"
    for target in (f"{docker_registry.url}/{name}", f"{second_registry.url}/{name}", last):
        copied = document("copy", place, target)
        assert {(tag["outcome"], *tag["notes"]) for tag in copied["tags"]} == {("copied",)}
        _compare(devpi, target)
        for project in FILES:
            assert {**document("show", target, project), "index": ""} == {**before[project], "index": ""}
        place = target
    assert pyoci("check", last, "--deep").returncode == 0


@pytest.mark.live("pypi-server")
def test_pypiserver(pypiserver: tuple[str, Path], tmp_path: Path) -> None:
    """By its pages, whose files have a Last-Modified, and by its folder: each time is the upload's."""
    url, folder = pypiserver
    for number, source in enumerate((url, folder)):
        target = f"oci:{tmp_path / str(number)}"
        made = document("import", target, source)
        assert {file["outcome"] for file in made["files"]} == {"imported"}
        assert {each["what"] for each in made["lost"]} <= {"its exact upload time"}
        _compare(url, target)
        times = {file["upload_time"] for file in document("show", target, "hello-world")["files"]}
        assert times == {"2019-05-01T12:30:01.000000Z"}


@pytest.mark.live("pypi-server", "uv")
def test_uv_with_exclude_newer(
    pyoci_server_with_folder: tuple[str, str], pypiserver: tuple[str, Path], clients: Clients, tmp_path: Path
) -> None:
    """Right after an import, uv resolves as if the files had been here for years."""
    url, target = pyoci_server_with_folder
    assert pyoci("import", target, pypiserver[1]).returncode == 0
    week = (datetime.now(UTC) - timedelta(days=7)).strftime("%Y-%m-%dT%H:%M:%SZ")
    requirements = tmp_path / "in.txt"
    requirements.write_text("hello-world\n")
    compiled = clients.run(
        "uv", "pip", "compile", "--default-index", url, "--exclude-newer", week, str(requirements)
    )
    assert "hello-world==2.0" in compiled


@pytest.fixture
def pyoci_server_with_folder(servers: Servers, pyoci: Server, settings: dict[str, str]) -> tuple[str, str]:
    """The URL of an index of a PyOCI server, and the address of the same namespace in its registry."""
    name = f"moved-{os.urandom(4).hex()}"
    return f"{pyoci.url}/local/{name}/", f"{pyoci.url}/{name}"


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _version(filename: str) -> str:
    """The version as the file name spells it."""
    if filename.endswith(".whl"):
        return filename.split("-")[1]
    stem = filename.removesuffix(".tar.gz").removesuffix(".zip")
    return stem.replace("hello-world", "hello_world").partition("-")[2]
