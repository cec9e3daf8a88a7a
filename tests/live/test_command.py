"""`pyoci` as a process: each verb that also servers offer, straight and through one, with `docker login`."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest

from tests.builders import make_sdist, make_wheel
from tests.live.conftest import WRITER
from tests.live.programs import find
from tests.live.servers import Port, Server, Servers, htpasswd
from tests.registry import TestRegistry
from tests.serving import served

SECONDS = 120  # for a command, on a busy machine
SECRET = WRITER[1]
WHEEL = make_wheel(requires_python=">=3.8", extra_headers=[("Summary", "Says hello")])
LARGE = make_wheel("large", files={"large.bin": os.urandom(3_000_000)})


@dataclass(frozen=True, slots=True)
class Shell:
    """Somebody's home directory, in which the command is run."""

    home: Path
    environ: dict[str, str] = field(default_factory=dict)

    def start(self, *arguments: object, **streams: Any) -> subprocess.Popen[str]:
        """Start the command."""
        kept = {name: os.environ[name] for name in os.environ if name.startswith("COVERAGE_")}
        env = {"PATH": os.environ["PATH"], "HOME": str(self.home), **kept, **self.environ}
        words = [str(argument) for argument in arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        command = [sys.executable, "-m", "pyoci", *words]
        return subprocess.Popen(command, env=env, cwd=self.home, text=True, **pipes)

    def run(self, *arguments: object, given: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run it to its end. It never shows the password."""
        process = self.start(*arguments, stdin=subprocess.DEVNULL if given is None else subprocess.PIPE)
        stdout, stderr = process.communicate(given, timeout=SECONDS)
        assert SECRET not in stdout + stderr
        assert "Traceback" not in stderr
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def document(self, *arguments: object) -> Any:
        """What --json prints."""
        ran = self.run(*arguments, "--json")
        assert (ran.returncode, ran.stderr) == (0, "")
        return json.loads(ran.stdout)

    def docker_login(self, address: str) -> None:
        """Store WRITER's login as `docker login` does, in a credential helper of this home."""
        host = urlsplit(address).netloc
        answer = json.dumps({"ServerURL": host, "Username": WRITER[0], "Secret": SECRET})
        helper = self.home / "bin" / "docker-credential-test"
        helper.parent.mkdir(exist_ok=True)
        helper.write_text(f'#!/bin/sh\n[ "$(cat)" = "{host}" ] && echo \'{answer}\'\n')
        helper.chmod(0o755)
        (self.home / ".docker").mkdir(exist_ok=True)
        (self.home / ".docker" / "config.json").write_text(json.dumps({"credHelpers": {host: "test"}}))
        self.environ["PATH"] = f"{helper.parent}:{os.environ['PATH']}"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    home = tmp_path / "shell"
    home.mkdir()
    return Shell(home)


@pytest.fixture(scope="module")
def zot(servers: Servers, ports: Callable[[str], Port]) -> Server:
    """zot, where WRITER may do everything and strangers nothing."""
    program = find("zot")
    assert program is not None, "zot is not installed"
    accounts, port = htpasswd(servers.folder / "command.htpasswd", **dict([WRITER])), ports("command-zot")
    policy = {"users": [WRITER[0]], "actions": ["read", "create", "update", "delete"]}
    configuration = {
        "distSpecVersion": "1.1.1",
        "storage": {"rootDirectory": str(servers.folder / "command-zot")},
        "http": {
            "address": "127.0.0.1",
            "port": str(port.number),
            "auth": {"htpasswd": {"path": str(accounts)}},
            "accessControl": {"repositories": {"**": {"policies": [policy]}}},
        },
        "log": {"level": "warn"},
    }
    path = servers.folder / "command-zot.json"
    path.write_text(json.dumps(configuration))
    return servers.start("command-zot", [program, "serve", str(path)], port.url, ready="/v2/", env={})


ADDRESSES = [
    pytest.param("embedded", id="embedded"),
    pytest.param("embedded server", id="embedded-through-the-server"),
    pytest.param("tokens", id="tokens", marks=pytest.mark.live("docker-registry", "token-server")),
    pytest.param(
        "tokens server",
        id="tokens-through-the-server",
        marks=pytest.mark.live("docker-registry", "token-server"),
    ),
    pytest.param("zot", id="zot", marks=pytest.mark.live("zot")),
]


@pytest.fixture(params=ADDRESSES)
def address(request: pytest.FixtureRequest) -> str:
    """A namespace that nobody used, where only WRITER may read and write: straight, or through PyOCI."""
    kind, _, through = request.param.partition(" ")
    namespace = f"n{uuid.uuid4().hex[:12]}"
    server: Server = request.getfixturevalue("guarded_pyoci")
    if kind == "tokens":
        registry: Server = request.getfixturevalue("token_registry")
        return f"{server.url}/tokens/{namespace}/" if through else f"{registry.url}/{namespace}"
    if kind == "zot":
        return f"{request.getfixturevalue('zot').url}/{namespace}"
    return f"{server.url}/local/{namespace}/" if through else f"{server.url}/{namespace}"


def fill(folder: Path, *files: tuple[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files:
        (folder / name).write_bytes(content)
    return folder


def test_the_life_of_a_release(shell: Shell, address: str, tmp_path: Path) -> None:
    """Published, found, downloaded, yanked and deleted, in the order in which people do it."""
    shell.docker_login(address)
    dist = fill(tmp_path / "dist", WHEEL, make_sdist(), make_wheel(version="2.0"), LARGE)
    bad = dist / "broken-1.0-py3-none-any.whl"
    bad.write_bytes(b"no zip")

    ran = shell.run("publish", address, dist)
    assert ran.returncode == 1
    assert sorted(ran.stdout.splitlines()) == [
        f"published {path.name}" for path in sorted(dist.iterdir()) if path != bad
    ]
    assert ran.stderr.startswith(f"{bad}: ")
    bad.unlink()
    assert shell.run("publish", address, f"{dist}/*").returncode == 0  # the same files again

    assert _names(shell, address) == ["hello-world", "large"]
    versions = shell.document("list", address, "hello-world")["versions"]
    assert [(each["version"], each["files"]) for each in versions] == [("1.0", 2), ("2.0", 1)]
    lines = shell.run("show", address, "hello-world==1.0").stdout.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["FILE", WHEEL[0], "hello_world-1.0.tar.gz"]

    ran = shell.run("download", address, "hello-world<2", "large", "-d", tmp_path / "wheels")
    assert (ran.returncode, ran.stderr) == (0, "")
    for path in (tmp_path / "wheels").iterdir():
        assert path.read_bytes() == (dist / path.name).read_bytes()
    assert len(list((tmp_path / "wheels").iterdir())) == 3

    assert shell.run("yank", address, "hello-world==2.0", "--reason", "broken").returncode == 0
    document = shell.document("show", address, "hello-world")
    assert [each["yanked_reason"] for each in document["files"]] == [None, None, "broken"]
    assert document["latest"] == "1.0"
    assert shell.run("unyank", address, "hello-world==2.0").returncode == 0
    assert shell.document("show", address, "hello-world")["latest"] == "2.0"

    assert shell.run("delete", address, "hello-world==2.0", WHEEL[0], "--yes").returncode == 0
    files = shell.document("show", address, "hello-world")["files"]
    assert [each["filename"] for each in files] == ["hello_world-1.0.tar.gz"]
    assert shell.run("show", address, "hello-world==2.0").returncode == 4


def _names(shell: Shell, address: str) -> list[str]:
    """The projects, which `search` finds too."""
    names: list[str] = shell.document("list", address)["projects"]
    found = shell.document("search", address, "hello")["projects"]
    assert [(each["name"], each["latest"], each["summary"]) for each in found] == [
        ("hello-world", "2.0", None)
    ]
    return names


def test_without_the_right_login(shell: Shell, address: str, tmp_path: Path) -> None:
    """Exit code 3, one sentence, and nothing is published."""
    dist = fill(tmp_path / "dist", WHEEL)
    ran = shell.run("publish", address, dist)
    assert (ran.returncode, ran.stdout, len(ran.stderr.splitlines())) == (3, "", 1)
    ran = shell.run("publish", address, dist, "--username", WRITER[0], "--password-stdin", given="wrong\n")
    assert (ran.returncode, ran.stdout, len(ran.stderr.splitlines())) == (3, "", 1)
    login = ("--username", WRITER[0], "--password-stdin")
    assert shell.run("list", address, "hello-world", *login, given=SECRET).returncode == 4
    assert shell.run("publish", address, dist, *login, given=f"{SECRET}\n").returncode == 0
    shell.environ.update({"PYOCI_USERNAME": WRITER[0], "PYOCI_PASSWORD": SECRET})
    assert shell.document("list", address, "hello-world")["versions"][0]["version"] == "1.0"


class Stalled:
    """A registry that doesn't answer one kind of call until it is released."""

    def __init__(self, folder: Path) -> None:
        self.registry = TestRegistry(folder)
        self.reached = threading.Event()
        self.released = threading.Event()

    def stall(self, *words: str) -> None:
        def before(line: str) -> None:
            if all(word in line for word in words):
                self.reached.set()
                self.released.wait(SECONDS)

        self.registry.before = before


@pytest.fixture
def stalled(tmp_path: Path) -> Iterator[tuple[Stalled, str]]:
    """The registry and the address of a namespace in it."""
    stalled = Stalled(tmp_path / "stalled")
    with served(stalled.registry) as url:
        yield stalled, f"{url}/acme"
        stalled.released.set()


def _interrupt(process: subprocess.Popen[str], stalled: Stalled) -> tuple[int, str, str]:
    assert stalled.reached.wait(SECONDS)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=SECONDS)
    return process.returncode, stdout, stderr.strip()


@pytest.mark.parametrize("words", [("POST", "uploads"), ("PUT", "uploads"), ("PUT", "manifests/sha256")])
def test_control_c_while_publishing(
    shell: Shell, stalled: tuple[Stalled, str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    """The process ends, though the registry doesn't answer; nothing is half-published, and may be again."""
    registry, address = stalled
    dist = fill(tmp_path / "dist", LARGE)
    registry.stall(*words)
    assert _interrupt(shell.start("publish", address, dist), registry) == (130, "", "interrupted")
    registry.registry.before = None
    registry.released.set()
    ran = shell.run("show", address, "large", "--json")
    assert ran.returncode == 4 or json.loads(ran.stdout)["files"] == []
    assert shell.run("publish", address, dist).returncode == 0
    assert len(shell.document("show", address, "large")["files"]) == 1


def test_control_c_while_downloading(shell: Shell, stalled: tuple[Stalled, str], tmp_path: Path) -> None:
    """No part of a file is left."""
    registry, address = stalled
    assert shell.run("publish", address, fill(tmp_path / "dist", LARGE)).returncode == 0
    registry.stall("GET", "blobs")
    target = tmp_path / "wheels"
    assert _interrupt(shell.start("download", address, "large", "-d", target), registry) == (
        130,
        "",
        "interrupted",
    )
    assert list(target.iterdir()) == []


def test_what_a_schema_says_is_what_comes(shell: Shell, stalled: tuple[Stalled, str], tmp_path: Path) -> None:
    """The documented schema, and stdout with nothing else, also where a file failed."""
    from pyoci.cli.verbs.publish import command

    _, address = stalled
    dist = fill(tmp_path / "dist", WHEEL, ("broken-1.0-py3-none-any.whl", b"no zip"))
    ran = shell.run("publish", address, dist, "--json")
    jsonschema.validate(json.loads(ran.stdout), command.document or {})
    assert ran.returncode == 1


def test_an_auth_file_of_skopeo(shell: Shell, guarded_pyoci: Server, tmp_path: Path) -> None:
    """REGISTRY_AUTH_FILE, as `skopeo login` writes it."""
    address = f"{guarded_pyoci.url}/n{uuid.uuid4().hex[:12]}"
    auth = base64.b64encode(f"{WRITER[0]}:{SECRET}".encode()).decode()
    file = tmp_path / "auth.json"
    file.write_text(json.dumps({"auths": {urlsplit(address).netloc: {"auth": auth}}}))
    shell.environ["REGISTRY_AUTH_FILE"] = str(file)
    assert shell.run("publish", address, fill(tmp_path / "dist", WHEEL)).returncode == 0
