"""`pyoci mirror` into a docker-registry: lock files of today's tools, and mirrors that are killed."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.wrappers import Request, Response

from pyoci.library import Anonymous, open_index
from tests.builders import make_sdist, make_wheel
from tests.live.clients import Clients
from tests.live.pyprojects import pyproject
from tests.live.servers import Server
from tests.live.test_command import Shell, shell
from tests.upstreams import PackageIndex, package_index

__all__ = ["shell"]
pytestmark = pytest.mark.live("docker-registry")
TAGS = ("py3-none-any", "cp312-cp312-win_amd64")
MANY = 40  # projects


@pytest.fixture
def elsewhere() -> Iterator[PackageIndex]:
    """sunshine, which requires crunch, and crunch with a newer version for nobody."""
    with package_index() as found:
        found.add_wheel("sunshine", "3.1", requires=("crunch<3",))
        found.add(*make_sdist("sunshine", "3.1", requires=("crunch<3",)))
        for tag in TAGS:
            found.add_wheel("crunch", "2.0", tag=tag)
        found.add_wheel("crunch", "3.0")
        yield found


@pytest.fixture
def target(docker_registry: Server) -> str:
    """A namespace that nobody used."""
    return f"{docker_registry.url}/n{uuid.uuid4().hex[:12]}"


def stored(target: str, *projects: str) -> dict[str, str | None]:
    """The sha256 of each file there."""
    with open_index(target, Anonymous(), environ={}) as index:
        return {file.filename: file.sha256 for name in projects for file in index.project(name).files}


@pytest.mark.parametrize(
    ("client", "lock", "name"),
    [
        pytest.param("uv", ("lock",), "uv.lock", id="uv", marks=pytest.mark.live("uv")),
        pytest.param(
            "uv",
            ("export", "--format", "pylock.toml", "--quiet", "-o", "pylock.toml"),
            "pylock.toml",
            id="pylock",
            marks=pytest.mark.live("uv"),
        ),
        pytest.param("poetry", ("lock",), "poetry.lock", id="poetry", marks=pytest.mark.live("poetry")),
        pytest.param("pdm", ("lock",), "pdm.lock", id="pdm", marks=pytest.mark.live("pdm")),
        pytest.param(
            "pip-compile",
            ("--quiet", "--generate-hashes", "--output-file", "requirements.txt", "pyproject.toml"),
            "requirements.txt",
            id="pip-compile",
            marks=pytest.mark.live("pip-compile"),
        ),
    ],
)
def test_real_lock_files(
    clients: Clients,
    shell: Shell,
    elsewhere: PackageIndex,
    target: str,
    client: str,
    lock: tuple[str, ...],
    name: str,
) -> None:
    """Each file that the lock names is copied, with its hash, and nothing else."""
    tool = "uv" if client == "pip-compile" else client
    (shell.home / "pyproject.toml").write_text(pyproject(tool, elsewhere.simple, "sunshine", ">=3.11,<3.14"))
    clients.run(client, *lock, cwd=shell.home, PIP_INDEX_URL=elsewhere.simple)
    options = ["--any-index"] if client == "pdm" else []  # pdm.lock names no index
    document: Any = shell.document("mirror", target, "--lock", name, "--source", elsewhere.simple, *options)
    assert {each["outcome"] for each in document["files"]} == {"stored"}
    names = [f"crunch-2.0-{tag}.whl" for tag in TAGS]
    names += ["sunshine-3.1-py3-none-any.whl", "sunshine-3.1.tar.gz"]
    found = stored(target, "crunch", "sunshine")
    assert sorted(found) == sorted(names)
    hashes = {
        each["filename"]: each["hashes"]["sha256"] for files in elsewhere.projects.values() for each in files
    }
    assert found.items() <= hashes.items()


@pytest.fixture
def many(shell: Shell, elsewhere: PackageIndex) -> Path:
    """A lock of many projects."""
    lines = []
    for number in range(MANY):
        elsewhere.add(*make_wheel(f"project{number}"))
        lines.append(f"project{number}==1.0\n")
    path = shell.home / "requirements.txt"
    path.write_text("".join(lines))
    return path


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
def test_stopped_mirror_is_resumed(
    shell: Shell, elsewhere: PackageIndex, target: str, many: Path, how: signal.Signals
) -> None:
    """Every file that was stored is whole, and isn't fetched again; the others are."""
    command = ("mirror", target, "--lock", many, "--source", elsewhere.simple, "--any-index", "--jobs", "4")
    fetched: list[str] = []

    def answer(request: Request) -> Response | None:
        if "/files/" in request.path:
            fetched.append(request.path)
            if len(fetched) == MANY // 2:
                elsewhere.hang()
        return None

    elsewhere.answer = answer
    running = shell.start(*command)
    assert elsewhere.waiting.acquire(timeout=120)
    running.send_signal(how)
    running.communicate(timeout=60)
    assert running.returncode == (130 if how == signal.SIGINT else -how)
    elsewhere.go_on()
    elsewhere.answer = None
    elsewhere.calls.clear()
    document = shell.document(*command)
    outcomes = {each["filename"]: each["outcome"] for each in document["files"]}
    assert len(outcomes) == MANY
    assert set(outcomes.values()) == {"present", "stored"}
    again = {call.split()[1].rpartition("/")[2] for call in elsewhere.calls if " /files/" in call}
    assert again == {name for name, outcome in outcomes.items() if outcome == "stored"}
    hashes = {
        each["filename"]: each["hashes"]["sha256"]
        for name in elsewhere.projects
        for each in elsewhere.projects[name]
    }
    assert stored(target, *(f"project{number}" for number in range(MANY))).items() <= hashes.items()
