"""gunicorn with PyOCI's configuration: addresses, trusted proxies, connections and memory."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.live.environments import CHECKOUT
from tests.live.servers import Port, Server, Servers, start_pyoci
from tests.live.sockets import connect, exchange, make_head, statuses

needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")


@pytest.fixture(scope="module")
def server(
    servers: Servers, ports: Callable[[str], Port], tmp_path_factory: pytest.TempPathFactory
) -> Server:
    name = "set-up"
    return start_pyoci(servers, name, ports(name), PYOCI_EMBEDDED=str(tmp_path_factory.mktemp(name)))


@pytest.fixture(scope="module")
def start_scheme(servers: Servers, ports: Callable[[str], Port]) -> Callable[..., Server]:
    """Starts this configuration with an application that answers with the scheme."""

    def start(name: str, **settings: str) -> Server:
        command = [sys.executable, "-m", "gunicorn", "-c", "python:pyoci.server", "tests.live.scheme:app"]
        env = {"PATH": os.environ["PATH"], "PORT": str(ports(name).number), **settings}
        return servers.start(name, command, ports(name).url, ready="/", env=env, cwd=CHECKOUT)

    return start


@pytest.fixture(scope="module")
def named(start_scheme: Callable[..., Server]) -> Server:
    return start_scheme("proxies-named", FORWARDED_ALLOW_IPS="127.0.1.0/24, 127.0.0.2")


@pytest.fixture(scope="module")
def unnamed(start_scheme: Callable[..., Server]) -> Server:
    return start_scheme("proxies-unnamed")


@pytest.fixture(scope="module")
def nobody(start_scheme: Callable[..., Server]) -> Server:
    return start_scheme("proxies-nobody", FORWARDED_ALLOW_IPS="")


def processes(server: Server) -> list[int]:
    """The arbiter and its workers."""
    pid = server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def open_files(pid: int) -> list[str]:
    found = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(str(descriptor.readlink()))
        except FileNotFoundError:
            continue  # closed meanwhile
    return found


def ask(server: Server, source: str, host: str = "127.0.0.1", **headers: str) -> str:
    """The body of the answer to a client at the address `source`."""
    connection = HTTPConnection(host, urlsplit(server.url).port, timeout=60, source_address=(source, 0))
    try:
        connection.request(
            "GET", "/", headers={name.replace("_", "-"): value for name, value in headers.items()}
        )
        return connection.getresponse().read().decode()
    finally:
        connection.close()


class TestWhereItListens:
    @needs_ipv6
    @pytest.mark.parametrize("host", ["127.0.0.1", "::1"], ids=["IPv4", "IPv6"])
    def test_both(self, server: Server, host: str) -> None:
        """PORT is enough for IPv4 and IPv6."""
        connection = HTTPConnection(host, urlsplit(server.url).port, timeout=60)
        connection.request("GET", "/health")
        assert connection.getresponse().status == 200
        connection.close()

    def test_no_control_socket(self, server: Server) -> None:
        """No other user of this machine can control the server through a socket."""
        listening = {
            line.split()[6]
            for line in Path("/proc/net/unix").read_text().splitlines()[1:]
            if line.split()[3] == "00010000"  # __SO_ACCEPTCON
        }
        held = {file for pid in processes(server) for file in open_files(pid)}
        assert held & {f"socket:[{inode}]" for inode in listening} == set()


class TestWhomItBelieves:
    """X-Forwarded-Proto changes the scheme only for proxies that the operator names."""

    @pytest.mark.parametrize(
        ("source", "scheme"),
        [
            pytest.param("127.0.0.2", "https", id="address"),
            pytest.param("127.0.1.77", "https", id="network"),
            pytest.param("127.0.0.1", "http", id="not named"),
            pytest.param("127.0.2.1", "http", id="beside the network"),
        ],
    )
    def test_named(self, named: Server, source: str, scheme: str) -> None:
        """By IPv4 address or network, although the socket is IPv6."""
        assert ask(named, source, X_Forwarded_Proto="https") == scheme

    @pytest.mark.parametrize(("source", "scheme"), [("127.0.0.1", "https"), ("127.0.0.2", "http")])
    def test_default(self, unnamed: Server, source: str, scheme: str) -> None:
        """A proxy on this machine is trusted by default."""
        assert ask(unnamed, source, X_Forwarded_Proto="https") == scheme

    @needs_ipv6
    def test_default_over_ipv6(self, unnamed: Server) -> None:
        """Also by its IPv6 address."""
        assert ask(unnamed, "::1", "::1", X_Forwarded_Proto="https") == "https"

    def test_nobody(self, nobody: Server) -> None:
        """An empty list trusts no proxy."""
        assert ask(nobody, "127.0.0.1", X_Forwarded_Proto="https") == "http"

    def test_script_name_header_is_ignored(self, unnamed: Server) -> None:
        """Even from a trusted proxy."""
        assert ask(unnamed, "127.0.0.1", SCRIPT_NAME="/evil") == "http"
        answer = exchange(unnamed, make_head("GET /a HTTP/1.1", "SCRIPT_NAME: /b", "Connection: close"))
        assert statuses(answer) == [200]


def test_heartbeats_are_in_memory(server: Server) -> None:
    """If a disk hangs, the worker must not seem to hang."""
    beats = [file for pid in processes(server)[1:] for file in open_files(pid) if "wgunicorn-" in file]
    assert beats
    assert all(file.startswith("/dev/shm/") for file in beats)


def test_ready_while_it_runs(server: Server) -> None:
    """As a real server answers it."""
    assert statuses(exchange(server, make_head("GET /ready HTTP/1.1", "Connection: close"))) == [200]


def test_not_ready_while_it_stops(servers: Servers, ports: Callable[[str], Port], tmp_path: Path) -> None:
    """On an existing connection, which is then closed. New connections are refused."""
    name = "draining"
    server = start_pyoci(
        servers, name, ports(name), PYOCI_EMBEDDED=str(tmp_path), WEB_CONCURRENCY="1", PYOCI_LOG="off"
    )
    connection = HTTPConnection("127.0.0.1", urlsplit(server.url).port, timeout=60)
    found: list[tuple[int, str, str | None]] = []
    while not found or found[-1][0] == 200:
        connection.request("GET", "/ready")
        answer = connection.getresponse()
        found.append((answer.status, answer.read().decode(), answer.getheader("Connection")))
        if len(found) == 1:
            server.process.send_signal(signal.SIGTERM)
    connection.close()
    assert found[0] == (200, "ready", "keep-alive")
    assert found[-1] == (503, "not ready: this server is stopping", "close")
    assert server.process.wait(60) == 0


def test_probes_find_a_thread(servers: Servers, ports: Callable[[str], Port], tmp_path: Path) -> None:
    """Although all threads are busy: a busy server must not be restarted."""
    name = "all-threads-taken"
    settings = {"WEB_CONCURRENCY": "1", "PYOCI_THREADS": "2", "PYOCI_EMBEDDED": str(tmp_path)}
    server = start_pyoci(servers, name, ports(name), **settings)
    upload = make_head(
        "POST /local/acme/ HTTP/1.1", "Content-Type: multipart/form-data; boundary=x", "Content-Length: 1000"
    )
    taken = [connect(server) for _ in range(2)]
    try:
        for connection in taken:
            connection.sendall(upload)  # and nothing of the body, for which it waits 30 seconds
        for path in ("/health", "/ready"):
            assert statuses(exchange(server, make_head(f"GET {path} HTTP/1.1", "Connection: close"))) == [200]
    finally:
        for connection in taken:
            connection.close()
        server.end()
