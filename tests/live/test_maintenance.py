"""`pyoci copy`, `check` and `prune` as processes against real registries."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from pyoci.library import Anonymous, open_index
from tests.builders import make_sdist, make_wheel
from tests.live.clients import Clients
from tests.live.conftest import WRITER
from tests.live.programs import find
from tests.live.servers import Port, Server, Servers, start_docker_registry
from tests.waiting import until

pytestmark = pytest.mark.live("docker-registry")

SECONDS = 120
PROJECTS = 50
WHEEL, SDIST = make_wheel(), make_sdist()


def pyoci(*arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a process."""
    command = [sys.executable, "-m", "pyoci", *map(str, arguments)]
    env = {**os.environ, "DOCKER_CONFIG": "/absent", **environ}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=SECONDS, check=False)


def document(*arguments: object, **environ: str) -> Any:
    """What the command prints with --json."""
    ran = pyoci(*arguments, "--json", **environ)
    assert ran.stderr == ""
    return json.loads(ran.stdout)


def fill(
    address: str, folder: Path, *files: tuple[str, bytes], environ: dict[str, str] | None = None
) -> None:
    """Publish files, several at a time: each is read back after a while."""
    paths = [folder / name for name, _ in files]
    for path, (_, content) in zip(paths, files, strict=True):
        path.write_bytes(content)
    with (
        open_index(address, environ={"DOCKER_CONFIG": "/absent", **(environ or {})}) as index,
        ThreadPoolExecutor(8) as pool,
    ):
        list(pool.map(index.publish, paths))


def shown(address: str, project: str = "hello-world", **environ: str) -> list[Any]:
    files = document("show", address, project, **environ)["files"]
    assert isinstance(files, list)
    return files


class TestCopy:
    def test_round_through_every_kind_of_registry(
        self, docker_registry: Server, second_registry: Server, tmp_path: Path
    ) -> None:
        """docker-registry, another one, a folder, and back: each shows the same of every file."""
        source = f"{docker_registry.url}/round-{tmp_path.name.lower()}"
        fill(source, tmp_path, WHEEL, SDIST, make_wheel(version="2.0"))
        assert pyoci("copy", source, source.replace("round", "beside")).returncode == 0
        with open_index(source, Anonymous(), environ={}) as index:
            index.yank("hello-world", "1.0", "broken")
        before = shown(source)
        namespace = source.rpartition("/")[2]
        for target in (f"{second_registry.url}/{namespace}", f"oci:{tmp_path / 'layouts'}", f"{source}-back"):
            ran = pyoci("copy", source, target)
            assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
            assert shown(target) == before
            source = target
        assert pyoci("check", source, "--deep").returncode == 0

    def test_mount_with_tokens(self, token_registry: Server, tmp_path: Path) -> None:
        """Between two namespaces of one registry its token allows both, and no byte is sent."""
        login = {"PYOCI_USERNAME": WRITER[0], "PYOCI_PASSWORD": WRITER[1]}
        both = login | {"PYOCI_SOURCE_USERNAME": WRITER[0], "PYOCI_SOURCE_PASSWORD": WRITER[1]}
        source = f"{token_registry.url}/mount-{tmp_path.name.lower()}"
        fill(source, tmp_path, WHEEL, environ=login)
        (tag,) = document("copy", source, f"{source}-copy", "hello-world", **both)["tags"]
        assert (tag["outcome"], tag["sent"], tag["mounted"]) == ("copied", 0, 2)
        assert shown(f"{source}-copy", **login) == shown(source, **login)

    def test_wrong_login(self, token_registry: Server, tmp_path: Path) -> None:
        source = f"{token_registry.url}/login-{tmp_path.name.lower()}"
        login = {"PYOCI_USERNAME": "me", "PYOCI_PASSWORD": "wrong-one"}
        ran = pyoci("copy", f"oci:{_backup(tmp_path)}", source, **login)
        assert ran.returncode == 1
        assert "Traceback" not in ran.stdout + ran.stderr
        assert "wrong-one" not in ran.stdout + ran.stderr
        assert "1 failed" in ran.stdout

    def test_killed_three_times(
        self, docker_registry: Server, second_registry: Server, tmp_path: Path
    ) -> None:
        """A copy of fifty projects is killed after each dozen, and finished by one more run."""
        source = f"{docker_registry.url}/killed-{tmp_path.name.lower()}"
        target = f"{second_registry.url}/killed-{tmp_path.name.lower()}"
        names = [f"project-{number}" for number in range(PROJECTS)]
        fill(source, tmp_path, *(make_wheel(name) for name in names))
        for goal in (5, 15, 25):
            command = [sys.executable, "-m", "pyoci", "copy", source, target, *names, "--jobs", "2"]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            until(partial(_has_projects, second_registry, target, goal), f"{goal} projects at the target")
            process.send_signal(signal.SIGKILL)
            process.wait(SECONDS)
        outcomes = [each["outcome"] for each in document("copy", source, target, *names)["tags"]]
        assert set(outcomes) <= {"copied", "present"}
        assert (len(outcomes), "copied" in outcomes) == (PROJECTS, True)
        checked = document("check", target, *names)["projects"]
        assert [each["problems"] for each in checked] == [[]] * PROJECTS

    def test_two_at_once(self, docker_registry: Server, second_registry: Server, tmp_path: Path) -> None:
        """Both say that everything is there, and it is."""
        source = f"{docker_registry.url}/two-{tmp_path.name.lower()}"
        target = f"{second_registry.url}/two-{tmp_path.name.lower()}"
        fill(source, tmp_path, *(make_wheel(version=f"{number}.0") for number in range(10)), SDIST)
        command = [sys.executable, "-m", "pyoci", "copy", source, target, "hello-world"]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        printed = [process.communicate(timeout=SECONDS)[0] for process in running]
        assert [process.returncode for process in running] == [0, 0], printed
        assert shown(target) == shown(source)

    @pytest.mark.live("skopeo")
    def test_skopeo_reads_the_folder(self, docker_registry: Server, clients: Clients, tmp_path: Path) -> None:
        """It is a standard image layout for each project."""
        source = f"{docker_registry.url}/skopeo-{tmp_path.name.lower()}"
        fill(source, tmp_path, WHEEL)
        assert pyoci("copy", source, f"oci:{tmp_path / 'layouts'}", "hello-world").returncode == 0
        layout = f"oci:{tmp_path / 'layouts' / 'hello_world'}:1.0"
        raw = clients.run("skopeo", "inspect", "--raw", layout)
        assert json.loads(raw)["artifactType"] == "application/pyoci.package.v1"


@pytest.fixture
def lost(servers: Servers, tmp_path: Path) -> Iterator[str]:
    """A namespace of a docker-registry that has garbage-collected what is untagged: every file's manifest."""
    port = Port()
    registry = start_docker_registry(servers, "checked-registry", port, folder=tmp_path / "registry")
    address = f"{port.url}/acme"
    fill(address, tmp_path, WHEEL, SDIST)
    registry.end()
    registry.wait()
    program = find("docker-registry")
    assert program is not None
    configuration = str(servers.folder / "checked-registry.yml")
    command = [program, "garbage-collect", "--delete-untagged", configuration]
    subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)
    registry = start_docker_registry(servers, "checked-registry", port, folder=tmp_path / "registry")
    yield address
    registry.end()
    registry.wait()
    port.close()


class TestCheck:
    def test_after_garbage_collection(self, lost: str, tmp_path: Path) -> None:
        """Every broken file is named; those whose bytes are at hand are brought back."""
        (project,) = document("check", lost)["projects"]
        found = {(each["what"], each["kind"]) for each in project["problems"]}
        assert {what for what, kind in found if kind == "manifest is lost"} == {WHEEL[0], SDIST[0]}
        assert {what for what, kind in found if kind == "file is lost"} == {WHEEL[0], SDIST[0]}
        (tmp_path / SDIST[0]).unlink()
        ran = pyoci("check", lost, "--repair", "--from", tmp_path)
        assert ran.returncode == 1
        assert f"no source has the bytes of {SDIST[0]}" in ran.stdout
        assert pyoci("check", lost, "--repair", "--drop-lost").returncode == 0
        assert [file["filename"] for file in shown(lost)] == [WHEEL[0]]
        assert pyoci("check", lost, "--deep").returncode == 0


def test_prune(docker_registry: Server, tmp_path: Path) -> None:
    """In a registry that deletes by digest alone. The second run has nothing to do."""
    address = f"{docker_registry.url}/prune-{tmp_path.name.lower()}"
    fill(address, tmp_path, *(make_wheel(version=f"1.{number}") for number in range(5)))
    assert pyoci("prune", address, "hello-world", "--keep", "2", "--yes").returncode == 0
    assert [file["version"] for file in shown(address)] == ["1.3", "1.4"]
    assert document("prune", address, "hello-world", "--keep", "2", "--yes")["versions"] == []


def _backup(folder: Path) -> Path:
    (folder / "backup").mkdir()
    fill(f"oci:{folder / 'backup'}", folder, WHEEL)
    return folder / "backup"


def _has_projects(registry: Server, address: str, count: int) -> bool:
    prefix = address.rpartition("/")[2] + "/"
    answer = requests.get(f"{registry.url}/v2/_catalog", params={"n": "1000"}, timeout=SECONDS).json()
    return len([name for name in answer["repositories"] if name.startswith(prefix)]) >= count
