"""pip and uv go on by themselves when a registry, or upstream, is started again while they install."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.live import packages
from tests.live.clients import Clients
from tests.live.indexes import PackageIndex
from tests.live.publishing import published, uv
from tests.live.servers import Port, Server, Servers, start_pyoci
from tests.upstreams import package_index

_PIECE = 65536


class Gate:
    """A port that refuses connections until `open`. From then on they lead to the server at `url`."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname, parts.port)
        self._port = Port()
        self._open = ExitStack()
        self.url = self._port.url

    def open(self) -> None:
        listener = self._open.enter_context(socket.create_server(("127.0.0.1", self._port.number)))
        thread = threading.Thread(target=self._accept, args=(listener,))
        thread.start()
        self._open.callback(thread.join, 10)
        self._open.callback(_end, listener)

    def close(self) -> None:
        self._open.close()
        self._port.close()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._serve, args=(client,)).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server:
            back = threading.Thread(target=_pass_on, args=(server, client))
            back.start()
            _pass_on(client, server)
            back.join(10)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(_PIECE):
            target.sendall(piece)
    _end(target)


def _end(ended: socket.socket) -> None:
    with suppress(OSError):
        ended.shutdown(socket.SHUT_RDWR)


@pytest.mark.live("pip", "uv", "docker-registry")
@pytest.mark.parametrize("client", ["pip", "uv"])
def test_clients_go_on(
    client: str,
    clients: Clients,
    servers: Servers,
    pyoci: Server,
    docker_registry: Server,
    tmp_path: Path,
) -> None:
    """Where nothing listens yet, PyOCI answers 503 with Retry-After, and the client asks again."""
    elsewhere = PackageIndex.new(pyoci, "lab", docker_registry.url.removeprefix("http://"))
    published(uv(clients, elsewhere, [packages.wheel(tmp_path)]))
    python = clients.new_environment("environment")
    options = {"pip": ("--python", python, "install"), "uv": ("pip", "install", "--python", python)}[client]
    with ExitStack() as stack, ThreadPoolExecutor(1) as thread:
        registry = stack.enter_context(closing(Gate(docker_registry.url)))
        upstream = stack.enter_context(package_index())
        upstream.add_wheel("flask")
        upstream_gate = stack.enter_context(closing(Gate(upstream.url)))
        behind = start_pyoci(
            servers,
            f"restarting-{client}",
            stack.enter_context(closing(Port())),
            PYOCI_EMBEDDED=str(servers.folder / f"restarting-{client}"),
            PYOCI_REGISTRIES=f"gated={registry.url}",
            PYOCI_UPSTREAM_INDEX=upstream.simple.replace(upstream.url, upstream_gate.url),
            WEB_CONCURRENCY="1",
        )
        namespace = urlsplit(elsewhere.url).path.removeprefix("/lab/")
        for closed, project, path in (
            (registry, "hello-world", f"gated/{namespace}"),
            (upstream_gate, "flask", "local/acme/"),
        ):
            index = PackageIndex(url=f"{behind.url}/{path}", registry="").url_with_credentials
            installing = thread.submit(clients.run, client, *options, "--index-url", index, project)
            behind.line('"status": 503', project)
            closed.open()
            installing.result(120)
        behind.end()
        behind.wait()
    assert clients.installed(python) == ["flask==1.0", "hello-world==1.0"]
