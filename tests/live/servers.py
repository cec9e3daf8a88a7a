"""Servers for the tests: started on a free port of 127.0.0.1, waited for, logged and stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import bcrypt
import requests

from tests.live.environments import CHECKOUT
from tests.live.programs import find
from tests.waiting import until

_START_LIMIT = 60  # seconds until a server must answer; a busy machine takes many for one
_STOP_LIMIT = 15  # seconds that a server gets to end by itself


class Port:
    """A free port, reserved until `close`. Its socket is bound and never listens, so the system gives the
    port to no other program, and a server that binds with SO_REUSEADDR (gunicorn, Go) can use it. So a URL is
    known before its server starts.
    """

    def __init__(self) -> None:
        # On every address: some servers bind to all, and some tests send from 127.0.0.2 and others.
        has_ipv6 = socket.has_dualstack_ipv6()
        self._socket = socket.socket(socket.AF_INET6 if has_ipv6 else socket.AF_INET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if has_ipv6:
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self._socket.bind(("", 0))
        self.number: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.number}"

    def close(self) -> None:
        self._socket.close()


@dataclass(slots=True)
class Server:
    """A running server and its log."""

    name: str
    url: str
    log: Path
    process: subprocess.Popen[bytes]

    def line(self, *words: str) -> str:
        """The first line of the log with all these words. Waits for it, because the line of a request is
        written after its answer.
        """

        def found() -> str | None:
            lines = self.log.read_text(errors="replace").splitlines(keepends=True)
            whole = (line for line in lines if line.endswith("\n"))
            return next((line for line in whole if all(word in line for word in words)), None)

        return until(found, f"a line of the log with {' and '.join(words)}")

    def end(self) -> None:
        """Ask the server to end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def wait(self) -> None:
        """Wait until it and all of its children have ended; kill those that take too long."""
        try:
            self.process.wait(_STOP_LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@dataclass(slots=True)
class Servers:
    """All servers of one run of the tests, with their logs in `folder`."""

    folder: Path
    running: list[Server] = field(default_factory=list)

    def start(
        self,
        name: str,
        command: Sequence[str],
        url: str,
        ready: str,
        env: Mapping[str, str],
        cwd: Path | None = None,
        seconds: int = _START_LIMIT,
    ) -> Server:
        """Start `command` and wait until it answers at the path `ready` below `url`. Raises AssertionError
        with the log if the server ends, or doesn't answer in time.
        """
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a group of its own: it can be ended with all its children
                env=env,
                cwd=cwd or self.folder,
            )
        server = Server(name, url, log, process)
        self.running.append(server)
        _wait_until_ready(server, url + ready, seconds)
        return server

    def stop(self) -> None:
        """Stop all servers, in parallel."""
        for server in self.running:
            server.end()
        while self.running:
            self.running.pop().wait()

    def sizes(self) -> dict[Path, int]:
        """The present length of each log."""
        return {server.log: server.log.stat().st_size for server in self.running}

    def news(self, sizes: Mapping[Path, int], limit: int = 8_000) -> list[tuple[str, str]]:
        """The lines of each log after these sizes: names and texts, at most `limit` bytes each."""
        found = []
        for server in self.running:
            with server.log.open("rb") as log:
                log.seek(max(sizes.get(server.log, 0), server.log.stat().st_size - limit))
                if text := log.read().decode(errors="replace"):
                    found.append((server.name, text))
        return found


def start_pyoci(servers: Servers, name: str, port: Port, **settings: str) -> Server:
    """PyOCI under gunicorn, as in README.rst; `settings` are its environment variables."""
    return start_gunicorn(servers, name, port, settings)


@contextmanager
def running_pyoci(servers: Servers, name: str, **settings: str) -> Iterator[Server]:
    """PyOCI at a port of its own, which ends with the block."""
    with closing(Port()) as port:
        server = start_pyoci(servers, f"{name}-{uuid.uuid4().hex[:6]}", port, **settings)
        yield server
        server.end()
        server.wait()
        servers.running.remove(server)


def start_gunicorn(
    servers: Servers,
    name: str,
    port: Port,
    settings: Mapping[str, str],
    *,
    application: str = "wsgi:app",
    descriptors: int | None = None,
) -> Server:
    """PyOCI, or another application with its configuration. `descriptors` is the limit of open files and
    sockets of each process.
    """
    command = [sys.executable, "-m", "gunicorn", application]
    if descriptors is not None:
        command = ["sh", "-c", f'ulimit -n {descriptors} && exec "$@"', "sh", *command]
    env = _environment() | {"PORT": str(port.number), "PYOCI_LOG": "info"} | dict(settings)
    return servers.start(name, command, port.url, ready="/health", env=env, cwd=CHECKOUT)


def start_serve(
    servers: Servers, name: str, port: Port, cwd: Path | None = None, *options: str, **settings: str
) -> Server:
    """PyOCI as `make serve` starts it, in `cwd`. Its packages are there, or beside its log."""
    command = [sys.executable, "-P", "-m", "pyoci", "serve", *options]
    env = _environment() | {"PORT": str(port.number)} | settings
    return servers.start(name, command, port.url, ready="/health", env=env, cwd=cwd)


def start_docker_registry(
    servers: Servers,
    name: str,
    port: Port,
    auth: Mapping[str, object] | None = None,
    folder: Path | None = None,
    maintenance: Mapping[str, object] | None = None,
) -> Server:
    """Debian's docker-registry over `folder`, or a new folder. `auth` and `maintenance` are sections of its
    configuration.
    """
    program = find("docker-registry")
    assert program is not None, "docker-registry is not installed"
    folder = folder or servers.folder / name
    folder.mkdir(exist_ok=True)
    configuration = {
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {
            "delete": {"enabled": True},
            "filesystem": {"rootdirectory": str(folder)},
            "maintenance": dict(maintenance or {}),
        },
        "http": {"addr": f"127.0.0.1:{port.number}", "secret": "the same in each process"},
    }
    if auth is not None:
        configuration["auth"] = dict(auth)
    path = servers.folder / f"{name}.yml"
    path.write_text(json.dumps(configuration))  # JSON is YAML too
    return servers.start(name, [program, "serve", str(path)], port.url, ready="/v2/", env=_environment())


def htpasswd(path: Path, **accounts: str) -> Path:
    """Write a file of users and their passwords, hashed with bcrypt at the lowest cost."""
    lines = (
        f"{user}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()}\n"
        for user, password in accounts.items()
    )
    path.write_text("".join(lines))
    return path


def _environment() -> dict[str, str]:
    """The environment of a server: PATH and coverage's variables, without settings of PyOCI."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR")
    return {name: value for name, value in os.environ.items() if name in kept or name.startswith("COVERAGE_")}


def _wait_until_ready(server: Server, url: str, seconds: int) -> None:
    end = time.monotonic() + seconds
    with requests.Session() as session:
        session.trust_env = False
        while time.monotonic() < end and server.process.poll() is None:
            try:
                if session.get(url, timeout=10).status_code in {200, 401}:
                    return
            except requests.RequestException:
                time.sleep(0.05)
    ended = (
        f"ended with {server.process.returncode}" if server.process.poll() is not None else "doesn't answer"
    )
    raise AssertionError(f"{server.name} {ended}:\n{server.log.read_text(errors='replace')[-5000:]}")
